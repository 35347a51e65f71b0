//! The keys wrapped by a key in the transit engine of a Vault, which never leaves it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::harness::{Cell, Certificate, Database, FakeProvider, FakeTransit, Home, TestServer, World};

type Settings = Vec<(String, String)>;

#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn refused(output: &Output, says: &str) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(says), "not a word of {says:?}: {said}");
    assert!(!said.contains(FakeTransit::TOKEN), "the token stands in a message: {said}");
}

/// A server whose keys a transit key wraps, and that has never known a master key.
async fn begun_with_transit(transit: &FakeTransit) -> (TestServer, Settings) {
    let home = Home::empty_on_sqlite();
    let settings = transit.settings(home.path());
    let home = home.bootstrapped_with(&settings).await;
    (home.serve().with(&settings).start().await, settings)
}

async fn rotate(home: &Home, settings: &Settings, arguments: &[&str]) -> Output {
    home.run_with(settings, &[&["master-key", "rotate"], arguments].concat()).await
}

#[tokio::test]
async fn an_outage_stops_no_running_server_and_only_a_start_waits_for_its_end() {
    let transit = FakeTransit::start().await;
    let provider = FakeProvider::start().await;
    let (keyward, settings) = begun_with_transit(&transit).await;
    assert!(!keyward.home().master_key().exists(), "a master key was made that nothing needs");
    let world = keyward.with_linked_model(&provider).await;
    let before = transit.calls().len();

    transit.seal(true);
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    keyward.api().general_key("SEALED_MEANWHILE", "sk-test-sealed-while-it-was-sealed").await;
    assert_eq!(transit.calls().len(), before, "a running server asked");
    let home = keyward.stop().await;
    let (output, home) = home.serve().with(&settings).refused().await;
    refused(&output, "cannot answer now (503: Vault is sealed)");
    refused(&home.run_with(&settings, &["check"]).await, "Vault is sealed");

    transit.seal(false);
    assert!(done(&home.run_with(&settings, &["check"]).await).contains("transit key: good (transit/keyward at "));
    let keyward = home.serve().with(&settings).start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    let log = keyward.transcript() + &keyward.log();
    assert!(!log.contains(FakeTransit::TOKEN), "the token stands in a log or an answer");
}

#[tokio::test]
async fn a_wrapped_key_that_was_altered_or_moved_is_refused() {
    let transit = FakeTransit::start().await;
    let (keyward, settings) = begun_with_transit(&transit).await;
    let mut home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    let wrapped = async |database: &mut Database, purpose: &str| {
        database.cell("purpose_keys", "wrapped", &format!("purpose = '{purpose}'")).await
    };
    let (data, other) = (wrapped(&mut database, "data").await, wrapped(&mut database, "other").await);
    let Cell::Text(text) = &data else { panic!("a wrapped key is a text") };
    assert!(text.starts_with("transit1.vault:v1:"), "{text}");
    for wrong in [other, data.flipped(text.len() - 20), Cell::Text(String::from("transit1.vault:v1:AAAA"))] {
        database.set("purpose_keys", "wrapped", "purpose = 'data'", &wrong).await;
        let output;
        (output, home) = home.serve().with(&settings).refused().await;
        refused(&output, "is damaged or was altered");
    }
    database.set("purpose_keys", "wrapped", "purpose = 'data'", &data).await;
    database.execute("UPDATE installation SET check_value = 'transit1.vault:v1:AAAA'").await;
    let (output, _) = home.serve().with(&settings).refused().await;
    refused(&output, "are not wrapped by the transit key transit/keyward");
}

#[tokio::test]
async fn what_is_wrong_with_the_service_or_its_settings_is_told() {
    let transit = FakeTransit::start().await;
    let (keyward, settings) = begun_with_transit(&transit).await;
    let home = keyward.stop().await;
    let with = |name: &str, value: &str| {
        let others = settings.iter().filter(|(other, _)| other != name).cloned();
        others.chain([(name.to_owned(), value.to_owned())]).collect::<Settings>()
    };
    for (name, value, says) in [
        ("KEYWARD_TRANSIT_KEY", "missing", "encryption key not found"),
        ("KEYWARD_TRANSIT_MOUNT", "elsewhere", "is not there (no handler for route)"),
        ("KEYWARD_TRANSIT_MOUNT", "a/../b", "is not a path of letters"),
        ("KEYWARD_TRANSIT_KEY", "a/b", "must be letters"),
        ("KEYWARD_TRANSIT_URL", "http://vault.example.com:8200", "KEYWARD_TRANSIT_URL: it must start with https://"),
        ("KEYWARD_TRANSIT_URL", "https://10.0.0.1:8200", "KEYWARD_TRANSIT_ALLOW_PRIVATE=true allows those"),
        ("KEYWARD_TRANSIT_URL", "http://169.254.169.254", "never called"),
        ("KEYWARD_TRANSIT_URL", "http://127.0.0.1:9", "cannot be reached"),
        ("KEYWARD_TRANSIT_TOKEN", "hvs.another", "both it and KEYWARD_TRANSIT_TOKEN_FILE are set"),
        ("KEYWARD_TRANSIT_TOKEN_FILE", "/nowhere/token", "KEYWARD_TRANSIT_TOKEN_FILE: cannot read /nowhere/token"),
        ("KEYWARD_TRANSIT_CA_FILE", "/nowhere/ca.pem", "KEYWARD_TRANSIT_CA_FILE: cannot read /nowhere/ca.pem"),
    ] {
        refused(&home.run_with(&with(name, value), &["check"]).await, says);
    }
    let private = with("KEYWARD_TRANSIT_ALLOW_PRIVATE", "true");
    let plain: Settings = private
        .into_iter()
        .map(|(name, value)| match name.as_str() {
            "KEYWARD_TRANSIT_URL" => (name, String::from("http://10.0.0.1:8200")),
            _ => (name, value),
        })
        .collect();
    refused(&home.run_with(&plain, &["check"]).await, "plain http is for an agent at a loopback address");
    let alone = vec![("KEYWARD_TRANSIT_KEY".to_owned(), FakeTransit::KEY.to_owned())];
    refused(&home.run_with(&alone, &["check"]).await, "set KEYWARD_TRANSIT_URL as well");
    refused(&home.run_with(&Settings::new(), &["check"]).await, "master.key is missing");

    transit.take_only("hvs.renewed");
    refused(&home.run_with(&settings, &["check"]).await, "refused the token (permission denied)");
    // An agent writes the renewed one into the same file.
    let renewed = transit.settings(home.path());
    done(&home.run_with(&renewed, &["check"]).await);
    let namespace = with("KEYWARD_TRANSIT_NAMESPACE", "team/keys");
    done(&home.run_with(&namespace, &["check"]).await);
    assert!(transit.calls().last().is_some_and(|call| call.namespace == "team/keys"));
}

#[tokio::test]
async fn a_key_that_binds_nothing_to_its_place_is_not_begun_with() {
    for (transit, says) in [
        (FakeTransit::start_with_key_of("rsa-4096").await, "is of the type rsa-4096, which binds nothing to its place"),
        (FakeTransit::start().await, "the transit key transit/missing at "),
    ] {
        let home = Home::empty_on_sqlite();
        let mut settings = transit.settings(home.path());
        if says.contains("missing") {
            settings[1].1 = String::from("missing");
        }
        let (output, home) = home.serve().with(&settings).refused().await;
        refused(&output, says);
        assert!(!home.master_key().exists());
        let encrypted = transit.calls().into_iter().any(|call| call.line.contains("/encrypt/"));
        assert!(!encrypted, "an encrypt makes a missing key");
    }
}

#[tokio::test]
async fn over_tls_its_certificate_has_to_come_from_the_authority_that_is_named() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let transit = FakeTransit::start_on_tls(&certificate).await;
    let home = Home::empty_on_sqlite();
    let mut settings = transit.settings(home.path());
    refused(&home.run_with(&settings, &["check"]).await, "cannot be reached: cannot connect");
    for (folder, certificate) in [("right", &certificate), ("wrong", &other)] {
        fs::create_dir(home.path().join(folder)).unwrap();
        certificate.write_into(&home.path().join(folder));
    }
    let file = |folder: &str| home.path().join(folder).join("tls.crt").to_str().unwrap().to_owned();
    settings.push((String::from("KEYWARD_TRANSIT_CA_FILE"), file("wrong")));
    refused(&home.run_with(&settings, &["check"]).await, "cannot be reached: cannot connect");
    settings.last_mut().unwrap().1 = file("right");
    done(&home.run_with(&settings, &["check"]).await);
    home.serve().with(&settings).start().await;
}

#[tokio::test]
async fn its_own_rotation_and_a_rewrap_let_older_versions_be_retired() {
    let transit = FakeTransit::start().await;
    let provider = FakeProvider::start().await;
    let (keyward, settings) = begun_with_transit(&transit).await;
    let world = keyward.with_linked_model(&provider).await;
    transit.rotate();
    // Beside the running server, which goes on.
    let said = done(&rotate(keyward.home(), &settings, &["--rewrap"]).await);
    assert!(said.contains("the newest version of the transit key transit/keyward"), "{said}");
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    transit.retire_before(2);
    let keyward = keyward.stop().await.serve().with(&settings).start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    let newest = &keyward.api().audit_events().await[0];
    assert_eq!(newest["action"], "master_key.rewrap");

    let home = keyward.stop().await;
    transit.rotate();
    transit.retire_before(3);
    let (output, _) = home.serve().with(&settings).refused().await;
    refused(&output, "too old");
}

#[tokio::test]
async fn an_installation_moves_from_its_master_key_to_transit_and_back() {
    let transit = FakeTransit::start().await;
    let provider = FakeProvider::start().await;
    let keyward = TestServer::start_on_sqlite().await;
    let world = keyward.with_linked_model(&provider).await;
    let settings = transit.settings(keyward.home().path());
    let none = Settings::new();
    refused(&rotate(keyward.home(), &none, &["--to-transit"]).await, "set KEYWARD_TRANSIT_URL");
    refused(&rotate(keyward.home(), &none, &["--rewrap"]).await, "wrapped by a master key, which has no versions");
    refused(&keyward.home().run_with(&settings, &["check"]).await, "master-key rotate --to-transit");

    let said = done(&rotate(keyward.home(), &settings, &["--to-transit"]).await);
    assert!(said.contains("KEYWARD_TRANSIT_…"), "{said}");
    done(&rotate(keyward.home(), &settings, &["--to-transit"]).await);
    refused(&rotate(keyward.home(), &none, &["--finish"]).await, "does not name the transit key yet");
    refused(&rotate(keyward.home(), &settings, &["--abort"]).await, "KEYWARD_TRANSIT_URL is set already");
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    let keyward = keyward.stop().await.serve().with(&settings).start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    done(&rotate(keyward.home(), &settings, &["--finish"]).await);
    let home = keyward.stop().await;
    let (output, home) = home.serve().refused().await;
    refused(&output, "wrapped by a transit key, and KEYWARD_TRANSIT_URL is not set");
    fs::remove_file(home.master_key()).unwrap();
    let keyward = home.serve().with(&settings).start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    refused(&rotate(keyward.home(), &settings, &["--to-transit"]).await, "wrapped by this transit key already");

    let next = keyward.home().path().join("next.key");
    fs::write(&next, keyward.home().run(&["master-key", "new"], "").await.stdout).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["--new-master-key-file", next.to_str().unwrap()];
    assert!(done(&rotate(keyward.home(), &settings, &arguments).await).contains("unset KEYWARD_TRANSIT_URL"));
    refused(&rotate(keyward.home(), &settings, &["--finish"]).await, "KEYWARD_TRANSIT_URL is still set");
    fs::rename(&next, keyward.home().master_key()).unwrap();
    let keyward = keyward.stop().await.serve().start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    done(&rotate(keyward.home(), &none, &["--finish"]).await);
    drop(transit);
    let keyward = keyward.stop().await.serve().start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
}
