//! Debian's nginx in front of a service, asking Keyward about every call: with the very text of the guide.

use http::Method;

use crate::harness::{Agent, FakeProvider, Nginx, TestServer, in_repository};

const GUIDE: &str = "docs/guides/nginx.md";

/// The guide's configuration: the code block between its two markers.
fn configuration() -> String {
    let guide = std::fs::read_to_string(in_repository(GUIDE)).unwrap();
    let (_, rest) = guide.split_once("<!-- nginx.conf -->\n```nginx\n").expect("the guide's first marker");
    let (text, _) = rest.split_once("```\n<!-- /nginx.conf -->").expect("the guide's second marker");
    text.to_owned()
}

/// nginx with the guide's text; only addresses are put in.
async fn start(keyward: &str, service: &str) -> Nginx {
    let own = |url: &str| format!("server {};", url.strip_prefix("http://").unwrap());
    let places = [("server 127.0.0.1:8080;", own(keyward)), ("server 127.0.0.1:3000;", own(service))];
    Nginx::start(&configuration(), &places).await
}

/// The agent at nginx instead of Keyward.
async fn ask(agent: &Agent, nginx: &Nginx, path: &str, headers: &[(&str, &str)]) -> crate::harness::Answer {
    let mut request = crate::harness::http().request(Method::POST, format!("{}{path}", nginx.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    agent.send(request.body("the body of the call")).await
}

#[tokio::test]
async fn the_guide_s_example_lets_good_keys_through_and_tells_the_service_whose_they_are() {
    let keyward = TestServer::start().await;
    let service = FakeProvider::start().await;
    let nginx = start(&keyward.url(), &service.origin()).await;
    let api = keyward.api();
    let key = api.agent_key("clé d'un agent").await;
    let secret = key["secret"].as_str().unwrap();
    let agent = keyward.agent(secret);
    let bearer = format!("Bearer {secret}");

    let forged =
        [("authorization", bearer.as_str()), ("x-keyward-key-id", "ak_someone_else"), ("x-keyward-created-by", "boss")];
    ask(&agent, &nginx, "/some/path?q=1", &forged).await.expect(200);
    let call = service.only_call();
    assert_eq!(call.path, "/some/path?q=1");
    assert_eq!(call.body, "the body of the call".as_bytes());
    assert_eq!(call.header("x-keyward-key-id"), key["id"].as_str());
    let name = percent_encoding::percent_decode_str(call.header("x-keyward-key-name").unwrap()).decode_utf8().unwrap();
    assert_eq!(name, "clé d'un agent");
    assert_ne!(call.header("x-keyward-created-by"), Some("boss"));
    assert!(!call.mentions(secret), "the service needs no agent key: {call:?}");

    ask(&agent, &nginx, "/x", &[("x-api-key", secret)]).await.expect(200);
    for bad in [
        vec![],
        vec![("authorization", "Bearer nonsense")],
        vec![("authorization", bearer.as_str()), ("x-api-key", "kw_other")],
    ] {
        let refused = ask(&agent, &nginx, "/x", &bad).await.expect(401);
        assert!(refused.header("www-authenticate").is_some_and(|text| text.starts_with("Bearer")), "{refused}");
    }
    assert_eq!(service.calls().len(), 2);

    api.delete(&format!("/agent-keys/{}", key["id"].as_str().unwrap())).await.expect(204);
    ask(&agent, &nginx, "/x", &[("authorization", &bearer)]).await.expect(401);
}

#[tokio::test]
async fn with_keyward_gone_the_guide_s_example_lets_nobody_in_and_blames_no_key() {
    let keyward = TestServer::start().await;
    let service = FakeProvider::start().await;
    let nginx = start(&keyward.url(), &service.origin()).await;
    let secret = keyward.api().agent_key("ABC-Key").await["secret"].as_str().unwrap().to_owned();
    let agent = keyward.agent(&secret);
    let _home = keyward.stop().await;
    let answer = ask(&agent, &nginx, "/x", &[("x-api-key", &secret)]).await;
    assert_eq!(answer.status, 503, "{answer}");
    service.received_nothing();
}
