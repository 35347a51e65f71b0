//! A database put back to an earlier state is noticed; accepted, it revives nothing that was revoked since.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::json;

use crate::harness::{Database, FakeProvider, Home, TestServer, World, until};

fn mark(home: &Home) -> PathBuf {
    home.data().join("rollback.mark")
}

fn journal(home: &Home) -> PathBuf {
    home.data().join("revocations.journal")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `serve`, `check` and `bootstrap` refuse, and say this.
async fn refuses(home: Home, says: &str) -> Home {
    for command in [&["check"][..], &["bootstrap", "--email", "a@example.com", "--password-stdin"]] {
        let done = home.run(command, "a password for tests only\n").await;
        assert_eq!(done.status.code(), Some(1), "{command:?}");
        assert!(stderr(&done).contains(says), "{command:?}: {}", stderr(&done));
    }
    let (output, home) = home.serve().refused().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(says), "not a word of {says:?}: {}", stderr(&output));
    home
}

#[tokio::test]
async fn an_older_database_is_refused_until_it_is_accepted_and_what_was_revoked_stays_revoked() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (deleted, disabled) = (keyward.api().agent_key("deleted").await, keyward.api().agent_key("disabled").await);
    let spare = keyward.api().general_key("SPARE", "sk-test-value-of-a-spare-key").await;
    let home = keyward.stop().await;
    let copy = home.saved();

    let keyward = home.serve().start().await;
    let api = keyward.api();
    let path = |kind: &str, row: &serde_json::Value| format!("/{kind}/{}", row["id"].as_str().unwrap());
    api.delete(&path("agent-keys", &deleted)).await.expect(204);
    api.act(&format!("{}/disable", path("agent-keys", &disabled))).await.expect(200);
    api.delete(&path("general-keys", &spare)).await.expect(204);
    api.patch(&world.general_key_path(), json!({ "value": "sk-test-another-value-abc" })).await.expect(200);
    let home = keyward.stop().await;

    home.put_back(&copy);
    let home = refuses(home, "keyward restore accept").await;
    let done = home.run(&["restore", "accept"], "").await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let said = stdout(&done);
    assert!(said.contains("taken away again: agent_key.delete deleted"), "{said}");
    assert!(said.contains("by hand: general_key.edit MY_API"), "{said}");
    assert_eq!(home.run(&["restore", "accept"], "").await.status.code(), Some(1), "accepted once");

    let keyward = home.serve().start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    let agent = |key: &serde_json::Value| keyward.agent(key["secret"].as_str().unwrap());
    agent(&deleted).chat(World::MODEL).await.refused(401, "invalid_api_key");
    agent(&disabled).chat(World::MODEL).await.refused(401, "disabled_api_key");
    keyward.api().get(&path("general-keys", &spare)).await.problem(404);
    let accepted = keyward.api().get("/audit-events?action=restore.accept").await.expect(200).json();
    assert_eq!(accepted["total"], 1);

    // The state before the acceptance is behind now, too, and so is the same copy once more.
    let home = keyward.stop().await;
    assert_eq!(home.run(&["audit", "verify"], "").await.status.code(), Some(0));
    home.put_back(&copy);
    refuses(home, "epoch").await;
}

#[tokio::test]
async fn a_key_rotated_since_is_disabled_in_an_older_database() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (rotated, retired) = (keyward.api().agent_key("rotated").await, keyward.api().agent_key("retired").await);
    let path = |key: &serde_json::Value| format!("/agent-keys/{}", key["id"].as_str().unwrap());
    let home = keyward.stop().await;
    let copy = home.saved();
    let keyward = home.serve().start().await;
    let api = keyward.api();
    api.act(&format!("{}/rotate", path(&rotated))).await.expect(201);
    api.act(&format!("{}/rotate", path(&retired))).await.expect(201);
    api.act(&format!("{}/retire", path(&retired))).await.expect(200);
    // Switched off and on again afterwards, which says nothing of its secrets.
    api.act(&format!("{}/disable", path(&retired))).await.expect(200);
    api.act(&format!("{}/enable", path(&retired))).await.expect(200);
    let home = keyward.stop().await;

    home.put_back(&copy);
    let done = home.run(&["restore", "accept"], "").await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let said = stdout(&done);
    for what in ["agent_key.rotate rotated", "agent_key.retire retired", "enable it, and rotate it with no overlap"] {
        assert!(said.contains(what), "not a word of {what}: {said}");
    }
    let keyward = home.serve().start().await;
    for key in [&rotated, &retired] {
        let agent = keyward.agent(key["secret"].as_str().unwrap());
        agent.chat(World::MODEL).await.refused(401, "disabled_api_key");
    }
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn where_the_journal_cannot_be_relied_on_agent_keys_wait_for_a_confirmation() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let deleted = keyward.api().agent_key("deleted").await;
    let home = keyward.stop().await;
    let copy = home.saved();
    let keyward = home.serve().start().await;
    keyward.api().delete(&format!("/agent-keys/{}", deleted["id"].as_str().unwrap())).await.expect(204);
    let home = keyward.stop().await;
    let (whole, marked) = (fs::read(journal(&home)).unwrap(), fs::read(mark(&home)).unwrap());
    let touched = String::from_utf8(whole.clone()).unwrap().replacen("agent_key.delete", "agent_key.enable", 1);

    let mut home = home;
    for (bad, keep) in [(Some(touched.into_bytes()), false), (None, false), (None, true)] {
        home.put_back(&copy);
        fs::write(mark(&home), &marked).unwrap();
        match bad {
            Some(bytes) => fs::write(journal(&home), bytes).unwrap(),
            None => fs::remove_file(journal(&home)).unwrap(),
        }
        let arguments = if keep { &["restore", "accept", "--keep-agent-keys"][..] } else { &["restore", "accept"] };
        let done = home.run(arguments, "").await;
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert_eq!(stdout(&done).contains("keyward restore confirm"), !keep, "{}", stdout(&done));
        let keyward = home.serve().start().await;
        let agent = keyward.agent(world.agent.secret());
        if keep {
            agent.chat(World::MODEL).await.expect(200);
        } else {
            agent.chat(World::MODEL).await.refused(401, "disabled_api_key");
            let confirmed = keyward.home().run(&["restore", "confirm"], "").await;
            assert_eq!(confirmed.status.code(), Some(0), "{}", stderr(&confirmed));
            until("the key to be good again", async || agent.chat(World::MODEL).await.status == 200).await;
            assert_eq!(keyward.home().run(&["restore", "confirm"], "").await.status.code(), Some(1));
        }
        home = keyward.stop().await;
        fs::write(journal(&home), &whole).unwrap();
    }
}

#[tokio::test]
async fn a_database_with_another_history_or_none_is_refused() {
    let keyward = TestServer::start().await;
    let home = keyward.stop().await;
    let (copy, marked) = (home.saved(), fs::read(mark(&home)).unwrap());
    let keyward = home.serve().start().await;
    keyward.api().agent_key("one history").await;
    keyward.api().agent_key("and more of it").await;
    let home = keyward.stop().await;
    let newer = fs::read(mark(&home)).unwrap();
    home.put_back(&copy);
    fs::write(mark(&home), &marked).unwrap();
    let keyward = home.serve().start().await;
    for name in ["another", "history", "longer than the first"] {
        keyward.api().agent_key(name).await;
    }
    let home = keyward.stop().await;
    fs::write(mark(&home), &newer).unwrap();
    let home = refuses(home, "another event 4 than before").await;

    // Emptied by hand, or deleted: no first run begins.
    let mut database = Database::open(&home).await;
    let empty = "DELETE FROM members; DELETE FROM audit_events; DELETE FROM agent_keys; DELETE FROM agent_secrets; \
                 DELETE FROM management_tokens; UPDATE chain_head SET seq = 0, head = ''";
    database.execute(empty).await;
    drop(database);
    let home = refuses(home, "ends at event 0").await;
    home.lose_database();
    let home = refuses(home, "says that there was one").await;
    assert!(!home.files().iter().any(|(path, bytes)| path.ends_with("keyward.db") && !bytes.is_empty()));
}

#[tokio::test]
async fn an_epoch_or_a_mark_changed_by_hand_is_refused() {
    let home = TestServer::start().await.stop().await;
    let good = fs::read_to_string(mark(&home)).unwrap();
    let mut home = home;
    for (from, to) in [("\"seq\":2", "\"seq\":1"), ("\"epoch\":1", "\"epoch\":0"), ("{", "not a mark")] {
        assert!(good.contains(from), "{good}");
        fs::write(mark(&home), good.replacen(from, to, 1)).unwrap();
        home = refuses(home, "rollback mark").await;
    }
    let other = TestServer::start().await.stop().await;
    fs::copy(mark(&other), mark(&home)).unwrap();
    let home = refuses(home, "another installation").await;
    fs::write(mark(&home), &good).unwrap();
    Database::open(&home).await.execute("UPDATE installation SET epoch = 2").await;
    refuses(home, "integrity").await;
}

#[tokio::test]
async fn a_missing_mark_is_made_anew_and_told() {
    let home = TestServer::start().await.stop().await;
    fs::remove_file(mark(&home)).unwrap();
    let keyward = home.serve().start().await;
    assert!(keyward.log().contains("no rollback mark was there"), "{}", keyward.log());
    let events = keyward.api().audit_events().await;
    assert_eq!(events[0]["action"], "rollback_mark.create");
    let home = keyward.stop().await;
    assert!(fs::read_to_string(mark(&home)).unwrap().contains("\"seq\":3"));
    // And only once.
    let keyward = home.serve().start().await;
    assert_eq!(keyward.api().audit_events().await.len(), 3);
}

#[tokio::test]
async fn the_mark_follows_each_commit_also_in_a_directory_of_its_own_and_survives_a_kill() {
    let home = Home::new().await;
    let state = home.path().join("state");
    let elsewhere = state.to_str().unwrap().to_owned();
    let keyward = home.serve().env("KEYWARD_STATE_DIR", elsewhere.clone()).start().await;
    let marked = || fs::read_to_string(state.join("rollback.mark")).unwrap();
    let seq = keyward.api().audit_events().await[0]["seq"].as_i64().unwrap();
    keyward.api().agent_key("noted").await;
    until("the mark of the commit", async || marked().contains(&format!("\"seq\":{}", seq + 1))).await;
    // Also of what another process commits.
    let home = keyward.kill().await;
    let keyward = home.serve().env("KEYWARD_STATE_DIR", elsewhere).start().await;
    keyward.api().agent_key("noted at the stop").await;
    let _home = keyward.stop().await;
    assert!(marked().contains(&format!("\"seq\":{}", seq + 2)), "{}", marked());
}

#[tokio::test]
async fn a_clock_set_back_revives_no_expired_key_until_it_is_said_to_be_right() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = json!({ "name": "one day", "expires_in_days": 1 });
    let short = keyward.api().post("/agent-keys", body).await.expect(201).json();
    let agent = |keyward: &TestServer| keyward.agent(short["secret"].as_str().unwrap());
    let keyward = keyward.stop_to_restart().await.days_later(2).start().await;
    agent(&keyward).chat(World::MODEL).await.refused(401, "expired_api_key");
    let keyward = keyward.stop_to_restart().await.start().await;
    agent(&keyward).chat(World::MODEL).await.refused(401, "expired_api_key");
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    assert!(keyward.log().contains("keyward restore clock"));

    let home = keyward.stop().await;
    let done = home.run(&["restore", "clock"], "").await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let keyward = home.serve().start().await;
    agent(&keyward).chat(World::MODEL).await.expect(200);
    assert_eq!(keyward.api().audit_events().await[0]["action"], "restore.clock");
}

#[tokio::test]
async fn rows_that_were_changed_or_put_back_are_found_at_the_start_and_counted() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let keys = [api.agent_key("a").await, api.agent_key("b").await, api.agent_key("c").await, api.agent_key("d").await];
    let leak = async |keyward: &TestServer, at: usize| {
        let body = json!({ "key": keys[at]["secret"] });
        let told = keyward.api_with(None).post("/agent-keys/revoke-leaked", body).await.expect(200).json();
        assert_eq!(told["result"], "revoked");
    };
    // That stays as it is, and is nothing to tell of.
    leak(&keyward, 3).await;
    let id = |at: usize| keys[at]["id"].as_str().unwrap().to_owned();
    let person = json!({ "email": "gone@example.org", "name": "Gone", "role": "auditor" });
    let person = keyward.api().post("/members", person).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    database.execute("CREATE TABLE saved AS SELECT * FROM agent_keys").await;
    database.execute("CREATE TABLE saved_members AS SELECT * FROM members WHERE role <> 'owner'").await;
    drop(database);
    let keyward = home.serve().start().await;
    keyward.api().delete(&format!("/agent-keys/{}", id(0))).await.expect(204);
    keyward.api().act(&format!("/agent-keys/{}/disable", id(1))).await.expect(200);
    keyward.api().delete(&format!("/members/{person}")).await.expect(204);
    leak(&keyward, 2).await;
    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    database.put_back("agent_keys", "saved").await;
    database.execute("INSERT INTO members SELECT * FROM saved_members").await;
    database.execute("UPDATE members SET name = 'another' WHERE role = 'owner'").await;
    drop(database);

    let keyward = home.serve().start().await;
    // The token's owner is the member who was changed, so it is asked without it.
    let log = crate::harness::eventually("a round", async || {
        Some(keyward.log()).filter(|log| log.contains("all rows were looked through"))
    })
    .await;
    for row in [id(0), id(1), id(2), person] {
        let told = log.lines().any(|line| line.contains("contradicts the audit log") && line.contains(&row));
        assert!(told, "{row}: {log}");
    }
    assert!(log.lines().any(|line| line.contains("failed=5")), "{log}");
}
