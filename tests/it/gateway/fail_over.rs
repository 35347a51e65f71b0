//! Several general keys on one provider or model: who goes out with which, and what follows a refusal.

use serde_json::{Value, json};

use crate::harness::{Agent, FakeProvider, Reply, TestServer, until};

const FIRST: &str = "sk-test-value-of-the-first-key-111";
const SECOND: &str = "sk-test-value-of-the-second-key-222";

struct Pair {
    keyward: TestServer,
    upstream: FakeProvider,
    /// The keys' representations, by their values.
    keys: [(Value, &'static str); 2],
    provider: Value,
    agent: Agent,
}

/// A provider with two keys of the given weights, and a model.
async fn pair(weights: [u32; 2]) -> Pair {
    let keyward = TestServer::start().await;
    let upstream = FakeProvider::start().await;
    let api = keyward.api();
    let keys = [(api.general_key("FIRST", FIRST).await, FIRST), (api.general_key("SECOND", SECOND).await, SECOND)];
    let provider = api
        .post("/providers", json!({
            "name": "twice", "kind": "openai-compatible", "base_url": upstream.base_url(),
            "general_keys": [{ "id": keys[0].0["id"], "weight": weights[0] }, { "id": keys[1].0["id"], "weight": weights[1] }],
        }))
        .await
        .expect(201)
        .json();
    api.model("small", &provider).await;
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
    Pair { keyward, upstream, keys, provider, agent }
}

/// The values that reached the provider, call by call.
fn sent(upstream: &FakeProvider) -> Vec<String> {
    let of = |authorization: &str| authorization.trim_start_matches("Bearer ").to_owned();
    upstream.calls().iter().map(|call| of(call.header("authorization").unwrap())).collect()
}

impl Pair {
    fn id_of(&self, value: &str) -> &Value {
        &self.keys.iter().find(|(_, of)| *of == value).unwrap().0["id"]
    }
}

#[tokio::test]
async fn an_agent_key_keeps_to_one_general_key_and_over_many_both_are_used() {
    let pair = pair([1, 1]).await;
    for _ in 0..5 {
        pair.agent.chat("small").await.expect(200);
    }
    let own = sent(&pair.upstream);
    assert!(own.iter().all(|value| *value == own[0]), "{own:?}");
    for number in 0..20 {
        let key = pair.keyward.api().agent_key(&format!("agent {number}")).await;
        pair.keyward.agent(key["secret"].as_str().unwrap()).chat("small").await.expect(200);
    }
    let all = sent(&pair.upstream);
    // Twenty-one agents that all choose the same of two keys: one chance in a million.
    assert!(all.contains(&FIRST.to_owned()) && all.contains(&SECOND.to_owned()), "{all:?}");
}

#[tokio::test]
async fn a_refused_key_is_followed_by_the_next_marked_and_passed_over() {
    let pair = pair([1, 1]).await;
    pair.upstream.next(Reply::error(401, "Incorrect API key provided: sk-tes…"));
    pair.agent.chat("small").await.expect(200);
    let tried = sent(&pair.upstream);
    assert_eq!(tried.len(), 2);
    assert_ne!(tried[0], tried[1]);

    pair.agent.chat("small").await.expect(200);
    assert_eq!(sent(&pair.upstream)[2], tried[1], "the refused one is passed over");

    let api = pair.keyward.api();
    until("the health of both keys", async || {
        let refused = api.read("/general-keys", pair.id_of(&tried[0])).await;
        let good = api.read("/general-keys", pair.id_of(&tried[1])).await;
        let detail = refused["health"]["detail"].as_str().unwrap_or_default();
        refused["health"]["status"] == "refused"
            && detail.starts_with("Incorrect API key")
            && good["health"]["status"] == "ok"
    })
    .await;

    // A new value begins anew.
    let path = format!("/general-keys/{}", pair.id_of(&tried[0]).as_str().unwrap());
    let edited = api.patch(&path, json!({ "value": "sk-test-value-that-is-good-333" })).await.expect(200).json();
    assert_eq!(api.get(&path).await.json()["health"]["status"], "unknown", "{edited}");
    pair.agent.chat("small").await.expect(200);
    assert_eq!(sent(&pair.upstream)[3], "sk-test-value-that-is-good-333");
}

#[tokio::test]
async fn exhausted_and_failing_are_followed_by_the_next_and_what_is_the_caller_s_fault_is_not() {
    for (status, calls) in [(429, 2), (500, 2), (503, 2), (402, 2), (400, 1), (404, 1), (422, 1)] {
        let pair = pair([1, 1]).await;
        pair.upstream.next(Reply::error(status, "no"));
        let answer = pair.agent.chat("small").await;
        assert_eq!(answer.status, if calls == 2 { 200 } else { status }, "{status}: {answer}");
        assert_eq!(pair.upstream.calls().len(), calls, "{status}");
    }
}

#[tokio::test]
async fn when_all_fail_the_caller_sees_the_last_answer() {
    let pair = pair([1, 1]).await;
    pair.upstream.next(Reply::error(500, "first"));
    pair.upstream.next(Reply::with(429, &[("retry-after", "7")], "second"));
    let answer = pair.agent.chat("small").await;
    assert_eq!((answer.status, answer.text()), (429, "second".to_owned()));
    assert_eq!(answer.headers["retry-after"], "7");
}

#[tokio::test]
async fn nothing_is_tried_again_once_a_byte_has_passed() {
    let pair = pair([1, 1]).await;
    let stage = pair.upstream.stage();
    let request = json!({ "model": "small", "stream": true });
    let (mut events, ()) = tokio::join!(pair.agent.stream(request), async {
        pair.upstream.has_calls(1).await;
        stage.open();
        stage.event("{\"choices\":[]}");
    });
    assert!(events.next().await.unwrap().is_some());
    stage.break_off();
    while let Ok(Some(_)) = events.next().await {}
    assert_eq!(pair.upstream.calls().len(), 1);
}

#[tokio::test]
async fn further_tries_are_bounded_where_everything_fails() {
    let pair = pair([1, 1]).await;
    pair.upstream.always(500, &[], "down");
    for _ in 0..40 {
        pair.agent.chat("small").await.expect(500);
    }
    let calls = pair.upstream.calls().len();
    assert!((50..=58).contains(&calls), "40 calls, ten tries at hand and one more for every five calls: {calls}");
}

#[tokio::test]
async fn usage_is_counted_under_the_key_that_answered() {
    let pair = pair([1, 1]).await;
    pair.upstream.next(Reply::error(429, "slow down"));
    pair.agent.chat("small").await.expect(200);
    let answered = pair.id_of(&sent(&pair.upstream)[1]).clone();
    let api = pair.keyward.api();
    until("the call to be counted", async || {
        let usage = api.get("/usage?group_by=general_key").await.json();
        usage["items"].as_array().is_some_and(|rows| rows.len() == 1 && rows[0]["key"] == answered)
    })
    .await;
}

#[tokio::test]
async fn links_are_told_edited_and_refused_with_a_reason() {
    let pair = pair([1, 3]).await;
    let api = pair.keyward.api();
    let (first, second) = (&pair.keys[0].0["id"], &pair.keys[1].0["id"]);
    assert_eq!(pair.provider["general_key_id"], *second, "the heaviest");
    assert_eq!(pair.provider["general_keys"], json!([{ "id": second, "weight": 3 }, { "id": first, "weight": 1 }]));

    let path = format!("/providers/{}", pair.provider["id"].as_str().unwrap());
    let too_many: Vec<_> = (0..9).map(|n| json!({ "id": format!("gk_{n}") })).collect();
    for (body, pointer) in [
        (json!({ "general_keys": [{ "id": first, "weight": 0 }] }), "/general_keys"),
        (json!({ "general_keys": [{ "id": first, "weight": 101 }] }), "/general_keys"),
        (json!({ "general_keys": [{ "id": first }, { "id": first }] }), "/general_keys"),
        (json!({ "general_keys": too_many }), "/general_keys"),
        (json!({ "general_keys": [{ "id": first }], "general_key_id": second }), "/general_keys"),
        (json!({ "general_keys": [{ "id": "gk_nobody" }] }), "/general_key_id"),
    ] {
        let refused = api.patch(&path, body).await.expect(422).json();
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    let kept = api.get(&path).await.json();
    assert_eq!(kept["general_keys"], pair.provider["general_keys"], "a refused edit changes nothing");

    let other = api.general_key("OTHER", "sk-test-value-of-another-key-444").await;
    let edited = api.patch(&path, json!({ "general_keys": [{ "id": first }, { "id": other["id"] }] })).await;
    assert_eq!(edited.expect(200).json()["general_keys"].as_array().unwrap().len(), 2);
    let event = api.audit_events().await.into_iter().find(|event| event["action"] == "provider.edit").unwrap();
    assert_eq!(event["changes"]["general_keys"]["before"], "SECOND (weight 3), FIRST (weight 1)", "{event}");
    api.patch(&path, json!({ "general_key_id": first })).await.expect(200);
    assert_eq!(api.get(&path).await.json()["general_keys"], json!([{ "id": first, "weight": 1 }]));
}
