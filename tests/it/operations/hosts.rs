//! The host check: a page of another site that had its name point here gets nothing.

use http::Method;

use crate::harness::{FakeProvider, Home, TestServer};

#[tokio::test]
async fn a_strange_host_is_misdirected_except_for_calls_with_a_key() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let nobody = keyward.api_with(None);
    let strange = |request: reqwest::RequestBuilder| request.header("host", "evil.example");

    for path in ["/metrics", "/openapi.json", "/docs", "/", "/api/v1/general-keys"] {
        let answer = nobody.send(strange(nobody.outside(Method::GET, path))).await;
        assert_eq!(answer.status, 421, "{path}: {answer}");
    }
    let api = keyward.api();
    api.send(strange(api.request(Method::GET, "/general-keys"))).await.expect(200);
    let agent = &world.agent;
    agent.send(strange(agent.request(Method::GET, "/v1/models"))).await.expect(200);
    agent.send(strange(agent.request(Method::GET, "/auth/verify"))).await.expect(200);
}

#[tokio::test]
async fn its_own_names_are_known() {
    let start = Home::new().await.serve().env("KEYWARD_ALLOWED_HOSTS", "keyward.internal,other.internal");
    let keyward = start.start().await;
    let nobody = keyward.api_with(None);
    for host in [
        "localhost",
        "LOCALHOST:1234",
        "127.0.0.1:8080",
        "[::1]:8080",
        "10.1.2.3",
        "keyward.internal",
        "other.internal:8443",
    ] {
        let answer = nobody.send(nobody.outside(Method::GET, "/openapi.json").header("host", host)).await;
        assert_eq!(answer.status, 200, "{host}: {answer}");
    }
    for host in
        ["keyward.internal.evil.example", "evilkeyward.internal", "localhost.evil.example", "127.0.0.1.evil.example"]
    {
        let answer = nobody.send(nobody.outside(Method::GET, "/openapi.json").header("host", host)).await;
        assert_eq!(answer.status, 421, "{host}: {answer}");
    }
}
