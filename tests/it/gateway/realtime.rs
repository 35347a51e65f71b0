//! WebSockets: OpenAI's realtime route.

use http::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{AgentSocket, Answer, FakeProvider, ProviderSocket, Reply, TestServer, World, exchange, until};
use crate::usage::row;

const PATH: &str = "/v1/realtime?model=small";

/// A WebSocket of the world's agent, from end to end.
async fn open(keyward: &TestServer, provider: &FakeProvider, world: &World) -> (AgentSocket, ProviderSocket) {
    let bearer = format!("Bearer {}", world.agent.secret());
    let (agent, _) = AgentSocket::open(keyward, PATH, &[("authorization", &bearer)]).await.expect("a WebSocket");
    (agent, provider.socket().await)
}

async fn refusal(keyward: &TestServer, world: &World, path: &str) -> Answer {
    let bearer = format!("Bearer {}", world.agent.secret());
    *AgentSocket::open(keyward, path, &[("authorization", &bearer)]).await.expect_err("no WebSocket")
}

fn done(input: u64, output: u64) -> Value {
    let usage = json!({ "total_tokens": input + output, "input_tokens": input, "output_tokens": output });
    json!({ "type": "response.done", "response": { "status": "completed", "usage": usage } })
}

#[tokio::test]
async fn both_sides_talk_and_the_provider_sees_its_own_key_only() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let headers = [
        ("x-api-key", world.agent.secret()),
        ("openai-beta", "realtime=v1"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://somewhere.example"),
    ];
    let path = "/v1/realtime?x=%2F&model=small&y";
    let (mut agent, response) = AgentSocket::open(&keyward, path, &headers).await.expect("a WebSocket");
    assert!(response.headers().contains_key("keyward-request-id"));
    let call = provider.only_call();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", "/v1/realtime?x=%2F&model=small&y"));
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
    assert_eq!(call.header("openai-beta"), Some("realtime=v1"));
    assert_eq!(call.header("sec-websocket-version"), Some("13"));
    for name in ["x-api-key", "sec-websocket-extensions", "sec-websocket-protocol", "sec-fetch-site", "origin"] {
        assert_eq!(call.header(name), None, "{name}");
    }
    assert!(!call.mentions(world.agent.secret()));

    let mut upstream = provider.socket().await;
    for number in 0..3 {
        agent.send(&json!({ "type": "response.create", "number": number })).await;
        assert_eq!(upstream.event().await["number"], number);
        upstream.send(&json!({ "type": "session.updated", "number": number })).await;
        assert_eq!(agent.event().await["number"], number);
    }
    upstream.send_message(Message::binary(vec![0, 255])).await;
    assert_eq!(agent.next().await, Some(Message::binary(vec![0, 255])));
    let ended = tokio::spawn(upstream.closed());
    agent.close().await;
    ended.await.unwrap();
}

#[tokio::test]
async fn a_browser_s_key_stands_among_its_subprotocols_and_goes_no_further() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let mine = world.agent.secret();
    let offered = format!("realtime, openai-insecure-api-key.{mine}, openai-beta.realtime-v1");
    let (_agent, response) =
        AgentSocket::open(&keyward, PATH, &[("sec-websocket-protocol", &offered)]).await.expect("a WebSocket");
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
    let call = provider.only_call();
    assert_eq!(call.header("sec-websocket-protocol"), Some("realtime, openai-beta.realtime-v1"));
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
    assert!(!call.mentions(mine));

    // The same key twice is one; two are a conflict.
    let twice = [("sec-websocket-protocol", offered.as_str()), ("x-api-key", mine)];
    AgentSocket::open(&keyward, PATH, &twice).await.expect("a WebSocket");
    let other = keyward.api().agent_key("other").await["secret"].as_str().unwrap().to_owned();
    for second in [("x-api-key", other.as_str()), ("sec-websocket-protocol", "openai-insecure-api-key.sk-another")] {
        let answer = AgentSocket::open(&keyward, PATH, &[twice[0], second]).await.expect_err("two keys");
        answer.refused(400, "conflicting_credentials");
    }
    let nobody = AgentSocket::open(&keyward, PATH, &[("sec-websocket-protocol", "realtime")]).await;
    nobody.expect_err("no key").refused(401, "invalid_api_key");
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn the_model_is_renamed_and_the_path_is_the_kind_s() {
    let provider = FakeProvider::start().await;
    for (kind, path, upstream, header) in [
        ("openai", PATH, "/realtime?model=vendor-small", "authorization"),
        ("ollama", "/v1/realtime?a=b&model=small&c", "/v1/realtime?a=b&model=vendor-small&c", "authorization"),
        ("azure-openai", PATH, "/openai/v1/realtime?model=vendor-small", "api-key"),
        (
            "azure-openai",
            "/openai/realtime?api-version=1&deployment=small",
            "/openai/realtime?api-version=1&deployment=vendor-small",
            "api-key",
        ),
        ("openai", "/providers/fake/realtime?model=any%2Fone", "/realtime?model=any%2Fone", "authorization"),
        ("openai", "/v1/realtime?model=fake%2Fany+one", "/realtime?model=any%20one", "authorization"),
    ] {
        let keyward = TestServer::start().await;
        let world = keyward.with_linked_model_of_kind(kind, &provider).await;
        AgentSocket::open(&keyward, path, &[("api-key", world.agent.secret())]).await.expect("a WebSocket");
        let call = provider.last_call();
        assert_eq!(call.path, upstream, "{kind} {path}");
        assert!(call.header(header).is_some_and(|value| value.ends_with(world.value)), "{kind} {path}");
    }
}

#[tokio::test]
async fn the_usage_of_every_answer_is_counted_as_one_call() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (mut agent, mut upstream) = open(&keyward, &provider, &world).await;
    let whole = done(5, 7);
    upstream.send(&whole).await;
    assert_eq!(agent.event().await, whole);
    let in_parts = done(50, 70).to_string();
    upstream.send_in_parts(&[&in_parts[..9], &in_parts[9..30], &in_parts[30..]]).await;
    assert_eq!(agent.event().await, done(50, 70));
    // What is longer than is read passes all the same.
    let long = json!({ "type": "response.output_audio.delta", "delta": "x".repeat(1024 * 1024) });
    let send = async {
        upstream.send(&long).await;
        assert_eq!(upstream.event().await, long);
    };
    let receive = async {
        assert_eq!(agent.event().await, long);
        agent.send(&long).await;
    };
    tokio::join!(send, receive);
    upstream.send(&done(500, 700)).await;
    assert_eq!(agent.event().await["type"], "response.done");

    let ended = tokio::spawn(upstream.closed());
    agent.close().await;
    ended.await.unwrap();
    let counted = row(&keyward.api(), "model", World::MODEL, 1).await;
    assert_eq!((&counted["input_tokens"], &counted["output_tokens"]), (&json!(555), &json!(777)), "{counted}");
    assert_eq!(counted["errors"], 0, "{counted}");
}

#[tokio::test]
async fn deleting_or_disabling_the_key_closes_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let (agent, upstream) = open(&keyward, &provider, &world).await;
    api.post(&format!("{}/disable", world.agent_key_path()), json!({})).await.expect(200);
    assert_eq!(agent.closed().await, Some(1008));
    upstream.closed().await;

    api.post(&format!("{}/enable", world.agent_key_path()), json!({})).await.expect(200);
    let (mut agent, mut upstream) = open(&keyward, &provider, &world).await;
    upstream.send(&done(1, 2)).await;
    agent.event().await;
    api.delete(&world.agent_key_path()).await.expect(204);
    assert_eq!(agent.closed().await, Some(1008));
    upstream.closed().await;
    let counted = row(&api, "agent_key", world.agent_key["id"].as_str().unwrap(), 2).await;
    assert_eq!((&counted["output_tokens"], &counted["errors"]), (&json!(2), &json!(2)), "{counted}");
}

#[tokio::test]
async fn it_ends_when_the_key_expires() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let mut world = keyward.with_linked_model(&provider).await;
    let short = keyward.api().post("/agent-keys", json!({ "name": "a day", "expires_in_days": 1 })).await.expect(201);
    // Enough of the day is left to start again and open it.
    let keyward = keyward.stop_to_restart().await.seconds_later(86_400 - 8).start().await;
    world.agent = keyward.agent(short.json()["secret"].as_str().unwrap());
    let (agent, upstream) = open(&keyward, &provider, &world).await;
    assert_eq!(agent.closed().await, Some(1008));
    upstream.closed().await;
    world.agent.chat(World::MODEL).await.refused(401, "expired_api_key");
}

#[tokio::test]
async fn when_either_side_leaves_the_other_one_is_told() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (agent, upstream) = open(&keyward, &provider, &world).await;
    drop(agent);
    assert_eq!(upstream.closed().await, None);
    let (agent, upstream) = open(&keyward, &provider, &world).await;
    drop(upstream);
    assert_eq!(agent.closed().await, None);
    let counted = row(&keyward.api(), "model", World::MODEL, 2).await;
    assert_eq!(counted["errors"], 1, "the provider said no word: {counted}");
}

#[tokio::test]
async fn the_provider_s_limits_hold() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let limits = |limits: Value| json!({ "limits": limits });
    let (api, path) = (keyward.api(), world.provider_path());
    api.patch(&path, limits(json!({ "calls_in_flight": 1 }))).await.expect(200);
    let (agent, _upstream) = open(&keyward, &provider, &world).await;
    world.agent.chat(World::MODEL).await.refused(503, "provider_busy");
    refusal(&keyward, &world, PATH).await.refused(503, "provider_busy");
    drop(agent);
    until("a place at the provider", async || world.agent.chat(World::MODEL).await.status == 200).await;

    api.patch(&path, limits(json!({ "calls_in_flight": null, "total_seconds": 1 }))).await.expect(200);
    let (agent, _upstream) = open(&keyward, &provider, &world).await;
    assert_eq!(agent.closed().await, Some(1008));
    api.patch(&path, limits(json!({ "total_seconds": null, "idle_seconds": 1 }))).await.expect(200);
    let (agent, _upstream) = open(&keyward, &provider, &world).await;
    assert_eq!(agent.closed().await, Some(1008));
}

#[tokio::test]
async fn a_provider_that_opens_none_answers_as_to_any_call() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    provider.next(Reply::error(401, "Incorrect API key"));
    let refused = refusal(&keyward, &world, PATH).await.refused(502, "provider_refused_key");
    assert!(!refused.text().contains("Incorrect"));
    provider.next(Reply::error(429, "slow down"));
    assert!(refusal(&keyward, &world, PATH).await.expect(429).text().contains("slow down"));
    provider.next(Reply::with(302, &[("location", "/elsewhere")], ""));
    refusal(&keyward, &world, PATH).await.refused(502, "upstream_unreachable");
    let accept = ("sec-websocket-accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    for headers in [
        &[("connection", "upgrade"), ("upgrade", "websocket"), accept][..],
        &[("connection", "upgrade"), ("upgrade", "websocket")],
    ] {
        provider.next(Reply::with(101, headers, ""));
        refusal(&keyward, &world, PATH).await.refused(502, "upstream_unreachable");
    }
    assert_eq!(provider.calls().len(), 5);
}

#[tokio::test]
async fn what_opens_no_websocket_is_refused_before_a_provider_hears_of_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for (path, status, code) in [
        ("/v1/realtime?model=nobody-knows-me", 404, "model_not_found"),
        ("/v1/realtime", 400, "invalid_body"),
        ("/v1/realtime?model=", 400, "invalid_body"),
        ("/v1/realtime?model=small&model=small", 400, "invalid_body"),
        ("/v1/realtime?model=small&mode%6C=other", 400, "invalid_body"),
        ("/v1/realtime?model=small&Model=other", 400, "invalid_body"),
        ("/providers/fake/realtime", 400, "invalid_body"),
        ("/providers/fake/openai/realtime?deployment=small", 403, "route_not_allowed"),
        ("/v1/realtime/sessions?model=small", 403, "route_not_allowed"),
    ] {
        refusal(&keyward, &world, path).await.refused(status, code);
    }
    for path in [PATH, "/providers/fake/realtime?model=small"] {
        let refused = world.agent.get(path).await.refused(403, "route_not_allowed");
        assert!(refused.text().contains("WebSocket"), "{refused}");
    }
    let posted = world.agent.send(world.agent.request(Method::POST, PATH).json(&json!({ "model": "small" }))).await;
    posted.refused(403, "route_not_allowed");
    let secret = world.agent.secret();
    let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for rest in [
        format!("{key}Sec-WebSocket-Version: 12\r\n"),
        format!("{key}{key}Sec-WebSocket-Version: 13\r\n"),
        "Sec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n".to_owned(),
        format!("{key}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: x-{secret}\r\n"),
    ] {
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nConnection: close, Upgrade\r\n\
             Upgrade: websocket\r\n{rest}\r\n"
        );
        let answer = exchange(&keyward.url(), request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{rest}: {answer}");
    }
    provider.received_nothing();

    let anthropic = keyward.api().provider("other", "anthropic", &provider.origin(), &Value::Null).await;
    keyward.api().model("claude", &anthropic).await;
    refusal(&keyward, &world, "/v1/realtime?model=claude").await.refused(400, "unsupported_wire_format");
}

#[tokio::test]
async fn an_upgrade_that_any_other_route_is_asked_for_is_ignored() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = json!({ "model": World::MODEL }).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Content-Length: {}\r\n\r\n{body}",
        world.agent.secret(),
        body.len()
    );
    let answer = exchange(&keyward.url(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Hello there"), "{answer}");
    let call = provider.only_call();
    for name in ["upgrade", "connection", "sec-websocket-key", "sec-websocket-version"] {
        assert_eq!(call.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_stop_closes_it_once_no_answer_is_under_way() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (resting, _upstream) = open(&keyward, &provider, &world).await;
    let (mut agent, mut upstream) = open(&keyward, &provider, &world).await;
    upstream.send(&json!({ "type": "response.created" })).await;
    agent.event().await;
    keyward.ask_to_stop();
    assert_eq!(resting.closed().await, Some(1001));
    upstream.send(&json!({ "type": "response.output_text.delta", "delta": "still" })).await;
    assert_eq!(agent.event().await["delta"], "still");
    upstream.send(&done(1, 1)).await;
    assert_eq!(agent.event().await["type"], "response.done");
    assert_eq!(agent.closed().await, Some(1001));
    upstream.closed().await;
    let keyward = keyward.stopped().await.serve().start().await;
    let counted = row(&keyward.api(), "model", World::MODEL, 2).await;
    assert_eq!((&counted["output_tokens"], &counted["errors"]), (&json!(1), &json!(0)), "{counted}");
}
