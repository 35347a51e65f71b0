//! SIGTERM: open calls end or are ended, counters are written, and the exit is clean.

use http::Method;
use serde_json::json;

use crate::harness::{FakeProvider, Home, TestServer, World, eventually, until};

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
async fn told_to_drain_first_it_answers_on_while_it_says_that_it_leaves() {
    let settings = Home::new().await.serve().env("KEYWARD_DRAIN_SECONDS", "86400");
    let keyward = settings.env("KEYWARD_STOP_TIMEOUT_SECONDS", "0").start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let answer = world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(answer.header("connection"), None);

    keyward.ask_to_stop();
    let ready = eventually("the word that it leaves", async || {
        let answer = world.agent.send(world.agent.anonymous(Method::GET, "/readyz")).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!((ready.status, ready.text()), (503, "not ready: it was told to stop\n".to_owned()));
    world.agent.send(world.agent.anonymous(Method::GET, "/livez")).await.expect(200);
    let answer = world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(answer.header("connection"), Some("close"), "the next call is better made elsewhere");

    // A second signal ends the wait.
    keyward.stop().await;
}

#[tokio::test]
async fn a_stream_without_an_end_does_not_hold_it_up() {
    let keyward = Home::new().await.serve().env("KEYWARD_STOP_TIMEOUT_SECONDS", "1").start().await;
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
