//! The master key: missing, wrong, too open. A clear message, and nothing overwritten.

use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{FakeProvider, Home, TestServer, World};

/// A directory with something sealed in it.
async fn used() -> (Home, World, FakeProvider) {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    (keyward.stop().await, world, provider)
}

/// `serve` ends with 1 and one line that says this.
async fn refuses(home: Home, said: &str) -> Home {
    let (output, home) = home.serve().refused().await;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.last().expect("it says why");
    assert!(last.to_lowercase().contains("master key") || last.contains("master.key"), "{stderr}");
    assert!(last.to_lowercase().contains(said), "not a word of {said:?}: {stderr}");
    home
}

async fn works_again(home: Home, world: &World) {
    let keyward = home.serve().start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn a_new_one_is_32_random_bytes_in_base64() {
    let home = Home::empty();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3 {
        let done = home.run(&["master-key", "new"], "").await;
        assert_eq!(done.status.code(), Some(0));
        let text = String::from_utf8(done.stdout).unwrap();
        assert_eq!(STANDARD.decode(text.trim()).unwrap().len(), 32);
        assert!(seen.insert(text));
    }
}

#[tokio::test]
async fn missing_beside_a_database_it_is_not_made_anew() {
    let (home, world, _provider) = used().await;
    let (key, database) = (std::fs::read(home.master_key()).unwrap(), home.database_state());
    std::fs::remove_file(home.master_key()).unwrap();

    let home = refuses(home, "").await;
    assert!(!home.master_key().exists(), "a new master key would make every sealed value unreadable");
    assert_eq!(home.database_state(), database);

    write_key(&home, &key, 0o600);
    works_again(home, &world).await;
}

fn write_key(home: &Home, bytes: &[u8], mode: u32) {
    std::fs::write(home.master_key(), bytes).unwrap();
    std::fs::set_permissions(home.master_key(), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn of_the_wrong_length_or_no_base64_at_all_it_is_refused_and_kept() {
    let (mut home, world, _provider) = used().await;
    let (key, database) = (std::fs::read(home.master_key()).unwrap(), home.database_state());
    for bad in [
        String::new(),
        STANDARD.encode([7; 31]),
        STANDARD.encode([7; 33]),
        STANDARD.encode([7; 64]),
        "not base64 at all!".to_owned(),
        "\0".repeat(32),
    ] {
        write_key(&home, bad.as_bytes(), 0o600);
        home = refuses(home, "").await;
        assert_eq!(std::fs::read(home.master_key()).unwrap(), bad.as_bytes());
        assert_eq!(home.database_state(), database);
    }
    write_key(&home, &key, 0o600);
    works_again(home, &world).await;
}

#[tokio::test]
async fn another_one_is_noticed_at_the_start() {
    let (home, world, _provider) = used().await;
    let (key, database) = (std::fs::read(home.master_key()).unwrap(), home.database_state());
    let other = STANDARD.encode([7; 32]);
    write_key(&home, other.as_bytes(), 0o600);
    let home = refuses(home, "").await;
    assert_eq!(std::fs::read(home.master_key()).unwrap(), other.as_bytes());
    assert_eq!(home.database_state(), database);
    write_key(&home, &key, 0o600);
    works_again(home, &world).await;
}

#[tokio::test]
async fn readable_by_others_it_is_refused_until_it_is_not() {
    let (mut home, world, _provider) = used().await;
    let key = std::fs::read(home.master_key()).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o660, 0o666, 0o620] {
        write_key(&home, &key, mode);
        home = refuses(home, "").await;
        let now = std::fs::metadata(home.master_key()).unwrap().permissions().mode() & 0o777;
        assert_eq!(now, mode, "nothing is mended behind the operator's back");
    }
    write_key(&home, &key, 0o400);
    works_again(home, &world).await;
}

#[tokio::test]
async fn named_and_missing_before_a_new_database_it_is_asked_for_and_nothing_is_made() {
    // With PostgreSQL the file has to be named in any case.
    let home = Home::empty_on_sqlite();
    let named = home.path().join("elsewhere.key");
    let shown = named.to_str().unwrap().to_owned();
    let (output, home) = home.serve().env("KEYWARD_MASTER_KEY_FILE", shown.clone()).refused().await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let advice = format!("make one: keyward master-key new > {shown}; chmod 600 {shown}");
    assert!(said.contains(&advice) && !said.contains("put back"), "{said}");
    for (path, bytes) in home.files() {
        assert!(bytes.is_empty(), "it made {}", path.display());
    }
    // And what it advises works.
    let key = home.run(&["master-key", "new"], "").await.stdout;
    std::fs::write(&named, key).unwrap();
    std::fs::set_permissions(&named, std::fs::Permissions::from_mode(0o600)).unwrap();
    home.serve().env("KEYWARD_MASTER_KEY_FILE", shown).start().await.stop().await;
}

#[tokio::test]
async fn no_message_shows_any_of_it() {
    let (home, _, _provider) = used().await;
    let key = std::fs::read_to_string(home.master_key()).unwrap();
    let almost = format!("{}!!!!", key.trim());
    write_key(&home, almost.as_bytes(), 0o600);
    let (output, _) = home.serve().refused().await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains(&key.trim()[..8]), "the master key stands in a message");
}

#[tokio::test]
async fn made_at_the_first_run_it_is_the_owner_s_alone() {
    let home = Home::new().await;
    let mode = std::fs::metadata(home.master_key()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = std::fs::read_to_string(home.master_key()).unwrap();
    assert_eq!(STANDARD.decode(text.trim()).unwrap().len(), 32);
}
