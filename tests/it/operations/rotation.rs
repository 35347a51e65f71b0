//! The master key is changed beside a running server: no call fails, nothing becomes unreadable, at whatever moment it is
//! killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{FakeProvider, Home, TestServer, World, until};

/// A fresh master key in a file of its own.
async fn new_key(home: &Home, name: &str) -> PathBuf {
    let key = home.run(&["master-key", "new"], "").await.stdout;
    let path = home.path().join(name);
    write(&path, &key);
    path
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn rotate(home: &Home, arguments: &[&str]) -> Output {
    home.run(&[&["master-key", "rotate"], arguments].concat(), "").await
}

async fn begin(home: &Home, key: &Path) -> Output {
    rotate(home, &["--new-master-key-file", key.to_str().unwrap()]).await
}

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
}

#[tokio::test]
async fn under_load_no_call_fails_and_only_the_new_key_is_good_in_the_end() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (agent, stopped, counted) = (world.agent.clone(), Arc::clone(&stop), Arc::clone(&calls));
    let load = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            agent.chat(World::MODEL).await.expect(200);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let old = fs::read(keyward.home().master_key()).unwrap();
    let next = new_key(keyward.home(), "next.key").await;
    let said = done(&begin(keyward.home(), &next).await);
    assert!(said.contains("--finish"), "{said}");
    done(&begin(keyward.home(), &next).await);
    assert!(done(&keyward.home().run(&["check"], "").await).contains("a change is under way"));
    refused(&rotate(keyward.home(), &["--finish"]).await, "still names the old master key");
    let other = new_key(keyward.home(), "other.key").await;
    refused(&begin(keyward.home(), &other).await, "another master key is under way");
    write(&keyward.home().master_key(), &fs::read(&next).unwrap());
    refused(&rotate(keyward.home(), &["--abort"]).await, "names the new master key already");
    let said = done(&rotate(keyward.home(), &["--finish", "--compromised"]).await);
    assert!(said.contains("MY_API") && !said.contains(world.value), "{said}");
    let seen = calls.load(Ordering::Relaxed);
    until("calls after the change", async || calls.load(Ordering::Relaxed) > seen + 10).await;
    stop.store(true, Ordering::Relaxed);
    load.await.expect("no call failed");

    let keyward = keyward.stop_to_restart().await.start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    let events = keyward.api().audit_events().await;
    let actions = events.iter().map(|event| event["action"].as_str().unwrap());
    let actions: Vec<_> = actions.filter(|action| action.starts_with("master_key.")).collect();
    assert_eq!(actions[..], ["master_key.rotate_finish", "master_key.rotate"]);
    let home = keyward.stop().await;
    write(&home.master_key(), &old);
    let (output, _) = home.serve().refused().await;
    refused(&output, "master key does not belong");
}

#[tokio::test]
async fn begun_either_key_opens_it_and_aborted_only_the_old_one() {
    let home = Home::new().await;
    let old = fs::read(home.master_key()).unwrap();
    let next = new_key(&home, "next.key").await;
    refused(&begin(&home, &home.master_key()).await, "is the present one");
    refused(&rotate(&home, &["--finish"]).await, "no change of the master key is under way");
    done(&begin(&home, &next).await);
    let home = home.serve().start().await.stop().await;
    write(&home.master_key(), &fs::read(&next).unwrap());
    let home = home.serve().start().await.stop().await;
    write(&home.master_key(), &old);
    done(&rotate(&home, &["--abort"]).await);
    write(&home.master_key(), &fs::read(&next).unwrap());
    let (output, home) = home.serve().refused().await;
    refused(&output, "master key does not belong");
    write(&home.master_key(), &old);
    home.serve().start().await;
}

#[tokio::test]
async fn killed_at_any_moment_it_can_be_resumed_and_nothing_is_unreadable() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let mut home = keyward.stop().await;
    for round in 0..12_u32 {
        let next = new_key(&home, &format!("next-{round}.key")).await;
        let path = next.to_str().unwrap().to_owned();
        // From before the first statement to after the last one.
        let patience = format!("0.{:03}", 8 * round);
        killed_after(&home, &patience, &["--new-master-key-file", &path]).await;
        done(&begin(&home, &next).await);
        write(&home.master_key(), &fs::read(&next).unwrap());
        killed_after(&home, &patience, &["--finish"]).await;
        let finished = rotate(&home, &["--finish"]).await;
        if finished.status.code() != Some(0) {
            refused(&finished, "no change of the master key is under way");
        }
        let keyward = home.serve().start().await;
        keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
        home = keyward.stop().await;
    }
    assert_eq!(home.run(&["audit", "verify"], "").await.status.code(), Some(0));
}

/// Runs a step and kills it with SIGKILL after so many seconds.
async fn killed_after(home: &Home, seconds: &str, arguments: &[&str]) {
    home.run_by(&["timeout", "-s", "KILL", seconds], &[&["master-key", "rotate"], arguments].concat()).await;
}
