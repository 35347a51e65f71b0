//! Which base URLs a provider may have: nothing that could lead a key, or a call, where it should not go.

use serde_json::json;

use crate::harness::{Api, FakeProvider, Home, TestServer, World};

const NEVER: [&str; 34] = [
    // Not a URL of the right kind.
    "",
    "api.example.com/v1",
    "ftp://api.example.com/v1",
    "file:///etc/passwd",
    "https:///v1",
    // Not https.
    "http://api.example.com/v1",
    // User info, and what parsers read differently.
    "https://user:password@api.example.com/v1",
    "https://api.example.com@evil.example/v1",
    "https://api.example.com\\@evil.example/v1",
    "https://api.example.com./v1",
    "https://api.example.com/v1/../admin",
    "https://api.example.com/v1/%2e%2e/admin",
    "https://api.example.com//v1",
    "https://api.example.com/v1%2fadmin",
    "https://api.example.com/v1%5cadmin",
    "https://api.example.com/v1?key=1",
    "https://api.example.com/v1#x",
    "https://api.example.com/v1\u{0}",
    "https://api.exam\nple.com/v1",
    // Private networks.
    "https://10.0.0.1/v1",
    "https://192.168.1.1/v1",
    "https://172.16.0.1/v1",
    "https://100.64.0.1/v1",
    "https://[fc00::1]/v1",
    "https://0.0.0.0/v1",
    "https://[::]/v1",
    // Link-local and metadata, in every spelling.
    "https://169.254.169.254/v1",
    "https://2852039166/v1",
    "https://0xa9fea9fe/v1",
    "https://0251.0376.0251.0376/v1",
    "https://169.254.43518/v1",
    "https://[::ffff:169.254.169.254]/v1",
    "https://[fe80::1]/v1",
    "https://metadata.google.internal/v1",
];

async fn refused(api: &Api, base_url: &str) {
    let body = json!({ "name": "x", "kind": "openai-compatible", "base_url": base_url });
    let answer = api.post("/providers", body).await;
    assert_eq!(answer.status, 422, "{base_url:?}: {answer}");
    answer.problem(422).at("/base_url");
}

#[tokio::test]
async fn refuses_private_metadata_plain_and_ambiguous_ones_in_create_and_edit() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    for base_url in NEVER {
        refused(&api, base_url).await;
    }
    let good = json!({ "name": "x", "kind": "openai-compatible", "base_url": "https://api.example.com/v1" });
    let made = api.post("/providers", good).await.expect(201).json();
    for base_url in NEVER {
        let patched =
            api.patch(&format!("/providers/{}", made["id"].as_str().unwrap()), json!({ "base_url": base_url })).await;
        assert_eq!(patched.status, 422, "{base_url:?}: {patched}");
    }
    assert_eq!(api.read("/providers", &made["id"]).await["base_url"], "https://api.example.com/v1");
}

#[tokio::test]
async fn loopback_is_for_a_keyward_on_loopback() {
    let keyward = Home::new().await.serve().env("KEYWARD_PUBLIC_URL", "https://keyward.example.com").start().await;
    let api = keyward.api();
    for base_url in
        ["http://127.0.0.1:11434/v1", "http://localhost:11434/v1", "http://[::1]:11434/v1", "https://127.1/v1"]
    {
        refused(&api, base_url).await;
    }
}

#[tokio::test]
async fn a_loopback_provider_saved_earlier_is_not_called_once_keyward_is_public() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let start = keyward.stop_to_restart().await;
    let keyward = start.env("KEYWARD_PUBLIC_URL", "https://keyward.example.com").start().await;
    let answer = keyward.agent(world.agent.secret()).chat(World::MODEL).await;
    assert!([502, 503].contains(&answer.status), "{answer}");
    provider.received_nothing();
}

#[tokio::test]
async fn private_addresses_are_for_who_asks_for_them_but_metadata_is_for_nobody() {
    let keyward = Home::new().await.serve().env("KEYWARD_ALLOW_PRIVATE_UPSTREAMS", "true").start().await;
    let api = keyward.api();
    for (name, base_url) in [("a", "http://10.0.0.1:8000/v1"), ("b", "http://llm.internal.example:8000/v1")] {
        let body = json!({ "name": name, "kind": "vllm", "base_url": base_url });
        api.post("/providers", body).await.expect(201);
    }
    for base_url in [
        "http://169.254.169.254/v1",
        "http://2852039166/v1",
        "http://[::ffff:a9fe:a9fe]/v1",
        "http://[fe80::1]/v1",
        "http://metadata.google.internal/v1",
        "http://user@10.0.0.1/v1",
    ] {
        refused(&api, base_url).await;
    }
}

#[tokio::test]
async fn keyward_itself_is_no_provider() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let body = json!({ "name": "loop", "kind": "openai-compatible", "base_url": format!("{}/v1", keyward.url()) });
    let made = api.post("/providers", body).await;
    if made.status == 201 {
        api.model("endless", &made.json()).await;
        let agent = keyward.agent(api.agent_key("an agent").await["secret"].as_str().unwrap());
        agent.chat("endless").await.refused(502, "upstream_unreachable");
    } else {
        made.problem(422).at("/base_url");
    }
}
