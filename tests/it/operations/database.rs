//! A database that is locked, full, read-only or broken: 503, never 401, and calls with known keys go on.

use serde_json::json;

use crate::harness::{Answer, FakeProvider, Home, TestServer, World, until};

/// Runs the rest of the command in a mount namespace of its own, its data on a small file system in memory:
/// nothing is left behind, whatever happens to the test.
const ON_A_SMALL_DISK: &str = r#"
set -e
mkdir -p "$TEST_DISK"
mount -t tmpfs -o size=6m,mode=0700 keyward-test "$TEST_DISK"
cp -a "$KEYWARD_DATA_DIR/." "$TEST_DISK/"
export KEYWARD_DATA_DIR="$TEST_DISK"
exec "$0" "$@"
"#;

/// The same with the data directory read-only.
const ON_A_READ_ONLY_DISK: &str = r#"
set -e
mount --bind "$KEYWARD_DATA_DIR" "$KEYWARD_DATA_DIR"
mount -o remount,bind,ro "$KEYWARD_DATA_DIR"
exec "$0" "$@"
"#;

fn unavailable(answer: Answer) {
    answer.problem_called(503, "storage_unavailable");
}

#[tokio::test]
async fn locked_by_another_writer_changes_wait_or_fail_with_503_and_calls_go_on() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(World::MODEL).await.expect(200);

    let mut database = keyward.database().await;
    database.lock().await;
    world.agent.chat(World::MODEL).await.expect(200);
    unavailable(keyward.api().post("/agent-keys", json!({ "name": "x" })).await);
    unavailable(keyward.api().delete(&world.agent_key_path()).await);
    world.agent.chat(World::MODEL).await.expect(200);
    database.release().await;

    // Nothing half done, and what was counted meanwhile is written now.
    assert_eq!(keyward.api().get("/agent-keys").await.expect(200).json()["total"], 1);
    keyward.api().agent_key("x").await;
    let api = keyward.api();
    until("the usage of all three calls", async || {
        api.get("/usage?group_by=agent_key").await.expect(200).json()["items"][0]["requests"] == 3
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_fails_changes_with_503_while_calls_go_on_and_recovers() {
    let home = Home::new_on_sqlite().await;
    let disk = home.path().join("disk");
    let shown = disk.to_str().unwrap().to_owned();
    let start = home.serve().env("TEST_DISK", shown);
    let keyward = start.launched_by(&["unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK]).start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(World::MODEL).await.expect(200);

    // The disk as the server sees it.
    let filler = format!("/proc/{}/root{}/filler", keyward.pid(), disk.display());
    fill(&filler);
    let mut number = 0;
    until("a change that no longer fits", async || {
        number += 1;
        let answer = keyward.api().post("/agent-keys", json!({ "name": format!("k{number}") })).await;
        if answer.status == 201 {
            fill(&filler);
            return false;
        }
        unavailable(answer);
        true
    })
    .await;
    world.agent.chat(World::MODEL).await.expect(200);
    let unknown = keyward.agent(&crate::harness::well_formed("kw_", 'x')).chat(World::MODEL).await;
    assert!([401, 503].contains(&unknown.status), "{unknown}");

    std::fs::remove_file(&filler).unwrap();
    until("room again", async || {
        number += 1;
        keyward.api().post("/agent-keys", json!({ "name": format!("k{number}") })).await.status == 201
    })
    .await;
    world.agent.chat(World::MODEL).await.expect(200);
}

/// Writes until nothing fits any more.
fn fill(path: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    for size in [65_536, 4096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

#[tokio::test]
async fn a_read_only_directory_is_refused_at_the_start_and_not_changed() {
    let keyward = TestServer::start_on_sqlite().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let home = keyward.stop().await;
    let before = home.files();

    let start = home.serve().launched_by(&["unshare", "--mount", "sh", "-c", ON_A_READ_ONLY_DISK]);
    let (output, home) = start.refused().await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(said.contains("read-only") || said.contains("readonly") || said.contains("not writable"), "{said}");
    assert_eq!(home.files(), before);

    let keyward = home.serve().start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn a_key_that_is_not_in_memory_is_never_called_bad_while_the_database_is_broken() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let unused = keyward.api().agent_key("never used").await;
    let keyward = keyward.stop_to_restart().await.start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);

    // The tables go away under the running server: every look-up fails from now on.
    let mut database = keyward.database().await;
    for table in ["agent_keys", "agent_secrets"] {
        database.execute(format!("ALTER TABLE {table} RENAME TO {table}_gone")).await;
    }
    let answer = keyward.agent(unused["secret"].as_str().unwrap()).chat(World::MODEL).await;
    assert!([200, 503].contains(&answer.status), "an outage must not look like a bad key: {answer}");
    let verdict = keyward.agent(unused["secret"].as_str().unwrap()).get("/auth/verify").await;
    assert!([200, 503].contains(&verdict.status), "{verdict}");
    let listed = keyward.api().get("/agent-keys").await;
    unavailable(listed);

    for table in ["agent_keys", "agent_secrets"] {
        database.execute(format!("ALTER TABLE {table}_gone RENAME TO {table}")).await;
    }
    until("good answers again", async || {
        keyward.agent(unused["secret"].as_str().unwrap()).chat(World::MODEL).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let home = Home::new_on_sqlite().await;
    let path = home.database_file();
    let garbage = b"this is not a database, and somebody may want it back".repeat(100);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::write(&path, &garbage).unwrap();
    let (output, _home) = home.serve().refused().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_and_kept() {
    let home = Home::new().await;
    let mut database = crate::harness::Database::open(&home).await;
    let checksum = if home.postgres().is_some() { "'\\x00'" } else { "x'00'" };
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99990101000000, 'from the future', true, CHECKSUM, 1)";
    database.execute(later.replace("CHECKSUM", checksum)).await;
    drop(database);
    let (output, _home) = home.serve().refused().await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}
