//! SIGTERM: open calls end or are ended, counters are written, and the exit is clean.

use serde_json::json;

use crate::harness::{FakeProvider, TestServer, World, until};

#[tokio::test]
async fn an_open_stream_may_finish() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let stage = provider.stage();
    stage.open();
    let mut stream = world.agent.stream(json!({ "model": World::MODEL, "stream": true, "messages": [] })).await;
    stage.event("{\"choices\":[{\"n\":1}]}");
    stream.next().await.unwrap();

    keyward.ask_to_stop();
    let address = keyward.url().strip_prefix("http://").unwrap().to_owned();
    until("no new connection being accepted", async || {
        // A connection may still be completed by the kernel; one that is answered would be wrong.
        tokio::net::TcpStream::connect(&address).await.is_err()
    })
    .await;
    stage.event("{\"choices\":[{\"n\":2}]}");
    stage.event("[DONE]");
    stage.end();
    assert_eq!(stream.rest().await, ["{\"choices\":[{\"n\":2}]}", "[DONE]"]);
    keyward.stopped().await;
}

#[tokio::test]
async fn a_stream_without_an_end_does_not_hold_it_up() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let stage = provider.stage();
    stage.open();
    let _stream = world.agent.stream(json!({ "model": World::MODEL, "stream": true, "messages": [] })).await;
    keyward.stop().await;
    stage.caller_left().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    let keyward = TestServer::start().await;
    let address = keyward.url().strip_prefix("http://").unwrap().to_owned();
    let _idle = tokio::net::TcpStream::connect(&address).await.unwrap();
    keyward.stop().await;
}

#[tokio::test]
async fn what_was_counted_just_before_is_not_lost() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for _ in 0..10 {
        world.agent.chat(World::MODEL).await.expect(200);
    }
    let keyward = keyward.stop_to_restart().await.start().await;
    let api = keyward.api();
    let usage = api.get("/usage?group_by=agent_key").await.expect(200).json();
    assert_eq!(usage["items"][0]["requests"], 10, "{usage}");
    assert_eq!(usage["items"][0]["output_tokens"], 120, "{usage}");
    assert!(api.read("/agent-keys", &world.agent_key["id"]).await["last_used_at"].is_string());
}

#[tokio::test]
async fn a_killed_server_leaves_a_directory_that_starts_again() {
    let keyward = TestServer::start().await;
    let home = keyward.kill().await;
    home.serve().start().await.stop().await;
}
