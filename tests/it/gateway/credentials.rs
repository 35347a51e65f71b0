//! Who may call: one agent key, in any of four headers, and nothing else.

use http::Method;
use serde_json::json;

use crate::harness::{Agent, Answer, FakeProvider, TestServer, World, well_formed};

const HEADERS: [&str; 4] = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];

fn chat() -> serde_json::Value {
    json!({ "model": World::MODEL, "messages": [] })
}

fn carried(header: &str, secret: &str) -> String {
    if header == "authorization" { format!("Bearer {secret}") } else { secret.to_owned() }
}

async fn chat_with(agent: &Agent, headers: &[(&str, String)]) -> Answer {
    let mut request = agent.anonymous(Method::POST, "/v1/chat/completions").json(&chat());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    agent.send(request).await
}

#[tokio::test]
async fn each_of_the_four_headers_will_do_and_none_of_them_reaches_the_provider() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for header in HEADERS {
        chat_with(&world.agent, &[(header, carried(header, world.agent.secret()))]).await.expect(200);
        let call = provider.last_call();
        assert!(!call.mentions(world.agent.secret()), "{header}: {call:?}");
        assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
        for other in ["x-api-key", "x-goog-api-key", "api-key"] {
            assert_eq!(call.header(other), None);
        }
    }
    let lower = format!("bearer {}", world.agent.secret());
    chat_with(&world.agent, &[("authorization", lower)]).await.expect(200);
}

#[tokio::test]
async fn the_same_key_in_two_headers_is_one_credential_and_two_keys_are_a_conflict() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let other = keyward.api().agent_key("other").await["secret"].as_str().unwrap().to_owned();
    let mine = world.agent.secret();

    chat_with(&world.agent, &[("authorization", format!("Bearer {mine}")), ("x-api-key", mine.into())])
        .await
        .expect(200);
    for second in [other.as_str(), "sk-test-some-provider-key"] {
        for header in &HEADERS[1..] {
            let headers = [("authorization", format!("Bearer {mine}")), (*header, second.to_owned())];
            chat_with(&world.agent, &headers).await.refused(400, "conflicting_credentials");
        }
    }
    let twice = [("authorization", format!("Bearer {mine}")), ("authorization", format!("Bearer {other}"))];
    chat_with(&world.agent, &twice).await.refused(400, "conflicting_credentials");
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn no_credential_or_one_of_another_kind_is_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let good = world.agent.secret();
    let wrong_letter = if good.ends_with('A') { 'B' } else { 'A' };
    for secret in [
        String::new(),
        "nonsense".to_owned(),
        "kw_".to_owned(),
        well_formed("kw_", 'x'),
        well_formed("kwm_", 'x'),
        keyward.home().token().to_owned(),
        world.value.to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{}{wrong_letter}", &good[..good.len() - 1]),
        format!("{good}A"),
        format!("{good} {good}"),
        good.to_uppercase(),
        "k".repeat(5000),
    ] {
        let answer = chat_with(&world.agent, &[("authorization", format!("Bearer {secret}"))]).await;
        assert_eq!(answer.status, 401, "{secret:?}: {answer}");
        answer.refused(401, "invalid_api_key");
    }
    chat_with(&world.agent, &[]).await.refused(401, "invalid_api_key");
    chat_with(&world.agent, &[("authorization", format!("Basic {good}"))]).await.refused(401, "invalid_api_key");
    chat_with(&world.agent, &[("cookie", format!("keyward={good}"))]).await.refused(401, "invalid_api_key");
    provider.received_nothing();
}

#[tokio::test]
async fn a_key_in_the_query_counts_for_nothing_and_stands_in_no_log() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for name in ["key", "api_key", "access_token", "api-key"] {
        let path = format!("/v1/chat/completions?{name}={}", world.agent.secret());
        let alone = world.agent.send(world.agent.anonymous(Method::POST, &path).json(&chat())).await;
        assert!([400, 401].contains(&alone.status), "{alone}");
        // Beside a good key it would travel on to the provider.
        let beside = world.agent.send(world.agent.request(Method::POST, &path).json(&chat())).await;
        assert_eq!(beside.status, 400, "{beside}");
    }
    provider.received_nothing();
    assert!(!keyward.log().contains(&world.agent.secret()[4..40]), "the key stands in the log");
}

#[tokio::test]
async fn credentials_are_looked_at_before_the_body_is() {
    let keyward = TestServer::start().await;
    // The announced body never comes: an answer shows that none was waited for.
    let request = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer kw_no\r\n\
                   Content-Type: application/json\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n";
    let answer = crate::harness::exchange(&keyward.url(), request).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn an_agent_key_opens_no_management_and_a_management_token_no_gateway() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    keyward.api_with(Some(world.agent.secret())).get("/general-keys").await.problem(401);
    keyward.agent(keyward.home().token()).chat(World::MODEL).await.refused(401, "invalid_api_key");
    provider.received_nothing();
}
