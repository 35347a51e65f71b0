//! What a proxy in front of another service is told about an agent key.

use http::Method;
use serde_json::json;

use crate::harness::{Answer, FakeProvider, TestServer, World, eventually, well_formed};

const IDENTITY: [&str; 3] = ["x-keyward-key-id", "x-keyward-key-name", "x-keyward-created-by"];

fn denied(answer: Answer) {
    let answer = answer.expect(401);
    assert!(answer.header("www-authenticate").is_some_and(|text| text.starts_with("Bearer")), "{answer}");
    assert!(answer.header("cache-control").is_some_and(|text| text.contains("no-store")), "{answer}");
    for name in IDENTITY {
        assert!(answer.header(name).is_none_or(str::is_empty), "an identity in a refusal: {answer}");
    }
}

#[tokio::test]
async fn a_good_key_is_good_by_any_method_on_any_path_below() {
    let keyward = TestServer::start().await;
    let key = keyward.api().agent_key("ABC-Key").await;
    let agent = keyward.agent(key["secret"].as_str().unwrap());
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH]
    {
        for path in
            ["/auth/verify", "/auth/verify/", "/auth/verify/some/path", "/auth/verify/a?b=c", "/auth/verify/%2Fx//y"]
        {
            let answer = agent.send(agent.request(method.clone(), path)).await.expect(200);
            assert_eq!(answer.header("x-keyward-key-id"), key["id"].as_str(), "{method} {path}");
            assert_eq!(answer.header("x-keyward-key-name"), Some("ABC-Key"));
            assert!(answer.header("x-keyward-created-by").is_some_and(|text| !text.is_empty()));
            assert!(answer.header("cache-control").is_some_and(|text| text.contains("no-store")));
        }
    }
}

#[tokio::test]
async fn each_header_will_do() {
    let keyward = TestServer::start().await;
    let secret = keyward.api().agent_key("ABC-Key").await["secret"].as_str().unwrap().to_owned();
    let agent = keyward.agent(&secret);
    for header in ["x-api-key", "x-goog-api-key", "api-key"] {
        let request = agent.anonymous(Method::GET, "/auth/verify").header(header, &secret);
        agent.send(request).await.expect(200);
    }
}

#[tokio::test]
async fn a_name_that_is_no_header_text_comes_percent_encoded() {
    let keyward = TestServer::start().await;
    let name = "clé 100% \"a\",b;\\ 鍵";
    let key = keyward.api().agent_key(name).await;
    let agent = keyward.agent(key["secret"].as_str().unwrap());
    let answer = agent.get("/auth/verify").await.expect(200);
    let header = answer.header("x-keyward-key-name").unwrap();
    assert!(header.is_ascii() && !header.contains([' ', '"', ',', ';']), "{header}");
    let decoded = percent_encoding::percent_decode_str(header).decode_utf8().unwrap();
    assert_eq!(decoded, name);
}

#[tokio::test]
async fn everything_else_is_401_even_what_the_gateway_calls_a_400() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let secret = api.agent_key("ABC-Key").await["secret"].as_str().unwrap().to_owned();
    let off = api.agent_key("off").await;
    api.act(&format!("/agent-keys/{}/disable", off["id"].as_str().unwrap())).await.expect(200);
    let gone = api.agent_key("gone").await;
    api.delete(&format!("/agent-keys/{}", gone["id"].as_str().unwrap())).await.expect(204);

    let agent = keyward.agent(&secret);
    denied(agent.send(agent.anonymous(Method::GET, "/auth/verify")).await);
    denied(agent.send(agent.anonymous(Method::GET, &format!("/auth/verify?key={secret}"))).await);
    for bad in [
        "nonsense",
        off["secret"].as_str().unwrap(),
        gone["secret"].as_str().unwrap(),
        &well_formed("kw_", 'x'),
        keyward.home().token(),
    ] {
        denied(keyward.agent(bad).get("/auth/verify").await);
    }
    let both = agent.request(Method::GET, "/auth/verify").header("x-api-key", off["secret"].as_str().unwrap());
    denied(agent.send(both).await);
}

#[tokio::test]
async fn what_the_caller_says_about_itself_is_not_repeated() {
    let keyward = TestServer::start().await;
    let key = keyward.api().agent_key("ABC-Key").await;
    let agent = keyward.agent(key["secret"].as_str().unwrap());
    let request = agent.request(Method::GET, "/auth/verify").header("x-keyward-key-id", "ak_someone_else");
    let answer = agent.send(request).await.expect(200);
    assert_eq!(answer.headers.get_all("x-keyward-key-id").iter().count(), 1);
    assert_eq!(answer.header("x-keyward-key-id"), key["id"].as_str());
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let keyward = TestServer::start().await;
    let key = keyward.api().agent_key("ABC-Key").await;
    let request = format!(
        "POST /auth/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n",
        key["secret"].as_str().unwrap()
    );
    let answer = crate::harness::exchange(&keyward.url(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn counts_as_a_use() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world: World = keyward.with_linked_model(&provider).await;
    world.agent.get("/auth/verify").await.expect(200);
    let api = keyward.api();
    eventually("the last use", async || {
        api.read("/agent-keys", &world.agent_key["id"]).await["last_used_at"].is_string().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_expired_key_is_401() {
    let keyward = TestServer::start().await;
    let body = json!({ "name": "one day", "expires_in_days": 1 });
    let key = keyward.api().post("/agent-keys", body).await.expect(201).json();
    let keyward = keyward.stop_to_restart().await.days_later(2).start().await;
    denied(keyward.agent(key["secret"].as_str().unwrap()).get("/auth/verify").await);
}
