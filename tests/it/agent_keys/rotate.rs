//! POST /agent-keys/{id}/rotate and /retire, GET /agent-keys/{id}/secrets

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Cell, Database, FakeProvider, TestServer, World, until};
use crate::management::{assert_fields, assert_time, days_between};

const MODEL: &str = World::MODEL;
const DAY: i64 = 86_400;

async fn rotate(keyward: &TestServer, world: &World, body: Value) -> Answer {
    keyward.api().post(&format!("{}/rotate", world.agent_key_path()), body).await
}

async fn retire(keyward: &TestServer, world: &World) -> Answer {
    keyward.api().act(&format!("{}/retire", world.agent_key_path())).await
}

async fn secrets(keyward: &TestServer, world: &World) -> Vec<Value> {
    let listed = keyward.api().get(&format!("{}/secrets", world.agent_key_path())).await.expect(200).json();
    listed["items"].as_array().unwrap().clone()
}

fn secret(key: &Value) -> String {
    key["secret"].as_str().expect("the secret, this once").to_owned()
}

fn seconds_between(from: &Value, to: &Value) -> i64 {
    let parse = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    (parse(to) - parse(from)) / 1000
}

#[tokio::test]
async fn answers_like_create_and_both_secrets_are_the_same_key_until_the_overlap_ends() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(MODEL).await.expect(200);

    let answer = rotate(&keyward, &world, json!({})).await.expect(201);
    let rotated = answer.json();
    assert_eq!(answer.header("location"), Some(format!("/api/v1{}", world.agent_key_path()).as_str()));
    assert_eq!(answer.header("etag"), Some(keyward.api().etag(&world.agent_key_path()).await.as_str()));
    assert!(answer.header("cache-control").is_some_and(|text| text.contains("no-store")), "{answer}");
    let fields: Vec<&str> = world.agent_key.as_object().unwrap().keys().map(String::as_str).collect();
    assert_fields(&rotated, &fields);
    for same in ["id", "name", "created_at", "created_by", "status"] {
        assert_eq!(rotated[same], world.agent_key[same], "{same}");
    }
    let new = secret(&rotated);
    assert_ne!(new, world.agent.secret());
    assert_eq!(rotated["masked_secret"], format!("{}******{}", &new[..4], &new[new.len() - 4..]).as_str());

    keyward.agent(&new).chat(MODEL).await.expect(200);
    world.agent.chat(MODEL).await.expect(200);
    crate::usage::row(&keyward.api(), "agent_key", rotated["id"].as_str().unwrap(), 3).await;
    let listed = secrets(&keyward, &world).await;
    assert_eq!(listed.len(), 2);
    for (listed, (status, key)) in listed.iter().zip([("current", &rotated), ("ending", &world.agent_key)]) {
        assert_fields(listed, &["id", "masked_secret", "status", "created_at", "ends_at", "last_used_at"]);
        assert_eq!((&listed["status"], &listed["masked_secret"]), (&json!(status), &key["masked_secret"]));
        assert_time(&listed["last_used_at"]);
    }
    assert_eq!(listed[0]["ends_at"], rotated["expires_at"]);
    assert_eq!(days_between(&listed[0]["created_at"], &rotated["expires_at"]), 90, "as good as a new one");
    assert_eq!(seconds_between(&listed[0]["created_at"], &listed[1]["ends_at"]), DAY, "a day where none is named");

    let keyward = keyward.stop_to_restart().await.days_later(2).start().await;
    let refused = keyward.agent(world.agent.secret()).chat(MODEL).await.refused(401, "expired_api_key");
    assert!(refused.text().contains("was replaced"), "{refused}");
    keyward.agent(&new).chat(MODEL).await.expect(200);
    assert_eq!(secrets(&keyward, &world).await[1]["status"], "ended");
    let events = keyward.api().audit_events().await;
    assert_eq!(events[0]["action"], "agent_key.rotate");
    assert_eq!(events[0]["changes"]["secret"], "changed");
}

#[tokio::test]
async fn the_old_one_never_outlives_its_own_end_and_the_new_one_has_the_policy_s_days() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = json!({ "name": "one day", "expires_in_days": 1 });
    let agent_key = keyward.api().post("/agent-keys", body).await.expect(201).json();
    let world = World { agent_key, ..world };
    let rotated = rotate(&keyward, &world, json!({ "overlap_seconds": 7 * DAY })).await.expect(201).json();
    let listed = secrets(&keyward, &world).await;
    assert_eq!(listed[1]["ends_at"], world.agent_key["expires_at"]);
    assert_eq!(days_between(&world.agent_key["created_at"], &rotated["expires_at"]), 90);

    let keyward = keyward.stop_to_restart().await.days_later(2).start().await;
    keyward.agent(&secret(&world.agent_key)).chat(MODEL).await.refused(401, "expired_api_key");
    keyward.agent(&secret(&rotated)).chat(MODEL).await.expect(200);
}

#[tokio::test]
async fn a_retired_secret_ends_at_the_very_next_call_and_only_its_own_streams_with_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = json!({ "model": MODEL, "stream": true, "messages": [] });
    let first = provider.stage();
    first.open();
    let mut old_stream = world.agent.stream(body.clone()).await;
    let rotated = rotate(&keyward, &world, json!({ "overlap_seconds": 3600 })).await.expect(201).json();
    let new_agent = keyward.agent(&secret(&rotated));
    let second = provider.stage();
    second.open();
    let mut new_stream = new_agent.stream(body).await;

    let retired = retire(&keyward, &world).await.expect(200);
    assert!(retired.json().get("secret").is_none(), "{retired}");
    world.agent.chat(MODEL).await.refused(401, "expired_api_key");
    assert!(old_stream.next().await.is_err(), "the old secret's stream went on");
    first.caller_left().await;
    second.event("{}");
    assert_eq!(new_stream.next().await.expect("it goes on").as_deref(), Some("{}"));
    new_agent.chat(MODEL).await.expect(200);

    // Doing it again is harmless, and the key goes on with the one secret.
    let etag = retired.header("etag").unwrap().to_owned();
    let again = retire(&keyward, &world).await.expect(200);
    assert_eq!(again.header("etag"), Some(etag.as_str()));
    new_agent.chat(MODEL).await.expect(200);
    let events = keyward.api().audit_events().await;
    let actions: Vec<_> = events.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions[..2], ["agent_key.retire", "agent_key.rotate"]);
    keyward.api().act("/agent-keys/ak_01HZZZZZZZZZZZZZZZZZZZZZZZ/retire").await.problem(404);
}

#[tokio::test]
async fn without_overlap_the_old_one_ends_at_once_and_with_one_its_streams_end_in_time() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = json!({ "model": MODEL, "stream": true, "messages": [] });
    let stage = provider.stage();
    stage.open();
    let mut stream = world.agent.stream(body.clone()).await;
    let second = rotate(&keyward, &world, json!({ "overlap_seconds": 0 })).await.expect(201).json();
    world.agent.chat(MODEL).await.refused(401, "expired_api_key");
    assert!(stream.next().await.is_err());

    let stage = provider.stage();
    stage.open();
    let mut stream = keyward.agent(&secret(&second)).stream(body).await;
    rotate(&keyward, &world, json!({ "overlap_seconds": 1 })).await.expect(201);
    assert!(stream.next().await.is_err(), "a stream that began before the rotation outlived its secret");
    keyward.agent(&secret(&second)).chat(MODEL).await.refused(401, "expired_api_key");
}

#[tokio::test]
async fn while_an_overlap_runs_a_second_rotation_is_refused_unless_it_ends_every_earlier_secret() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let second = rotate(&keyward, &world, json!({})).await.expect(201).json();
    let refused = rotate(&keyward, &world, json!({})).await.problem_called(409, "rotation_under_way");
    assert!(refused.json()["detail"].as_str().unwrap().contains("/retire"), "{refused}");
    world.agent.chat(MODEL).await.expect(200);

    retire(&keyward, &world).await.expect(200);
    let third = rotate(&keyward, &world, json!({})).await.expect(201).json();
    let fourth = rotate(&keyward, &world, json!({ "overlap_seconds": 0 })).await.expect(201).json();
    for over in [world.agent.secret(), &secret(&second), &secret(&third)] {
        keyward.agent(over).chat(MODEL).await.expect(401);
    }
    keyward.agent(&secret(&fourth)).chat(MODEL).await.expect(200);
}

#[tokio::test]
async fn only_an_active_key_is_rotated_and_only_with_an_overlap_of_up_to_seven_days() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for wrong in [json!(-1), json!(7 * DAY + 1), json!(1.5), json!("60"), json!(null), json!(1e300)] {
        rotate(&keyward, &world, json!({ "overlap_seconds": wrong })).await.problem(422).at("/overlap_seconds");
    }
    rotate(&keyward, &world, json!({ "secret": "kw_x" })).await.problem(422);
    let path = world.agent_key_path();
    let stale = keyward.api().request(Method::POST, &format!("{path}/rotate")).header("if-match", "\"99\"");
    keyward.api().send(stale).await.problem(412);
    keyward.api().act("/agent-keys/ak_01HZZZZZZZZZZZZZZZZZZZZZZZ/rotate").await.problem(404);

    keyward.api().act(&format!("{path}/disable")).await.expect(200);
    rotate(&keyward, &world, json!({})).await.problem_called(409, "agent_key_not_active");
    keyward.api().act(&format!("{path}/enable")).await.expect(200);
    let keyward = keyward.stop_to_restart().await.days_later(91).start().await;
    rotate(&keyward, &world, json!({})).await.problem_called(409, "agent_key_not_active");
}

#[tokio::test]
async fn a_replay_rotates_nothing_again_and_shows_no_secret() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let post = async |body: Value| {
        let request = keyward.api().request(Method::POST, &format!("{}/rotate", world.agent_key_path()));
        keyward.api().send(request.header("idempotency-key", "one").json(&body)).await
    };
    let first = post(json!({})).await.expect(201).json();
    let replay = post(json!({})).await.expect(201);
    assert_eq!(replay.json()["masked_secret"], first["masked_secret"]);
    assert!(replay.json().get("secret").is_none(), "{replay}");
    assert_eq!(secrets(&keyward, &world).await.len(), 2);
    post(json!({ "overlap_seconds": 0 })).await.problem(422);
    keyward.agent(&secret(&first)).chat(MODEL).await.expect(200);
}

#[tokio::test]
async fn under_load_no_call_fails_while_agents_change_over() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let present = Arc::new(tokio::sync::RwLock::new(world.agent.clone()));
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (present, stop, calls) = (Arc::clone(&present), Arc::clone(&stop), Arc::clone(&calls));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    present.read().await.chat(MODEL).await.expect(200);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let go_on = async |what: &str| {
        let seen = calls.load(Ordering::Relaxed);
        until(what, async || calls.load(Ordering::Relaxed) > seen + 20).await;
    };
    for round in 0..5 {
        let rotated = rotate(&keyward, &world, json!({ "overlap_seconds": 3600 })).await.expect(201).json();
        go_on(&format!("calls with the old secret after rotation {round}")).await;
        // Agents change over between two calls: none is under way with the old secret any more.
        *present.write().await = keyward.agent(&secret(&rotated));
        go_on(&format!("calls with the new secret after rotation {round}")).await;
        retire(&keyward, &world).await.expect(200);
        go_on(&format!("calls after the old secret of rotation {round} was retired")).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in load {
        caller.await.expect("no call failed");
    }
}

#[tokio::test]
async fn of_two_rotations_at_once_one_wins_and_a_deletion_beside_one_leaves_no_good_secret() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (left, right) = tokio::join!(rotate(&keyward, &world, json!({})), rotate(&keyward, &world, json!({})));
    assert_eq!([left.status.min(right.status), left.status.max(right.status)], [201, 409], "{left}\n{right}");
    retire(&keyward, &world).await.expect(200);

    let (api, path) = (keyward.api(), world.agent_key_path());
    let disable = format!("{path}/disable");
    let (disabled, rotated) = tokio::join!(api.act(&disable), rotate(&keyward, &world, json!({})));
    disabled.expect(200);
    assert!([201, 409].contains(&rotated.status), "{rotated}");
    if rotated.status == 201 {
        keyward.agent(&secret(&rotated.json())).chat(MODEL).await.refused(401, "disabled_api_key");
        retire(&keyward, &world).await.expect(200);
    }
    api.act(&format!("{path}/enable")).await.expect(200);

    let (deleted, rotated) = tokio::join!(api.delete(&path), rotate(&keyward, &world, json!({})));
    deleted.expect(204);
    assert!([201, 404].contains(&rotated.status), "{rotated}");
    if rotated.status == 201 {
        keyward.agent(&secret(&rotated.json())).chat(MODEL).await.refused(401, "invalid_api_key");
    }
    world.agent.chat(MODEL).await.expect(401);
}

#[tokio::test]
async fn a_retired_secret_s_row_put_back_as_it_was_counts_for_nothing() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let mut database = keyward.database().await;
    let row = format!("agent_key_id = '{}'", world.agent_key["id"].as_str().unwrap());
    let Cell::Text(id) = database.cell("agent_secrets", "id", &row).await else { panic!("no id") };
    let row = format!("id = '{id}'");
    let mut saved = Vec::new();
    for column in ["ends_at", "version", "mac"] {
        saved.push((column, database.cell("agent_secrets", column, &row).await));
    }
    drop(database);
    let rotated = rotate(&keyward, &world, json!({ "overlap_seconds": 0 })).await.expect(201).json();

    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    for (column, value) in &saved {
        database.set("agent_secrets", column, &row, value).await;
    }
    drop(database);
    let keyward = home.serve().start().await;
    keyward.agent(world.agent.secret()).chat(MODEL).await.refused(401, "invalid_api_key");
    keyward.agent(&secret(&rotated)).chat(MODEL).await.expect(200);
    assert!(keyward.log().lines().any(|line| line.contains(&id) && line.contains("put back outside Keyward")));
}
