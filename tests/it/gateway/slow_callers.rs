//! Callers that stop reading: cut after a while, and with their key.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Cell, FakeProvider, Home, Reply, Stage, TestServer, World, in_time, until};

const STREAM: &str = "{\"model\":\"small\",\"stream\":true,\"messages\":[]}";
/// More than the system keeps on the way from Keyward to a caller.
const PLENTY: usize = 24 * 1024 * 1024;
const EVENT: usize = 128 * 1024;

async fn patient_for(seconds: u32) -> TestServer {
    Home::new().await.serve().env("KEYWARD_CALLER_STALL_TIMEOUT_SECONDS", seconds.to_string()).start().await
}

/// A call of which not a byte of the answer is read.
async fn silent_call(keyward: &TestServer, secret: &str) -> TcpStream {
    let address: SocketAddr = keyward.url().trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{STREAM}",
        STREAM.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Streams more than anybody keeps for a caller that does not read.
fn flood(stage: &Stage) {
    stage.open();
    let event = json!({ "choices": [{ "delta": { "content": "x".repeat(EVENT) } }] }).to_string();
    for _ in 0..PLENTY / EVENT {
        stage.event(&event);
    }
}

/// Whether the answer breaks off before its end.
async fn breaks_off(mut stream: TcpStream) -> bool {
    let mut answer = Vec::new();
    let read = in_time("the connection's end", stream.read_to_end(&mut answer)).await;
    read.is_err() || !answer.ends_with(b"0\r\n\r\n")
}

async fn is_counted_as_an_estimate(keyward: &TestServer, key_id: &str) {
    let counted = crate::usage::row(&keyward.api(), "agent_key", key_id, 1).await;
    assert_eq!(counted["errors"], 1, "{counted}");
    let filter = format!("agent_key_id = '{key_id}'");
    assert_eq!(keyward.database().await.cell("usage_hours", "estimated", &filter).await, Cell::Integer(1));
}

#[tokio::test]
async fn one_that_takes_nothing_of_its_stream_is_cut_and_its_call_ended_and_counted() {
    let keyward = patient_for(1).await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let stage = provider.stage();
    flood(&stage);
    let caller = silent_call(&keyward, world.agent.secret()).await;
    stage.caller_left().await;
    is_counted_as_an_estimate(&keyward, world.agent_key["id"].as_str().unwrap()).await;
    assert!(breaks_off(caller).await, "an answer that was cut looked whole");
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn one_that_takes_nothing_of_an_answer_that_is_no_stream_is_cut_as_well() {
    let keyward = patient_for(1).await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = format!("{{\"data\":\"{}\"}}", "x".repeat(PLENTY));
    provider.next(Reply::with(200, &[("content-type", "application/json")], &body));
    let caller = silent_call(&keyward, world.agent.secret()).await;
    is_counted_as_an_estimate(&keyward, world.agent_key["id"].as_str().unwrap()).await;
    let mut caller = caller;
    let mut answer = Vec::new();
    let _ = in_time("the connection's end", caller.read_to_end(&mut answer)).await;
    assert!(answer.len() < body.len(), "it came whole");
}

#[tokio::test]
async fn one_that_reads_now_and_then_gets_all_of_it() {
    let keyward = patient_for(2).await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let stage = provider.stage();
    flood(&stage);
    stage.end();
    let mut caller = silent_call(&keyward, world.agent.secret()).await;
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 1024 * 1024]);
    while !seen.ends_with(b"0\r\n\r\n") {
        let read = in_time("more of the answer", caller.read(&mut buffer)).await.unwrap();
        assert!(read > 0, "it was cut after {} bytes", seen.len());
        seen.extend_from_slice(&buffer[..read]);
        tokio::task::yield_now().await;
    }
    assert!(seen.len() > PLENTY);
}

#[tokio::test]
async fn deleting_or_disabling_the_key_ends_a_stream_that_nobody_reads() {
    let keyward = patient_for(86_400).await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    for how in ["delete", "disable"] {
        let key = api.agent_key(how).await;
        let stage = provider.stage();
        flood(&stage);
        let caller = silent_call(&keyward, key["secret"].as_str().unwrap()).await;
        let mut first = [0; 1];
        in_time("the stream to be on its way", caller.peek(&mut first)).await.unwrap();
        let path = format!("/agent-keys/{}", key["id"].as_str().unwrap());
        match how {
            "delete" => api.delete(&path).await.expect(204),
            _ => api.act(&format!("{path}/disable")).await.expect(200),
        };
        stage.caller_left().await;
        assert!(breaks_off(caller).await, "{how}: an answer that was cut looked whole");
    }
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_ends_when_its_key_expires() {
    let home = Home::new().await;
    let keyward = home.serve().start().await;
    let provider = FakeProvider::start().await;
    keyward.with_linked_model(&provider).await;
    let short = keyward.api().post("/agent-keys", json!({ "name": "a day", "expires_in_days": 1 })).await.expect(201);
    // Enough of the day is left to start again and call.
    let keyward = keyward.stop_to_restart().await.seconds_later(86_400 - 8);
    let keyward = keyward.env("KEYWARD_CALLER_STALL_TIMEOUT_SECONDS", "86400").start().await;
    let stage = provider.stage();
    flood(&stage);
    let caller = silent_call(&keyward, short.json()["secret"].as_str().unwrap()).await;
    stage.caller_left().await;
    assert!(breaks_off(caller).await, "an answer that was cut looked whole");
}

#[tokio::test]
async fn a_stream_of_http2_that_is_not_read_is_cut_and_the_others_of_its_connection_go_on() {
    let keyward = patient_for(1).await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let tcp = TcpStream::connect(keyward.url().trim_start_matches("http://")).await.unwrap();
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(64 * 1024)
        .handshake(TokioIo::new(tcp))
        .await
        .unwrap();
    tokio::spawn(connection);
    let call = |body: &'static str| {
        let uri = format!("{}/v1/chat/completions", keyward.url());
        let request = http::Request::post(uri).header("authorization", format!("Bearer {}", world.agent.secret()));
        request.header("content-type", "application/json").body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
    };
    let stage = provider.stage();
    flood(&stage);
    let mut unread = in_time("the head", sender.send_request(call(STREAM))).await.unwrap();
    assert_eq!(unread.status(), 200);
    until("the call to be cut", async || {
        let other = sender.send_request(call("{\"model\":\"small\",\"messages\":[]}")).await.unwrap();
        assert_eq!(other.status(), 200);
        in_time("the other answer", other.collect()).await.unwrap();
        stage.has_no_caller()
    })
    .await;
    let mut ended = in_time("what was on its way", unread.frame()).await;
    while let Some(Ok(_)) = ended {
        ended = in_time("the stream's end", unread.frame()).await;
    }
    assert!(ended.is_some_and(|end| end.is_err()), "a stream that was cut looked whole");
}
