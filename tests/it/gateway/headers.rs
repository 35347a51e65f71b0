//! Which headers go to the provider, and which come back.

use http::Method;
use serde_json::json;

use crate::harness::{FakeProvider, Reply, TestServer, World, exchange};

const STRIPPED: [(&str, &str); 26] = [
    ("cookie", "session=1"),
    ("proxy-authorization", "Basic x"),
    ("proxy-connection", "keep-alive"),
    ("te", "trailers"),
    ("trailer", "x"),
    ("keep-alive", "timeout=5"),
    ("forwarded", "for=1.2.3.4"),
    ("x-forwarded-for", "1.2.3.4"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "1.2.3.4"),
    ("via", "1.1 someone"),
    ("cf-connecting-ip", "1.2.3.4"),
    ("x-original-url", "/admin"),
    ("x-original-uri", "/admin"),
    ("x-rewrite-url", "/admin"),
    ("x-http-method-override", "DELETE"),
    ("x-method-override", "DELETE"),
    ("origin", "https://evil.example"),
    ("referer", "https://evil.example/x"),
    ("sec-fetch-site", "cross-site"),
    ("sec-ch-ua", "x"),
    ("x-keyward-anything", "1"),
    ("x-goog-user-project", "someone-else"),
    ("x-custom-hop", "named in Connection"),
    ("connection", "x-custom-hop, authorization, x-api-key, close"),
];

#[tokio::test]
async fn a_provider_sees_what_is_the_call_s_and_nothing_about_the_caller() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let mut head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: keyward.example\r\nAuthorization: Bearer {}\r\n",
        world.agent.secret()
    );
    for (name, value) in STRIPPED {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    for (name, value) in PASSED {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = "{\"model\":\"small\"}";
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let answer = exchange(&keyward.url(), head).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let call = provider.only_call();
    for (name, value) in STRIPPED {
        for seen in call.header_values(name) {
            assert!(name == "connection" && !seen.contains("x-custom-hop"), "{name}: {seen} (sent: {value})");
        }
    }
    for (name, value) in PASSED {
        assert_eq!(call.header(name), Some(value), "{name}");
    }
    assert_eq!(call.header("host"), provider.origin().strip_prefix("http://"));
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
    assert_eq!(call.header("content-length"), Some("17"));
}

const PASSED: [(&str, &str); 6] = [
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 1.0"),
    ("accept", "application/json"),
    ("openai-beta", "assistants=v2"),
    ("x-stainless-lang", "python"),
    ("x-whatever-the-client-sends", "1"),
];

#[tokio::test]
async fn a_caller_cannot_take_the_injected_key_out_by_naming_it_in_connection() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for named in ["authorization", "Authorization, content-length", "host"] {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: {}\r\nContent-Type: application/json\r\n\
             Content-Length: 17\r\nConnection: close, {named}\r\n\r\n{{\"model\":\"small\"}}",
            world.agent.secret()
        );
        let answer = exchange(&keyward.url(), request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let call = provider.last_call();
        assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
        assert_eq!(call.body.len(), 17);
    }
}

#[tokio::test]
async fn one_of_our_own_keys_in_another_header_is_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let other = keyward.api().agent_key("other").await["secret"].as_str().unwrap().to_owned();
    for (name, value) in [
        ("x-custom", other.clone()),
        ("x-custom", format!("before {other} after")),
        ("user-agent", keyward.home().token().to_owned()),
        ("openai-organization", world.agent.secret().to_owned()),
    ] {
        let request = world.agent.request(Method::POST, "/v1/chat/completions").header(name, value);
        world.agent.send(request.json(&json!({ "model": "small" }))).await.expect(400);
    }
    let path = format!("/v1/{other}/chat/completions");
    let answer = world.agent.post(&path, json!({ "model": "small" })).await;
    assert!([400, 404].contains(&answer.status), "{answer}");
    provider.received_nothing();
}

#[tokio::test]
async fn only_known_headers_come_back() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let passed = [
        ("content-type", "application/json"),
        ("content-disposition", "attachment; filename=x"),
        ("date", "Tue, 01 Jan 2030 00:00:00 GMT"),
        ("retry-after", "3"),
        ("x-request-id", "req_of_the_provider"),
        ("x-ratelimit-limit-requests", "60"),
        ("openai-processing-ms", "12"),
        ("openai-version", "2020-10-01"),
    ];
    let dropped = [
        ("set-cookie", "session=1"),
        ("server", "cloudflare"),
        ("x-powered-by", "express"),
        ("authorization", "Bearer sk-x"),
        ("x-api-key", "sk-x"),
        ("access-control-allow-origin", "*"),
        ("strict-transport-security", "max-age=1"),
        ("alt-svc", "h3"),
        ("location", "https://evil.example"),
        ("refresh", "0; url=https://evil.example"),
        ("www-authenticate", "Basic"),
        ("clear-site-data", "*"),
        ("link", "<https://evil.example>; rel=preload"),
    ];
    let all: Vec<_> = passed.into_iter().chain(dropped).collect();
    provider.next(Reply::with(200, &all, "{}"));

    let answer = world.agent.chat(World::MODEL).await.expect(200);
    for (name, value) in passed {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    for (name, _) in dropped {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn every_answer_has_our_request_id_and_the_provider_s_or_ours_as_x_request_id() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let ours = world.agent.chat(World::MODEL).await.expect(200);
    let id = ours.header("keyward-request-id").unwrap();
    assert_eq!(ours.header("x-request-id"), Some(id));
    let again = world.agent.chat(World::MODEL).await.expect(200);
    assert_ne!(again.header("keyward-request-id"), Some(id));

    let refused = world.agent.chat("nobody-knows-me").await.expect(404);
    assert!(refused.header("keyward-request-id").is_some() && refused.header("x-request-id").is_some());

    let request = world.agent.request(Method::POST, "/v1/chat/completions").header("keyward-request-id", "mine");
    let answer = world.agent.send(request.json(&json!({ "model": "small" }))).await.expect(200);
    assert_ne!(answer.header("keyward-request-id"), Some("mine"));
}

#[tokio::test]
async fn a_key_near_its_end_is_announced_and_one_far_from_it_is_not() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let body = json!({ "name": "short", "expires_in_days": 13 });
    let short = api.post("/agent-keys", body).await.expect(201).json();

    let answer = keyward.agent(short["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
    let announced: jiff::Timestamp = answer.header("keyward-key-expires-at").unwrap().parse().unwrap();
    let stored: jiff::Timestamp = short["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(announced.as_second(), stored.as_second());
    let answer = world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(answer.header("keyward-key-expires-at"), None);
}

#[tokio::test]
async fn the_gateway_takes_no_cookies_and_opens_itself_to_no_other_origin() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let request = world.agent.request(Method::POST, "/v1/chat/completions").header("origin", "https://evil.example");
    let answer = world.agent.send(request.json(&json!({ "model": "small" }))).await.expect(200);
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{answer}");
    assert_eq!(answer.header("set-cookie"), None);
}
