//! `keyward serve --demo`: throw-away data, a built-in provider, one key of each kind.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vault::OneTimeToken;
use zeroize::Zeroizing;

use super::{Failure, failed, serve::StopSignals};
use crate::{
    app::App,
    config::{Config, MasterKeyFile, Source},
    domain::{
        Core,
        actor::{Actor, ActorKind},
        agent_key_new::{self, NewKey},
        first_run, general_keys,
        idempotency::Outcome,
        links::KeyShare,
        models::{self, NewModel},
        providers::{self, NewProvider},
    },
};

const EMAIL: &str = "demo@example.com";
const MODEL: &str = "demo-model";

/// Runs the demonstration until it is told to stop; its data goes with it.
pub async fn run(source: &Source) -> Result<(), Failure> {
    let mut stop = StopSignals::new()?;
    let dir = tempfile::Builder::new().prefix("keyward-demo-").tempdir().map_err(failed)?;
    let mut config = Config::load(source).map_err(failed)?;
    config.storage.data_dir = dir.path().to_owned();
    config.storage.state_dir = dir.path().to_owned();
    config.storage.database_url = format!("sqlite:{}", dir.path().join("keyward.db").display());
    config.storage.master_key = MasterKeyFile::in_directory(dir.path());
    config.storage.transit = None;
    let app = App::start(config).await.map_err(failed)?;
    let password = random(&app.core)?;
    let agent_key = furnish(&app.core, &password).await?;
    let url = app.config.web.base();
    println!("curl {url}/v1/chat/completions \\");
    println!("  -H 'Authorization: Bearer {}' \\", *agent_key);
    println!("  -H 'Content-Type: application/json' \\");
    println!("  -d '{{\"model\": \"{MODEL}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'");
    println!();
    println!("Add \"stream\": true to see it stream. The provider behind it is built in and answers locally.");
    println!("The console is at {}.", app.config.web.console_base());
    println!("E-mail: {EMAIL}");
    println!("Password: {}", *password);
    println!("Keyward listens at {url}; its data goes when it stops (Ctrl+C).");
    stop.wait().await;
    app.stop().await;
    Ok(())
}

/// Makes a member, the built-in provider with its general key, a model and an agent key; gives the agent key's secret.
async fn furnish(core: &Core, password: &Zeroizing<String>) -> Result<Zeroizing<String>, Failure> {
    let member = first_run::unattended(core, EMAIL, password.clone(), None).await.map_err(failed)?;
    let actor = Actor {
        kind: ActorKind::Member,
        id: member.member_id.clone(),
        member_id: member.member_id,
        ..Actor::command("serve --demo")
    };
    let value = format!("sk-demo-{}", *random(core)?);
    let base_url = provider(value.clone()).await.map_err(failed)?;
    let Outcome::Done(key) = general_keys::create(core, &actor, "DEMO_API", value, None).await.map_err(failed)? else {
        return Err(unexpected());
    };
    let new = NewProvider {
        name: String::from("Demo"),
        kind: String::from("openai-compatible"),
        base_url: Some(base_url),
        keys: vec![KeyShare::whole(key.key.id)],
        ..NewProvider::default()
    };
    let Outcome::Done(provider) = providers::create(core, &actor, new, None).await.map_err(failed)? else {
        return Err(unexpected());
    };
    let new = NewModel { name: MODEL.to_owned(), provider_id: provider.provider.id, ..NewModel::default() };
    models::create(core, &actor, new, None).await.map_err(failed)?;
    let new = NewKey { name: String::from("Demo-Agent"), ..NewKey::default() };
    match agent_key_new::create(core, &actor, new, None).await.map_err(failed)? {
        Outcome::Done(created) => Ok(created.secret),
        Outcome::Replay(_) => Err(unexpected()),
    }
}

fn unexpected() -> Failure {
    Failure(String::from("the demonstration could not be set up; run it again"))
}

fn random(core: &Core) -> Result<Zeroizing<String>, Failure> {
    let token = OneTimeToken::mint(&core.entropy).map_err(failed)?;
    let mut text = token.expose_once();
    text.retain(|c| c.is_ascii_alphanumeric());
    text.truncate(20);
    Ok(text)
}

/// Starts the built-in provider, which takes only the key `value`; gives its base URL.
async fn provider(value: String) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(list))
        .with_state(format!("Bearer {value}"));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the built-in provider stopped");
        }
    });
    Ok(url)
}

fn refused(headers: &axum::http::HeaderMap, expected: &str) -> Option<Response> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    (given != Some(expected)).then(|| {
        let error = json!({"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}});
        (StatusCode::UNAUTHORIZED, Json(error)).into_response()
    })
}

async fn list(State(expected): State<String>, headers: axum::http::HeaderMap) -> Response {
    refused(&headers, &expected).unwrap_or_else(|| {
        Json(json!({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "keyward"}]}))
            .into_response()
    })
}

async fn chat(State(expected): State<String>, headers: axum::http::HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = refused(&headers, &expected) {
        return refused;
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said =
        request["messages"].as_array().and_then(|messages| messages.last()).and_then(|last| last["content"].as_str());
    let said: String = said.unwrap_or_default().chars().take(200).collect();
    let answer = format!("You said: {said}. This answer came through Keyward, with a key that your agent never saw.");
    let usage = json!({"prompt_tokens": words(&said), "completion_tokens": words(&answer), "total_tokens": words(&said) + words(&answer)});
    if request["stream"] == json!(true) {
        return stream(&answer, request["stream_options"]["include_usage"] == json!(true), usage);
    }
    let message = json!({"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"});
    Json(json!({"id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [message], "usage": usage}))
        .into_response()
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

fn stream(answer: &str, with_usage: bool, usage: Value) -> Response {
    let chunk = |choices: Value, usage: Value| json!({"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": choices, "usage": usage});
    let mut events: Vec<String> = answer
        .split_inclusive(' ')
        .map(|word| {
            chunk(json!([{"index": 0, "delta": {"content": word}, "finish_reason": null}]), Value::Null).to_string()
        })
        .collect();
    events.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), Value::Null).to_string());
    if with_usage {
        events.push(chunk(json!([]), usage).to_string());
    }
    events.push(String::from("[DONE]"));
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for event in events {
            // Word by word, as a model would. The caller may leave on the way.
            tokio::time::sleep(Duration::from_millis(30)).await;
            if sender.send(Ok::<_, Infallible>(Bytes::from(format!("data: {event}\n\n")))).await.is_err() {
                return;
            }
        }
    });
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
