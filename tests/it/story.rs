//! The main job from end to end, told once in full; the other files tell its parts.

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer, World, in_repository, in_time, until};

#[tokio::test]
async fn an_agent_chats_through_a_linked_key_and_a_deleted_key_ends_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();

    let answer = world.agent.chat(World::MODEL).await.expect(200).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello there");

    let call = provider.only_call();
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
    assert!(!call.mentions(world.agent.secret()), "the agent key reached the provider");

    until("the last use of both keys", async || {
        let agent_key = api.read("/agent-keys", &world.agent_key["id"]).await;
        let general_key = api.read("/general-keys", &world.general_key["id"]).await;
        agent_key["last_used_at"].is_string() && general_key["last_used_at"].is_string()
    })
    .await;

    api.delete(&world.agent_key_path()).await.expect(204);
    world.agent.chat(World::MODEL).await.refused(401, "invalid_api_key");
    assert_eq!(provider.calls().len(), 1, "a deleted key must reach nobody");
}

#[tokio::test]
async fn the_official_openai_client_chats_streams_embeds_and_understands_our_errors() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let python = in_repository("target/clients-venv/bin/python");
    assert!(python.exists(), "the clients are not installed: run `cargo xtask test`, which installs them");
    let run = tokio::process::Command::new(python)
        .arg(in_repository("tests/clients/openai_client.py"))
        .env("OPENAI_BASE_URL", format!("{}/v1", keyward.url()))
        .env("OPENAI_API_KEY", world.agent.secret())
        .env("KEYWARD_TEST_MODEL", World::MODEL)
        .env("KEYWARD_TEST_PROVIDER_BASE_URL", format!("{}/providers/fake", keyward.url()))
        .kill_on_drop(true)
        .output();
    let output = in_time("the Python client", run).await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}\n{}", String::from_utf8_lossy(&output.stderr), keyward.log());

    let seen: Value = serde_json::from_str(printed.trim()).expect("the script prints one JSON object");
    assert_eq!(
        seen,
        json!({
            "chat": "Hello there",
            "chat_tokens": 21,
            "stream": "Hello there",
            "stream_has_usage": false,
            "stream_with_usage_tokens": 21,
            "embedding": [0.25, -0.5],
            "models": [World::MODEL],
            "chat_at_provider_route": "Hello there",
            "bad_key": ["AuthenticationError", "invalid_api_key"],
            "unknown_model": ["NotFoundError", "model_not_found"],
        })
    );
    assert!(provider.calls().iter().all(|call| !call.mentions(world.agent.secret())));
    let injected = format!("Bearer {}", world.value);
    assert!(provider.calls().iter().all(|call| call.header("authorization") == Some(injected.as_str())));
}
