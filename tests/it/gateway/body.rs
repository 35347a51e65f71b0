//! The body of a call: kept as it is, or refused.

use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{FakeProvider, TestServer, World, exchange, in_time, until};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn passes_through_byte_for_byte() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let sent = "  {\"temperature\":1.00,\"model\":\"small\",\"messages\":[ {\"role\":\"user\",\"content\":\"h\\u00e9 \\\"model\\\":\\\"x\\\"\"} ],\
                \"metadata\":{\"model\":\"inner\",\"Model\":\"inner\",\"stream\":true},\"unknown_field\":[1,2,{\"deep\":null}],\"seed\":123456789012345678901234567890}\n";
    let answered = "{ \"made\" : \"by the provider\",\"n\":1.0 }\n";
    provider.always(200, &[("content-type", "application/json")], answered);

    let answer = world.agent.post_bytes(CHAT, sent).await.expect(200);
    assert_eq!(provider.only_call().body, sent.as_bytes());
    assert_eq!(provider.only_call().path, "/v1/chat/completions");
    assert_eq!(answer.body, answered.as_bytes());
}

#[tokio::test]
async fn what_is_not_one_json_object_with_one_model_is_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for body in [
        "",
        "   ",
        "not json",
        "[]",
        "\"small\"",
        "null",
        "17",
        "{",
        "{\"model\":\"small\",\"messages\":[",
        "{\"model\":\"small\"} trailing",
        "{\"model\":\"small\"}{\"model\":\"small\"}",
        "{\"model\":\"small\",}",
        "{'model':'small'}",
        "\u{feff}{\"model\":\"small\"}",
        "{}",
        "{\"messages\":[]}",
        "{\"model\":null}",
        "{\"model\":17}",
        "{\"model\":\"fake/a\\u0000b\"}",
        "{\"model\":[\"small\"]}",
        "{\"model\":\"small\",\"model\":\"small\"}",
        "{\"model\":\"small\",\"model\":\"other\"}",
        "{\"model\":\"small\",\"Model\":\"other\"}",
        "{\"MODEL\":\"small\"}",
        "{\"model\":\"small\",\"mod\\u0065l\":\"other\"}",
        "{\"model\":\"small\",\"\\u004dodel\":\"other\"}",
        "{\"model\":\"small\",\"stream\":false,\"stream\":true}",
        "{\"model\":\"small\",\"Stream\":true}",
        "{\"model\":\"small\",\"stream\":\"yes\"}",
        "{\"model\":\"small\",\"x\":\"\u{1}\"}",
        "{\"model\":\"small\",\"x\":NaN}",
        "{\"model\":\"small\",\"x\":01}",
        "{\"model\":\"small\",\"x\":\"\\ud800\"",
    ] {
        let answer = world.agent.post_bytes(CHAT, body).await;
        assert_eq!(answer.status, 400, "{body:?}: {answer}");
        answer.refused(400, "invalid_body");
    }
    let endless = format!("{{\"model\":\"fake/{}\"}}", "x".repeat(300));
    world.agent.post_bytes(CHAT, endless).await.refused(400, "invalid_body");
    for bytes in [
        &b"{\"model\":\"small\",\"x\":\"\xff\"}"[..],
        b"\xff\xfe{\x00}\x00",
        b"{\"model\":\"small\",\"x\":\"\xc0\xaf\"}",
    ] {
        world.agent.post_bytes(CHAT, bytes.to_vec()).await.refused(400, "invalid_body");
    }
    provider.received_nothing();
}

#[tokio::test]
async fn ten_thousand_levels_deep_are_refused_and_hurt_nobody() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let arrays = format!("{{\"model\":\"small\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{{\"model\":\"small\",\"x\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let open = format!("{{\"model\":\"small\",\"x\":{}", "[".repeat(1_000_000));
    for body in [arrays, objects, open] {
        world.agent.post_bytes(CHAT, body).await.refused(400, "invalid_body");
    }
    provider.received_nothing();
    world.agent.chat(World::MODEL).await.expect(200);
}

/// A chat of exactly that many bytes.
fn chat_of(bytes: usize) -> String {
    let (head, tail) = ("{\"model\":\"small\",\"messages\":[{\"role\":\"user\",\"content\":\"", "\"}]}");
    format!("{head}{}{tail}", "a".repeat(bytes - head.len() - tail.len()))
}

#[tokio::test]
async fn twenty_megabytes_pass_and_so_does_the_limit_itself() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for size in [20_000_000, 32 * 1024 * 1024] {
        let body = chat_of(size);
        world.agent.post_bytes(CHAT, body.clone()).await.expect(200);
        assert!(provider.last_call().body == body.as_bytes(), "the body was changed");
    }
}

#[tokio::test]
async fn past_32_mib_it_is_too_large_announced_or_not() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    // Announced: refused before any of it is sent.
    let head = |length: &str| {
        format!(
            "POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n{length}\r\nConnection: close\r\n\r\n",
            world.agent.secret()
        )
    };
    let answer = exchange(&keyward.url(), head(&format!("Content-Length: {}", 32 * 1024 * 1024 + 1))).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");

    // In chunks, of which nobody knows how many will come.
    let mut request = head("Transfer-Encoding: chunked").into_bytes();
    let body = chat_of(32 * 1024 * 1024 + 1);
    for chunk in body.as_bytes().chunks(1024 * 1024) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = exchange(&keyward.url(), request).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");
    provider.received_nothing();
}

#[tokio::test]
async fn an_encoded_body_is_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP"] {
        let request = world.agent.request(Method::POST, CHAT).header("content-encoding", encoding);
        let answer = world.agent.send(request.body("{\"model\":\"small\"}")).await;
        answer.refused(415, "unsupported_encoding");
    }
    provider.received_nothing();
}

#[tokio::test]
async fn a_body_that_breaks_off_reaches_nobody() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let stream = tokio::net::TcpStream::connect(keyward.url().strip_prefix("http://").unwrap()).await.unwrap();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\n{{\"model\":\"small\"",
        world.agent.secret()
    );
    let mut stream = stream;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    drop(stream);
    // A whole call afterwards is the only one that arrives.
    world.agent.chat(World::MODEL).await.expect(200);
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn ambiguous_lengths_never_become_two_calls() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let secret = world.agent.secret();
    let start = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Type: application/json\r\n"
    );
    let body = "{\"model\":\"small\"}";
    let smuggled = format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n");

    // Both lengths: chunked wins, the call is re-framed and the connection closed.
    let both = format!(
        "{start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n{smuggled}",
        body.len()
    );
    let answer = exchange(&keyward.url(), both).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    for call in provider.calls() {
        assert_eq!(call.body, body.as_bytes());
        assert!(call.header("content-length").is_none() || call.header("transfer-encoding").is_none(), "{call:?}");
    }
    let seen = provider.calls().len();

    // Two lengths that differ.
    let two = format!("{start}Content-Length: {}\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{body}", body.len());
    let answer = exchange(&keyward.url(), two).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");

    // An encoding nobody knows.
    let unknown = format!("{start}Transfer-Encoding: xchunked\r\nConnection: close\r\n\r\n{body}");
    let answer = exchange(&keyward.url(), unknown).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 501"), "{answer}");
    assert_eq!(provider.calls().len(), seen);
}

#[tokio::test]
async fn one_key_cannot_hold_all_the_memory_there_is_for_bodies() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let other = keyward.api().agent_key("another").await;
    let other = keyward.agent(other["secret"].as_str().unwrap());
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 33554432\r\n\r\n",
        world.agent.secret()
    );
    let part = vec![b' '; 30 * 1024 * 1024];
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = TcpStream::connect(keyward.url().trim_start_matches("http://")).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&part).await.unwrap();
        held.push(connection);
    }
    let big = chat_of(8 * 1024 * 1024);
    // Whoever is refused while it still sends may hear nothing but that its connection is closed.
    let status = async || {
        let request = world.agent.request(Method::POST, CHAT).header("content-type", "application/json");
        request.body(big.clone()).send().await.map_or(0, |answer| answer.status().as_u16())
    };
    until("the key's share to be taken", async || status().await == 503).await;
    other.post_bytes(CHAT, big.clone()).await.expect(200);
    drop(held);
    until("the key's share to come back", async || status().await == 200).await;
}

#[tokio::test]
async fn a_key_that_ends_while_the_body_comes_reaches_no_provider() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let address = keyward.url().strip_prefix("http://").unwrap().to_owned();
    let body = json!({ "model": World::MODEL, "messages": [] }).to_string();
    let (start, rest) = body.split_at(10);
    let mut caller = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{start}",
        world.agent.secret(),
        body.len()
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    // Looked up: the key was taken for good, and its body is waited for.
    let key_path = world.agent_key_path();
    until("the call's key being checked", async || {
        keyward.api().get(&key_path).await.expect(200).json()["last_used_at"].is_string()
    })
    .await;
    keyward.api().delete(&key_path).await.expect(204);
    caller.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    in_time("the answer", caller.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("invalid_api_key"), "{answer}");
    provider.received_nothing();
}
