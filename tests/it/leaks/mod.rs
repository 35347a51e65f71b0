//! Keys that got out: found in files and git's history, and revoked by whoever has one.

mod reports;

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

use crate::harness::{Api, FakeProvider, TestServer, World, until};

async fn report(anybody: &Api, key: &str) -> Value {
    anybody.post("/agent-keys/revoke-leaked", json!({ "key": key })).await.expect(200).json()["result"].clone()
}

#[tokio::test]
async fn whoever_has_a_key_may_end_it_for_ever() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let anybody = keyward.api_with(None);
    let stage = provider.stage();
    stage.open();
    stage.event("{}");
    let mut stream = world.agent.stream(json!({ "model": World::MODEL, "stream": true })).await;
    assert!(stream.next().await.unwrap().is_some());

    assert_eq!(report(&anybody, world.agent.secret()).await, "revoked");
    world.agent.chat(World::MODEL).await.refused(401, "expired_api_key");
    until("the open stream's end", async || !matches!(stream.next().await, Ok(Some(_)))).await;
    assert_eq!(report(&anybody, &format!(" {}\n", world.agent.secret())).await, "already_ended");
    let api = keyward.api();
    assert_eq!(api.get(&world.agent_key_path()).await.expect(200).json()["status"], "expired");
    let overview = keyward.person("admin", "admin").await.api.page("/overview").await.expect(200).text();
    assert!(overview.contains("was reported as leaked"), "{overview}");
    // It cannot be brought back.
    api.act(&format!("{}/enable", world.agent_key_path())).await.expect(422);
    let events = api.get("/audit-events?action=agent_key.revoke_leaked").await.expect(200).json();
    assert_eq!((&events["total"], &events["items"][0]["actor"]["kind"]), (&json!(1), &json!("nobody")));
    assert_eq!(events["items"][0]["address"], "127.0.0.1");

    // A disabled one ends as well; a deleted one, and one of elsewhere, is unknown.
    let disabled = api.agent_key("disabled").await;
    let path = format!("/agent-keys/{}", disabled["id"].as_str().unwrap());
    api.act(&format!("{path}/disable")).await.expect(200);
    assert_eq!(report(&anybody, disabled["secret"].as_str().unwrap()).await, "revoked");
    api.delete(&path).await.expect(204);
    assert_eq!(report(&anybody, disabled["secret"].as_str().unwrap()).await, "unknown");
    let elsewhere = format!("kw_{}4RAm10", "0".repeat(43));
    assert_eq!(report(&anybody, &elsewhere).await, "unknown");
    for wrong in ["", "kw_short", &elsewhere.replace("4RAm10", "4RAm11"), &format!("kwm_{}", "0".repeat(49))] {
        let refused = anybody.post("/agent-keys/revoke-leaked", json!({ "key": wrong })).await.problem(422).at("/key");
        assert!(wrong.len() < 9 || !refused.text().contains(wrong), "{refused}");
    }
    let token = keyward.home().token().to_owned();
    let refused = anybody.post("/agent-keys/revoke-leaked", json!({ "key": token })).await.problem(422).at("/key");
    assert!(refused.text().contains("management token"), "{refused}");
    api.get("/agent-keys").await.expect(200);
}

#[tokio::test]
async fn of_a_key_that_was_rotated_since_only_the_leaked_secret_ends() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let rotated = keyward.api().post(&format!("{}/rotate", world.agent_key_path()), json!({})).await.expect(201).json();
    let new = keyward.agent(rotated["secret"].as_str().unwrap());
    assert_eq!(report(&keyward.api_with(None), world.agent.secret()).await, "revoked");
    world.agent.chat(World::MODEL).await.refused(401, "expired_api_key");
    new.chat(World::MODEL).await.expect(200);
}

fn scan(folder: &Path, paths: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.arg("scan").args(paths).current_dir(folder).output().unwrap()
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = std::process::Command::new("git");
    command.args(["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]);
    let done = command.args(arguments).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn keys_are_found_in_files_logs_and_history_without_being_shown() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let secret = |key: Value| key["secret"].as_str().unwrap().to_owned();
    let (in_log, in_history) = (secret(api.agent_key("log").await), secret(api.agent_key("history").await));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("logs/deep")).unwrap();
    fs::write(at("clean.txt"), format!("kw_{}4RAm11 is none\n", "0".repeat(43))).unwrap();
    let clean = scan(folder.path(), &["."]);
    assert!(clean.status.success(), "{clean:?}");
    assert!(String::from_utf8_lossy(&clean.stdout).starts_with("nothing found in 1 files"), "{clean:?}");

    // In a log among bytes that are no text, and in a commit of a file that is gone.
    let log = [b"\xff\x00line one\nauthorization=Bearer ".as_slice(), in_log.as_bytes(), b"&x=1\n"].concat();
    fs::write(at("logs/deep/access.log"), log).unwrap();
    git(folder.path(), &["init", "-q"]);
    fs::write(at(".env"), format!("# mine\nKEY='{in_history}'\n")).unwrap();
    git(folder.path(), &["add", ".env"]);
    git(folder.path(), &["commit", "-qm", "add"]);
    git(folder.path(), &["rm", "-q", ".env"]);
    git(folder.path(), &["commit", "-qm", "remove"]);
    let found = scan(folder.path(), &[".", "missing"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let (told, why) = (String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
    let mask = |secret: &str| format!("{}******{}", &secret[..4], &secret[secret.len() - 4..]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines.contains(&format!("./logs/deep/access.log:2:22: agent key {}", mask(&in_log)).as_str()), "{told}");
    let in_git = lines.iter().find(|line| line.contains("(git ")).unwrap();
    assert!(in_git.contains(" .env):2:6: ") && in_git.ends_with(&mask(&in_history)), "{told}");
    assert!(why.contains("2 found in 2 files and") && why.contains("missing was not read"), "{why}");
    for text in [&told, &why] {
        assert!(!text.contains(&in_log) && !text.contains(&in_history), "{text}");
    }
    assert_eq!(scan(folder.path(), &[]).status.code(), Some(2));
}

#[tokio::test]
async fn a_restored_copy_brings_no_leaked_key_back() {
    let keyward = TestServer::start_on_sqlite().await;
    let api = keyward.api();
    let key = api.agent_key("leaked").await;
    let secret = key["secret"].as_str().unwrap().to_owned();
    let home = keyward.stop().await;
    let copy = home.saved();
    let keyward = home.serve().start().await;
    assert_eq!(report(&keyward.api_with(None), &secret).await, "revoked");
    let home = keyward.stop().await;
    home.put_back(&copy);
    let done = home.run(&["restore", "accept"], "").await;
    assert!(done.status.success(), "{done:?}");
    let keyward = home.serve().start().await;
    assert_eq!(report(&keyward.api_with(None), &secret).await, "already_ended");
    let told = keyward.api().get(&format!("/agent-keys/{}", key["id"].as_str().unwrap())).await.expect(200).json();
    assert!(told["leaked_at"].is_string(), "{told}");
}
