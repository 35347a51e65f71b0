//! What holds for the whole management API: who may call it, and what it says to bad requests.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{TestServer, well_formed};

/// Names that no kind of thing may have; the one that is too long is made where it is used.
pub const BAD_NAMES: [&str; 9] =
    ["", "   ", "a\u{0}b", "a\nb", "a\u{7f}b", "a\u{85}b", "a\u{202e}b", "a\u{200b}b", "a\u{2066}b"];

const COLLECTIONS: [&str; 6] =
    ["/general-keys", "/agent-keys", "/providers", "/models", "/members", "/management-tokens"];

/// Asserts that a representation has these members and no other: absent values are null, never left out.
#[track_caller]
pub fn assert_fields(value: &Value, expected: &[&str]) {
    let mut names: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = expected.to_vec();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected, "{value}");
}

/// Asserts a time: RFC 3339 in UTC.
#[track_caller]
pub fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("not a time: {value}"));
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    assert!(parsed.is_ok() && text.ends_with('Z'), "{text}");
}

/// Days from one time to another, rounded down.
pub fn days_between(from: &Value, to: &Value) -> i64 {
    let parse = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    (parse(to) - parse(from)) / 86_400
}

#[tokio::test]
async fn without_a_good_token_every_resource_is_closed() {
    let keyward = TestServer::start().await;
    let agent_secret = keyward.api().agent_key("an agent").await["secret"].as_str().unwrap().to_owned();
    let unknown = well_formed("kwm_", '7');
    for token in [None, Some("nonsense"), Some(agent_secret.as_str()), Some(unknown.as_str()), Some("")] {
        let api = keyward.api_with(token);
        for path in COLLECTIONS.into_iter().chain(["/audit-events", "/usage"]) {
            let refused = api.get(path).await.problem(401);
            assert!(refused.header("www-authenticate").is_some_and(|text| text.starts_with("Bearer")), "{refused}");
        }
        api.post("/agent-keys", json!({ "name": "x" })).await.problem(401);
    }
}

#[tokio::test]
async fn a_token_in_the_query_is_no_token() {
    let keyward = TestServer::start().await;
    let api = keyward.api_with(None);
    for name in ["token", "access_token", "key", "api_key"] {
        api.get(&format!("/general-keys?{name}={}", keyward.home().token())).await.problem(401);
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_as_such() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for path in ["/general-keys", "/providers", "/models", "/members", "/management-tokens"] {
        for body in [
            "",
            "{",
            "not json",
            "{\"name\":\"x\"} trailing",
            "[]",
            "\"text\"",
            "null",
            "{\"name\":\"a\",\"name\":\"b\"}",
        ] {
            let request = api.request(Method::POST, path).header("content-type", "application/json").body(body);
            let answer = api.send(request).await;
            let status = answer.status;
            assert!(status == 400 || status == 422, "{path} {body:?}: {answer}");
            answer.problem(status);
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let body = format!("{{\"name\":{deep}}}");
        let request = api.request(Method::POST, path).header("content-type", "application/json").body(body);
        let answer = api.send(request).await;
        assert!(answer.status == 400 || answer.status == 422, "{answer}");
    }
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems_too() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    api.get("/nothing-here").await.problem(404);
    let answer = api.send(api.request(Method::PUT, "/general-keys")).await.problem(405);
    assert!(answer.header("allow").is_some(), "{answer}");
}

#[tokio::test]
async fn answers_are_not_to_be_stored() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let created = api.post("/agent-keys", json!({ "name": "an agent" })).await.expect(201);
    assert!(created.header("cache-control").is_some_and(|text| text.contains("no-store")), "{:?}", created.headers);
    assert_eq!(created.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn an_array_is_no_object_also_where_nothing_is_required() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.agent_key("ABC-Key").await;
    let path = format!("/agent-keys/{}", key["id"].as_str().unwrap());
    for (path, body) in [
        (format!("{path}/disable"), json!([])),
        (format!("{path}/retire"), json!([])),
        (String::from("/agent-keys"), json!(["by its place"])),
        (String::from("/agent-keys"), json!({ "name": "n", "limits": [[], []] })),
        (String::from("/agent-keys"), json!({ "name": "n", "limits": { "budgets": [["day", "tokens", 5]] } })),
        (String::from("/agent-keys/bulk-create"), json!({ "agent_keys": [["n", 5]] })),
        (String::from("/policies"), json!({ "name": "n", "requires": [["m"]] })),
        (String::from("/providers"), json!({ "name": "n", "kind": "openai", "limits": [1] })),
        (String::from("/providers"), json!({ "name": "n", "kind": "openai", "general_keys": [["gk_1", 1]] })),
    ] {
        api.post(&path, body).await.problem(422);
    }
    assert_eq!(api.get(&path).await.expect(200).json()["status"], "active");
}
