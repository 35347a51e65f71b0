//! The master key as a systemd credential.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::Home;

const NAME: &str = "keyward.master-key";

/// A directory as systemd makes it for a service, with a fresh master key in it.
async fn credentials(home: &Home) -> PathBuf {
    let key = home.run(&["master-key", "new"], "").await.stdout;
    let dir = home.path().join("credentials");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(NAME), key).unwrap();
    set_mode(&dir.join(NAME), 0o400);
    set_mode(&dir, 0o700);
    dir
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn variable(dir: &Path) -> String {
    format!("CREDENTIALS_DIRECTORY={}", dir.display())
}

#[tokio::test]
async fn it_is_the_master_key_where_no_setting_names_another() {
    let home = Home::empty_on_sqlite();
    let dir = credentials(&home).await;
    let home = home.serve().env("CREDENTIALS_DIRECTORY", dir.to_str().unwrap()).start().await.stop().await;
    assert!(!home.master_key().exists(), "another master key was made beside the credential");
    let (output, home) = home.serve().refused().await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("master.key is missing"), "{said}");

    let checked = home.run_by(&["env", &variable(&dir)], &["check"]).await;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains(&format!("credentials/{NAME}")), "{said}");

    // The setting goes first.
    let named = format!("KEYWARD_MASTER_KEY_FILE={}", home.path().join("named.key").display());
    let checked = home.run_by(&["env", &variable(&dir), &named], &["check"]).await;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && said.contains("named.key is missing"), "{said}");
}

#[tokio::test]
async fn a_service_without_this_credential_has_its_master_key_in_the_data_directory() {
    let home = Home::empty_on_sqlite();
    let dir = home.path().join("credentials");
    fs::create_dir(&dir).unwrap();
    let home = home.serve().env("CREDENTIALS_DIRECTORY", dir.to_str().unwrap()).start().await.stop().await;
    assert!(home.master_key().exists());
}

#[tokio::test]
async fn one_that_others_can_read_or_change_is_refused() {
    let home = Home::empty_on_sqlite();
    let dir = credentials(&home).await;
    let file = dir.join(NAME);
    for (file_mode, dir_mode) in [(0o444, 0o500), (0o404, 0o500), (0o420, 0o500), (0o402, 0o700), (0o400, 0o755)] {
        set_mode(&file, file_mode);
        set_mode(&dir, dir_mode);
        let checked = home.run_by(&["env", &variable(&dir)], &["check"]).await;
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{file_mode:o} {dir_mode:o}");
        assert!(said.contains("read or changed by others"), "{said}");
        set_mode(&dir, 0o700);
    }
    set_mode(&file, 0o400);
    set_mode(&dir, 0o500);
    assert!(home.run_by(&["env", &variable(&dir)], &["check"]).await.status.success());
    set_mode(&dir, 0o700);
}

#[tokio::test]
async fn a_change_of_it_says_how_the_new_one_is_put_in_place() {
    let home = Home::empty_on_sqlite();
    let dir = credentials(&home).await;
    let home = home.serve().env("CREDENTIALS_DIRECTORY", dir.to_str().unwrap()).start().await.stop().await;
    let next = home.path().join("next.key");
    fs::write(&next, home.run(&["master-key", "new"], "").await.stdout).unwrap();
    set_mode(&next, 0o600);
    let arguments = ["master-key", "rotate", "--new-master-key-file", next.to_str().unwrap()];
    let begun = home.run_by(&["env", &variable(&dir)], &arguments).await;
    let said = String::from_utf8_lossy(&begun.stdout).into_owned();
    assert!(begun.status.success() && said.contains("systemd-creds encrypt --name=keyward.master-key"), "{said}");
    set_mode(&dir.join(NAME), 0o600);
    fs::copy(&next, dir.join(NAME)).unwrap();
    let finished = home.run_by(&["env", &variable(&dir)], &["master-key", "rotate", "--finish"]).await;
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
}
