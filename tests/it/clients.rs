//! The official clients, each as its users run it: nothing set but where Keyward is and the agent key.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{FakeProvider, TestServer, World, in_repository, in_time};
use crate::usage::row;

#[tokio::test]
async fn openai_for_python_chats_streams_embeds_lists_models_and_understands_our_errors() {
    openai("openai_client.py").await;
}

#[tokio::test]
async fn openai_for_node_chats_streams_embeds_lists_models_and_understands_our_errors() {
    openai("openai_client.mjs").await;
}

async fn openai(script: &str) {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let environment = [
        ("OPENAI_BASE_URL", format!("{}/v1", keyward.url())),
        ("OPENAI_API_KEY", world.agent.secret().to_owned()),
        ("KEYWARD_TEST_PROVIDER_BASE_URL", format!("{}/providers/fake", keyward.url())),
    ];
    let seen = run(script, &environment, &keyward).await;
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
    let chats = ["/v1/chat/completions"; 3];
    called(&provider, &[&chats[..], &["/v1/embeddings", "/v1/chat/completions"]].concat());
    only_the_general_key_went_out(&provider, &world, "authorization", "Bearer ");
    counted(&keyward, &world, Counted { requests: 6, input_tokens: 4 * 9 + 5, output_tokens: 4 * 12 }).await;
}

#[tokio::test]
async fn azure_openai_chats_streams_embeds_lists_models_and_understands_our_errors() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model_of_kind("azure-openai", &provider).await;
    let environment = [
        ("AZURE_OPENAI_ENDPOINT", keyward.url()),
        ("AZURE_OPENAI_API_KEY", world.agent.secret().to_owned()),
        ("OPENAI_API_VERSION", "2024-10-21".to_owned()),
    ];
    let seen = run("azure_client.py", &environment, &keyward).await;
    assert_eq!(
        seen,
        json!({
            "chat": "Hello there",
            "chat_tokens": 21,
            "stream": "Hello there",
            "stream_has_usage": false,
            "stream_has_filter_results": true,
            "stream_with_usage_tokens": 21,
            "embedding": [0.25, -0.5],
            "models": [World::MODEL],
            "model": World::MODEL,
            "bad_key": ["AuthenticationError", "invalid_api_key"],
            "bad_key_for_models": ["AuthenticationError", "invalid_api_key"],
            "unknown_model": ["NotFoundError", "model_not_found"],
        })
    );
    let chats = ["/openai/deployments/vendor-small/chat/completions?api-version=2024-10-21"; 3];
    let embeddings = "/openai/deployments/vendor-small/embeddings?api-version=2024-10-21";
    called(&provider, &[&chats[..], &[embeddings]].concat());
    assert!(provider.calls().iter().all(|call| call.json()["model"] == World::UPSTREAM_MODEL));
    only_the_general_key_went_out(&provider, &world, "api-key", "");
    counted(&keyward, &world, Counted { requests: 5, input_tokens: 3 * 9 + 5, output_tokens: 3 * 12 }).await;
}

#[tokio::test]
async fn anthropic_chats_streams_counts_lists_models_and_understands_our_errors() {
    anthropic("ANTHROPIC_API_KEY").await;
}

#[tokio::test]
async fn anthropic_does_the_same_with_the_agent_key_as_bearer_token() {
    anthropic("ANTHROPIC_AUTH_TOKEN").await;
}

async fn anthropic(credential: &'static str) {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model_of_kind("anthropic", &provider).await;
    let environment = [("ANTHROPIC_BASE_URL", keyward.url()), (credential, world.agent.secret().to_owned())];
    let seen = run("anthropic_client.py", &environment, &keyward).await;
    let version = seen["version"].as_str();
    assert!(version.is_some(), "{seen}");
    assert_eq!(
        seen,
        json!({
            "version": version,
            "chat": "Hello there",
            "chat_tokens": [9, 12],
            "stream": "Hello there",
            "stream_tokens": [9, 12],
            "stream_stop_reason": "end_turn",
            "counted": 14,
            "models": [World::MODEL],
            "model": World::MODEL,
            "bad_key": ["AuthenticationError", "invalid_api_key"],
            "bad_key_for_models": ["AuthenticationError", "invalid_api_key"],
            "unknown_model": ["NotFoundError", "model_not_found"],
        })
    );
    called(&provider, &["/v1/messages", "/v1/messages", "/v1/messages/count_tokens"]);
    for call in provider.calls() {
        assert_eq!(call.json()["model"], World::UPSTREAM_MODEL);
        assert_eq!(call.header("anthropic-version"), version, "the version is the client's own");
    }
    only_the_general_key_went_out(&provider, &world, "x-api-key", "");
    counted(&keyward, &world, Counted { requests: 4, input_tokens: 2 * 9, output_tokens: 2 * 12 }).await;
}

#[tokio::test]
async fn google_genai_chats_streams_embeds_counts_lists_models_and_understands_our_errors() {
    gemini("v1", &[]).await;
}

#[tokio::test]
async fn google_genai_does_the_same_with_the_beta_of_the_api() {
    gemini("v1beta", &[("GOOGLE_GENAI_API_VERSION", "beta".to_owned())]).await;
}

async fn gemini(version: &str, more: &[(&'static str, String)]) {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model_of_kind("gemini", &provider).await;
    let address = ("GOOGLE_GEMINI_BASE_URL", keyward.url());
    let key = ("GEMINI_API_KEY", world.agent.secret().to_owned());
    let seen = run("gemini_client.py", &[&[address, key], more].concat(), &keyward).await;
    assert_eq!(
        seen,
        json!({
            "chat": "Hello there",
            "chat_tokens": [9, 12],
            "stream": "Hello there",
            "stream_chunks": 2,
            "stream_tokens": [9, 12],
            "embeddings": [[0.25, -0.5], [0.25, -0.5]],
            "counted": 14,
            "models": [format!("models/{}", World::MODEL)],
            "model": format!("models/{}", World::MODEL),
            "bad_key": ["ClientError", 401, "invalid_api_key"],
            "bad_key_for_models": ["ClientError", 401, "invalid_api_key"],
            "unknown_model": ["ClientError", 404, "model_not_found"],
        })
    );
    let methods = ["generateContent", "streamGenerateContent?alt=sse", "batchEmbedContents", "countTokens"];
    let paths = methods.map(|method| format!("/{version}/models/vendor-small:{method}"));
    called(&provider, &paths.each_ref().map(String::as_str));
    only_the_general_key_went_out(&provider, &world, "x-goog-api-key", "");
    counted(&keyward, &world, Counted { requests: 5, input_tokens: 2 * 9, output_tokens: 2 * 12 }).await;
}

/// Runs a script of tests/clients with nothing else in its environment, and gives what it printed.
async fn run(script: &str, environment: &[(&str, String)], keyward: &TestServer) -> Value {
    let is_python = script.ends_with(".py");
    let (program, installed) = if is_python {
        let python = in_repository("target/clients-venv/bin/python");
        (python.clone(), python)
    } else {
        ("node".into(), in_repository("tests/clients/node_modules"))
    };
    assert!(installed.exists(), "the clients are not installed: run `cargo xtask test`, which installs them");
    let mut command = Command::new(program);
    command
        .arg(in_repository("tests/clients").join(script))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("KEYWARD_TEST_MODEL", World::MODEL)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = in_time(script, output).await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {printed}\n{said}\n{}", keyward.log());
    serde_json::from_str(printed.trim()).expect("the script prints one JSON object")
}

/// Asserts which calls reached the provider, in their order.
fn called(provider: &FakeProvider, paths: &[&str]) {
    let calls = provider.calls();
    assert_eq!(calls.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(), paths);
}

/// Asserts that every call carried the general key where the provider wants it, and no other credential.
fn only_the_general_key_went_out(provider: &FakeProvider, world: &World, header: &str, prefix: &str) {
    let injected = format!("{prefix}{}", world.value);
    for call in provider.calls() {
        for name in ["authorization", "x-api-key", "x-goog-api-key", "api-key"] {
            let expected = (name == header).then_some(injected.as_str());
            assert_eq!(call.header(name), expected, "{name} of {}", call.path);
        }
        assert!(!call.mentions(world.agent.secret()), "the agent key reached the provider: {call:?}");
    }
}

/// What the agent key's row of the usage has to say.
struct Counted {
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
}

/// Asserts what was counted; the only error was the unknown model.
async fn counted(keyward: &TestServer, world: &World, expected: Counted) {
    let id = world.agent_key["id"].as_str().unwrap();
    let row = row(&keyward.api(), "agent_key", id, expected.requests).await;
    assert_eq!(row["errors"], 1, "{row}");
    assert_eq!(row["input_tokens"], expected.input_tokens, "{row}");
    assert_eq!(row["output_tokens"], expected.output_tokens, "{row}");
}
