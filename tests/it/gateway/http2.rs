//! Callers that speak HTTP/2.

use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{FakeProvider, TestServer, World, in_time, until};

async fn connect(keyward: &TestServer) -> http2::SendRequest<Full<Bytes>> {
    let tcp = TcpStream::connect(keyward.url().trim_start_matches("http://")).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    // Where it is ended by Keyward the next request says so.
    tokio::spawn(async move { connection.await.ok() });
    sender
}

fn chat(keyward: &TestServer, world: &World) -> http::Request<Full<Bytes>> {
    let request = http::Request::post(format!("{}/v1/chat/completions", keyward.url()));
    let request = request.header("authorization", format!("Bearer {}", world.agent.secret()));
    request
        .header("content-type", "application/json")
        .body(Full::from("{\"model\":\"small\",\"messages\":[]}"))
        .unwrap()
}

#[tokio::test]
async fn calls_that_are_reset_leave_nothing_behind() {
    const AT_ONCE: usize = 50;
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let limits = json!({ "limits": { "calls_in_flight": AT_ONCE } });
    keyward.api().patch(&world.provider_path(), limits).await.expect(200);

    // Those that are with the provider already.
    let stages: Vec<_> = (0..AT_ONCE).map(|_| provider.stage()).collect();
    let mut sender = connect(&keyward).await;
    let calls: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(sender.send_request(chat(&keyward, &world)))).collect();
    provider.has_calls(AT_ONCE).await;
    world.agent.chat(World::MODEL).await.refused(503, "provider_busy");
    calls.iter().for_each(|call| call.abort());
    for stage in &stages {
        stage.caller_left().await;
    }
    until("a place at the provider", async || world.agent.chat(World::MODEL).await.status == 200).await;

    // And those that are reset as they come, over as many connections as that takes.
    for _ in 0..2_000 {
        if sender.is_closed() {
            sender = connect(&keyward).await;
        }
        if in_time("room for a call", sender.ready()).await.is_ok() {
            drop(sender.send_request(chat(&keyward, &world)));
        }
        tokio::task::yield_now().await;
    }
    // All places come back: a limit of one, which counts those that are under way, still has room.
    keyward.api().patch(&world.provider_path(), json!({ "limits": { "calls_in_flight": 1 } })).await.expect(200);
    until("the last place", async || world.agent.chat(World::MODEL).await.status == 200).await;
    let mut sender = connect(&keyward).await;
    let answer = in_time("an answer", sender.send_request(chat(&keyward, &world))).await.unwrap();
    assert_eq!(answer.status(), 200);
    in_time("its body", answer.collect()).await.unwrap();
}
