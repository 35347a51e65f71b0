//! `keyward check`: says what is wrong, and makes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use crate::harness::{Database, Home};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn open_to(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn says_what_is_wrong() {
    let home = Home::new().await;
    let good = home.run(&["check"], "").await;
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(!stdout(&good).contains("warning"), "{}", stdout(&good));
    fs::write(home.master_key(), "too short").unwrap();
    let bad = home.run(&["check"], "").await;
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).contains("master"), "{}", stderr(&bad));
}

#[tokio::test]
async fn makes_nothing_where_nothing_is() {
    let home = Home::empty_on_sqlite();
    for exists in [false, true] {
        if exists {
            fs::create_dir(home.data()).unwrap();
        }
        let done = home.run(&["check"], "").await;
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert_eq!(stdout(&done).matches("new: would be made by keyward serve").count(), 2, "{}", stdout(&done));
        assert_eq!(home.data().exists(), exists);
        assert!(home.files().is_empty(), "it made {:?}", home.files());
    }
}

#[tokio::test]
async fn warns_of_a_data_directory_that_others_can_look_into() {
    let home = Home::new().await;
    open_to(&home.data(), 0o755);
    let done = home.run(&["check"], "").await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let said = stdout(&done);
    assert!(said.contains("warning") && said.contains(&format!("chmod 700 {}", home.data().display())), "{said}");
}

#[tokio::test]
async fn what_keyward_makes_in_a_directory_open_to_others_they_cannot_read() {
    let home = Home::empty_on_sqlite();
    fs::create_dir(home.data()).unwrap();
    open_to(&home.data(), 0o755);
    assert_eq!(home.bootstrap("owner@example.com").await.status.code(), Some(0));
    let keyward = home.serve().start().await;
    let mut seen = 0;
    for entry in fs::read_dir(keyward.home().data()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", entry.path().display());
        seen += 1;
    }
    assert!(seen >= 3, "database, lock and master key");
}

#[tokio::test]
async fn rows_that_were_changed_outside_keyward_are_counted_and_named() {
    let home = Home::new().await;
    let good = home.run(&["check"], "").await;
    assert!(good.status.success(), "{good:?}");
    let told = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(told.contains(" looked through, 0 changed outside Keyward"), "{told}");
    Database::open(&home).await.execute("UPDATE members SET role = 'auditor'").await;
    let bad = home.run(&["check"], "").await;
    assert_eq!(bad.status.code(), Some(1));
    let told = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(told.contains("1 rows were changed outside Keyward") && told.contains("row refused"), "{told}");
}
