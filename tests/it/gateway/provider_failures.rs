//! Providers that are down, slow, rude or moved.

use crate::harness::{Answer, FakeProvider, Home, Port, Reply, TestServer, World};

async fn chat_with_reply(reply: Reply) -> (Answer, FakeProvider) {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    provider.next(reply);
    let answer = world.agent.chat(World::MODEL).await;
    assert!(!answer.text().contains(world.value), "{answer}");
    assert!(answer.headers.contains_key("keyward-request-id"), "{answer}");
    (answer, provider)
}

#[tokio::test]
async fn one_that_is_down_is_unreachable_and_nothing_internal_is_told() {
    let keyward = TestServer::start().await;
    let nobody = Port::claim();
    let api = keyward.api();
    let key = api.general_key("MY_API", World::VALUE).await;
    let provider = api.provider("down", "openai-compatible", &format!("{}/v1", nobody.url()), &key).await;
    api.model("small", &provider).await;
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());

    let refused = agent.chat("small").await.refused(502, "upstream_unreachable");
    assert!(!refused.text().contains("os error"), "{refused}");
    assert!(!refused.text().contains(&nobody.address()), "{refused}");
}

#[tokio::test]
async fn one_that_closes_without_an_answer_is_unreachable() {
    let keyward = TestServer::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut some = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut connection, &mut some).await;
        }
    });
    let api = keyward.api();
    let provider = api.provider("mute", "openai-compatible", &base_url, &serde_json::Value::Null).await;
    api.model("small", &provider).await;
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
    agent.chat("small").await.refused(502, "upstream_unreachable");
}

#[tokio::test]
async fn one_that_talks_nonsense_is_unreachable() {
    let keyward = TestServer::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut connection, b"SSH-2.0-OpenSSH\r\n\r\n").await;
        }
    });
    let api = keyward.api();
    let provider = api.provider("ssh", "openai-compatible", &base_url, &serde_json::Value::Null).await;
    api.model("small", &provider).await;
    let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
    agent.chat("small").await.refused(502, "upstream_unreachable");
}

#[tokio::test]
async fn one_that_hangs_times_out_and_its_call_is_ended() {
    let start = Home::new().await.serve().env("KEYWARD_UPSTREAM_HEAD_TIMEOUT_SECONDS", "1");
    let keyward = start.start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let stage = provider.stage();
    world.agent.chat(World::MODEL).await.refused(504, "upstream_timeout");
    stage.caller_left().await;
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn one_that_falls_silent_in_the_middle_is_cut_off_and_so_is_the_answer() {
    let start = Home::new().await.serve().env("KEYWARD_UPSTREAM_IDLE_TIMEOUT_SECONDS", "1");
    let keyward = start.start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let stage = provider.stage();
    stage.open();
    let body = serde_json::json!({ "model": World::MODEL, "stream": true, "messages": [] });
    let mut stream = world.agent.stream(body).await;
    stage.event("{\"choices\":[{}]}");
    assert!(stream.next().await.unwrap().is_some());
    assert!(!matches!(stream.next().await, Ok(None)), "a stream cut in the middle looked complete");
    stage.caller_left().await;
}

#[tokio::test]
async fn a_refused_key_is_our_own_502_never_the_caller_s_401() {
    let words = format!("Incorrect API key provided: {}", World::VALUE);
    let (answer, _) = chat_with_reply(Reply::error(401, &words)).await;
    answer.refused(502, "provider_refused_key");
}

#[tokio::test]
async fn a_rate_limit_passes_with_its_headers() {
    let body = "{\"error\":{\"message\":\"slow down\",\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\"}}";
    let headers = [
        ("content-type", "application/json"),
        ("retry-after", "17"),
        ("retry-after-ms", "17000"),
        ("x-should-retry", "true"),
        ("x-ratelimit-remaining-requests", "0"),
    ];
    let (answer, _) = chat_with_reply(Reply::with(429, &headers, body)).await;
    let answer = answer.expect(429);
    assert_eq!(answer.text(), body);
    for (name, value) in headers {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn an_html_error_page_passes_as_it_is() {
    let page = "<html><body><h1>500 Internal Server Error</h1></body></html>";
    let (answer, _) = chat_with_reply(Reply::with(500, &[("content-type", "text/html")], page)).await;
    let answer = answer.expect(500);
    assert_eq!(answer.text(), page);
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn other_refusals_pass_as_they_are() {
    for status in [400, 402, 403, 404, 408, 409, 413, 422, 502, 503, 529] {
        let (answer, _) = chat_with_reply(Reply::error(status, "the provider's own words")).await;
        assert!(answer.expect(status).text().contains("the provider's own words"));
    }
}

#[tokio::test]
async fn an_error_that_repeats_the_injected_key_is_not_passed_on() {
    let words = format!("what should I do with {}?", World::VALUE);
    let (answer, _) = chat_with_reply(Reply::error(400, &words)).await;
    answer.expect(502);
}

#[tokio::test]
async fn no_redirect_is_followed_or_passed_on() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = FakeProvider::start().await;
        let location = format!("{}/chat/completions", elsewhere.base_url());
        let (answer, _) = chat_with_reply(Reply::with(status, &[("location", &location)], "")).await;
        let answer = answer.expect(502);
        assert_eq!(answer.header("location"), None);
        elsewhere.received_nothing();
    }
}

#[tokio::test]
async fn an_unfinished_answer_is_never_passed_off_as_whole() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let stage = provider.stage();
    stage.open();
    let request = world.agent.request(http::Method::POST, "/v1/chat/completions");
    let request = request.json(&serde_json::json!({ "model": "small", "messages": [] }));
    let response = request.send().await.unwrap();
    stage.event("{\"half\":");
    stage.break_off();
    let body = crate::harness::in_time("the broken body", response.bytes()).await;
    assert!(body.is_err(), "{body:?}");
}

#[tokio::test]
async fn one_that_would_switch_protocols_is_not_followed() {
    let (answer, _provider) =
        chat_with_reply(Reply::with(101, &[("upgrade", "x"), ("connection", "upgrade")], "")).await;
    answer.refused(502, "upstream_unreachable");
}

#[tokio::test]
async fn an_error_in_an_encoding_that_hides_the_key_is_withheld() {
    let headers = [("content-encoding", "gzip"), ("content-type", "application/json")];
    let (answer, _provider) = chat_with_reply(Reply::with(400, &headers, "anything at all")).await;
    let refused = answer.refused(502, "upstream_unreachable");
    assert!(!refused.text().contains("anything"));
}
