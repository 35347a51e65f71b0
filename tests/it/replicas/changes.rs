//! What one server commits, the others take over.

use serde_json::json;

use super::Pair;
use crate::harness::{Database, Home, PostgresDatabase, World, shared_cluster, until};

fn path(kind: &str, row: &serde_json::Value) -> String {
    format!("/{kind}/{}", row["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_key_revoked_at_one_is_refused_at_the_other_and_its_stream_there_ends() {
    let pair = Pair::start().await;
    let other = pair.first.api().agent_key("another").await;
    let agent = pair.second.agent(pair.world.agent.secret());
    let stage = pair.provider.stage();
    stage.open();
    let mut stream = agent.stream(json!({ "model": World::MODEL, "stream": true, "messages": [] })).await;
    pair.first.api().delete(&pair.world.agent_key_path()).await.expect(204);
    until("the refusal at the other server", async || {
        let answer = agent.chat(World::MODEL).await;
        assert!([200, 401].contains(&answer.status), "{answer}");
        answer.status == 401
    })
    .await;
    assert!(stream.next().await.is_err());
    stage.caller_left().await;
    pair.second.agent(other["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn a_key_reported_as_leaked_at_one_is_refused_at_the_other_and_its_stream_there_ends() {
    let pair = Pair::start().await;
    let agent = pair.second.agent(pair.world.agent.secret());
    let stage = pair.provider.stage();
    stage.open();
    let mut stream = agent.stream(json!({ "model": World::MODEL, "stream": true, "messages": [] })).await;
    let body = json!({ "key": pair.world.agent.secret() });
    let told = pair.first.api_with(None).post("/agent-keys/revoke-leaked", body).await.expect(200).json();
    assert_eq!(told["result"], "revoked");
    until("the refusal at the other server", async || {
        let answer = agent.chat(World::MODEL).await;
        assert!([200, 401].contains(&answer.status), "{answer}");
        answer.status == 401
    })
    .await;
    assert!(stream.next().await.is_err());
    stage.caller_left().await;
}

#[tokio::test]
async fn a_key_of_another_product_imported_at_one_is_good_at_the_other() {
    let pair = Pair::start().await;
    let secret = "sk-test-of-another-product";
    let agent = pair.second.agent(secret);
    agent.chat(World::MODEL).await.expect(401);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let keys = json!({ "issuer": "sha256", "agent_keys": [{ "name": "of old", "sha256": hash }] });
    pair.first.api().post("/agent-keys/import", keys).await.expect(200);
    pair.first.agent(secret).chat(World::MODEL).await.expect(200);
    until("the other server's good answer", async || agent.chat(World::MODEL).await.status == 200).await;
}

#[tokio::test]
async fn a_key_disabled_at_one_is_disabled_at_the_other_until_it_is_enabled() {
    let pair = Pair::start().await;
    let agent = pair.second.agent(pair.world.agent.secret());
    for (verb, status) in [("disable", 401), ("enable", 200), ("disable", 401)] {
        pair.first.api().act(&format!("{}/{verb}", pair.world.agent_key_path())).await.expect(200);
        until("the other server's verdict", async || agent.chat(World::MODEL).await.status == status).await;
    }
}

#[tokio::test]
async fn a_secret_retired_at_one_is_refused_at_the_other_and_only_its_streams_end_there() {
    let pair = Pair::start().await;
    let old = pair.second.agent(pair.world.agent.secret());
    let path = pair.world.agent_key_path();
    let body = json!({ "overlap_seconds": 3600 });
    let rotated = pair.first.api().post(&format!("{path}/rotate"), body).await.expect(201).json();
    let new = pair.second.agent(rotated["secret"].as_str().unwrap());
    let body = json!({ "model": World::MODEL, "stream": true, "messages": [] });
    let first = pair.provider.stage();
    first.open();
    let mut old_stream = old.stream(body.clone()).await;
    let second = pair.provider.stage();
    second.open();
    let mut new_stream = new.stream(body).await;
    pair.first.api().act(&format!("{path}/retire")).await.expect(200);
    until("the refusal at the other server", async || {
        let answer = old.chat(World::MODEL).await;
        assert!([200, 401].contains(&answer.status), "{answer}");
        answer.status == 401
    })
    .await;
    assert!(old_stream.next().await.is_err(), "the old secret's stream went on");
    first.caller_left().await;
    second.event("{}");
    assert_eq!(new_stream.next().await.expect("it goes on").as_deref(), Some("{}"));
    new.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn a_secret_replaced_at_one_ends_with_its_streams_at_the_other_in_time() {
    let pair = Pair::start().await;
    let old = pair.second.agent(pair.world.agent.secret());
    let stage = pair.provider.stage();
    stage.open();
    let mut stream = old.stream(json!({ "model": World::MODEL, "stream": true, "messages": [] })).await;
    let path = format!("{}/rotate", pair.world.agent_key_path());
    let rotated = pair.first.api().post(&path, json!({ "overlap_seconds": 1 })).await.expect(201).json();
    assert!(stream.next().await.is_err(), "a stream outlived its secret");
    stage.caller_left().await;
    old.chat(World::MODEL).await.refused(401, "expired_api_key");
    pair.second.agent(rotated["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn models_and_values_of_general_keys_changed_at_one_are_used_at_the_other() {
    let pair = Pair::start().await;
    pair.first.api().model("new-one", &pair.world.provider).await;
    let agent = pair.second.agent(pair.world.agent.secret());
    until("the new model", async || agent.chat("new-one").await.status == 200).await;
    let value = "sk-test-another-value-abc";
    pair.first.api().patch(&pair.world.general_key_path(), json!({ "value": value })).await.expect(200);
    until("the new value", async || {
        agent.chat(World::MODEL).await.expect(200);
        pair.provider.last_call().header("authorization") == Some(format!("Bearer {value}").as_str())
    })
    .await;
    pair.first.api().delete(&path("models", &pair.world.model)).await.expect(204);
    until("the model's end", async || agent.chat(World::MODEL).await.status == 404).await;
}

#[tokio::test]
async fn a_change_record_taken_out_of_the_database_is_missed_and_all_is_read_anew() {
    let pair = Pair::start().await;
    let agent = pair.second.agent(pair.world.agent.secret());
    pair.proxy.stall();
    // Until then an answer may be on its way that has the record.
    until("the line given up", async || pair.second.log().contains("the lease cannot be renewed")).await;
    pair.first.api().delete(&pair.world.agent_key_path()).await.expect(204);
    let mut database = Database::open(pair.first.home()).await;
    database.execute("DELETE FROM changes WHERE seq = (SELECT max(seq) FROM changes)").await;
    pair.first.api().agent_key("one more").await;
    pair.proxy.heal();
    until("the refusal", async || agent.chat(World::MODEL).await.status == 401).await;
    assert!(pair.second.log().contains("change records are missing"), "{}", pair.second.log());
}

#[tokio::test]
async fn what_one_server_looks_at_before_it_writes_still_holds_when_it_commits() {
    let pair = Pair::start().await;
    let (first, second) = (pair.first.api(), pair.second.api());
    for number in 0..15 {
        let name = format!("key-{number}");
        let key = first.general_key(&name, "sk-test-value-of-a-contested-key").await;
        let model = json!({ "name": name, "provider_id": pair.world.provider["id"], "general_key_id": key["id"] });
        // A key that is linked is not deleted, and one that is deleted is not linked.
        let (deleted, key_path) = (async |path: &str| first.delete(path).await, path("general-keys", &key));
        let (deleted, linked) = tokio::join!(deleted(&key_path), second.post("/models", model));
        let both = (deleted.status, linked.status);
        assert!(both == (204, 404) || both == (204, 422) || both == (409, 201), "{both:?}: {deleted} {linked}");
    }
}

#[tokio::test]
async fn two_started_at_once_on_an_empty_database_are_one_installation() {
    let first = Home::empty_on_postgres(PostgresDatabase::new(shared_cluster()));
    let second = first.beside();
    let (first, second) = tokio::join!(first.serve().start(), second.serve().start());
    let mut database = Database::open(first.home()).await;
    assert_eq!(database.count("installation", "1 = 1").await, 1);
    assert_eq!(database.count("replicas", "1 = 1").await, 2);
    let _homes = (first.stop().await, second.stop().await);
    assert_eq!(database.count("replicas", "1 = 1").await, 0);
}
