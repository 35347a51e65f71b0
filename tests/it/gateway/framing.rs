//! Calls that two servers in a row could read as two different ones, and calls nobody should send: refused or made
//! plain, and nothing of them reaches a provider.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{FakeProvider, TestServer, World, exchange, in_time};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = "{\"model\":\"small\"}";

/// A chat with these lines in its head instead of `Host` and a length, and this behind it.
fn chat(world: &World, lines: &str, body: &str) -> String {
    let secret = world.agent.secret();
    format!("POST {CHAT} HTTP/1.1\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n{lines}\r\n\r\n{body}")
}

#[tokio::test]
async fn what_is_no_head_of_http_or_could_be_read_in_two_ways_is_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let cases = [
        // Lengths.
        ("Host: x\r\nContent-Length: 17\r\nContent-Length: 5", BODY),
        ("Host: x\r\nContent-Length: 5\r\nContent-Length: 17", BODY),
        ("Host: x\r\nContent-Length: 17, 5", BODY),
        ("Host: x\r\nContent-Length: +17", BODY),
        ("Host: x\r\nContent-Length: -17", BODY),
        ("Host: x\r\nContent-Length: 0x11", BODY),
        ("Host: x\r\nContent-Length: 1 7", BODY),
        ("Host: x\r\nContent-Length: 18446744073709551633", BODY),
        // Other transfer codings than chunked alone.
        ("Host: x\r\nTransfer-Encoding: gzip", &chunked),
        ("Host: x\r\nTransfer-Encoding: identity", &chunked),
        ("Host: x\r\nTransfer-Encoding: xchunked", &chunked),
        ("Host: x\r\nTransfer-Encoding: chunked, identity", &chunked),
        ("Host: x\r\nTransfer-Encoding: gzip, chunked", &chunked),
        ("Host: x\r\nTransfer-Encoding: chunked, chunked", &chunked),
        ("Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", &chunked),
        ("Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity", &chunked),
        ("Host: x\r\nTransfer-Encoding: \u{b}chunked", &chunked),
        ("Host: x\r\nTransfer-Encoding: \"chunked\"", &chunked),
        // Chunks.
        ("Host: x\r\nTransfer-Encoding: chunked", "0x11\r\n{\"model\":\"small\"}\r\n0\r\n\r\n"),
        ("Host: x\r\nTransfer-Encoding: chunked", "-11\r\n{\"model\":\"small\"}\r\n0\r\n\r\n"),
        ("Host: x\r\nTransfer-Encoding: chunked", "fffffffffffffffff\r\n{\"model\":\"small\"}\r\n0\r\n\r\n"),
        ("Host: x\r\nTransfer-Encoding: chunked", "11\r\n{\"model\":\"small\"}x\r\n0\r\n\r\n"),
        // Names and values of headers.
        ("Host: x\r\nContent-Length : 17", BODY),
        ("Host: x\r\nContent-Length\t: 17", BODY),
        ("Host: x\r\nX A: 1\r\nContent-Length: 17", BODY),
        ("Host: x\r\n: 1\r\nContent-Length: 17", BODY),
        ("Host: x\r\nno colon\r\nContent-Length: 17", BODY),
        ("Host: x\r\nX-A: 1\r\n folded\r\nContent-Length: 17", BODY),
        ("Host: x\r\nX-A: 1\r\n\tfolded\r\nContent-Length: 17", BODY),
        ("Host: x\r\n X-A: 1\r\nContent-Length: 17", BODY),
        ("Host: x\r\nX-A: a\0b\r\nContent-Length: 17", BODY),
        ("Host: x\r\nX-A: a\rContent-Length: 5\r\nContent-Length: 17", BODY),
        // Whom it is for.
        ("Content-Length: 17", BODY),
        ("Host: x\r\nHost: x\r\nContent-Length: 17", BODY),
        ("Host: x\r\nHost: y\r\nContent-Length: 17", BODY),
        ("Host: someone@x\r\nContent-Length: 17", BODY),
        ("Host: someone:secret@x\r\nContent-Length: 17", BODY),
        ("Host: x/y\r\nContent-Length: 17", BODY),
        ("Host: x\\y\r\nContent-Length: 17", BODY),
        ("Host: x, y\r\nContent-Length: 17", BODY),
        ("Host: x y\r\nContent-Length: 17", BODY),
        ("Host: x?y\r\nContent-Length: 17", BODY),
        ("Host: x#y\r\nContent-Length: 17", BODY),
    ];
    for (lines, body) in cases {
        let answer = exchange(&keyward.url(), chat(&world, lines, body)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lines:?} {body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{lines:?} {body:?}: {answer}");
    }
    // The same in the request's first line.
    for target in ["http://someone@x/v1/models", "http://x:80@y/v1/models"] {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            world.agent.secret()
        );
        let answer = exchange(&keyward.url(), request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target}: {answer}");
    }
    provider.received_nothing();
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn hosts_of_every_proper_form_are_served() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for host in ["x", "X.Example:8080", "127.0.0.1", "[::1]:80", "a_b.internal", "xn--bcher-kva.example", "x."] {
        let request = chat(&world, &format!("Host: {host}\r\nContent-Length: 17"), BODY);
        let answer = exchange(&keyward.url(), request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
}

#[tokio::test]
async fn the_same_length_twice_is_one_length() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let request = chat(&world, "Host: x\r\nContent-Length: 17\r\nContent-Length: 17", BODY);
    let answer = exchange(&keyward.url(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(provider.only_call().header_values("content-length"), ["17"]);
}

#[tokio::test]
async fn an_upgrade_that_nobody_offers_is_passed_over_and_no_tunnel_opened() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for upgrade in ["websocket", "h2c", "TLS/1.3", "anything"] {
        let secret = world.agent.secret();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 17\r\n\r\n{BODY}"
        );
        // What follows is a call of its own, never bytes for somebody behind Keyward.
        let then = format!(
            "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n\r\n"
        );
        let calls = provider.calls().len();
        let answer = exchange(&keyward.url(), format!("{head}{then}")).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{upgrade}: {answer}");
        assert!(!answer.contains("HTTP/1.1 101"), "{upgrade}: {answer}");
        assert_eq!(provider.calls().len(), calls + 1);
        for name in ["upgrade", "connection", "http2-settings", "sec-websocket-key"] {
            assert_eq!(provider.last_call().header(name), None, "{upgrade}: {name}");
        }
    }
    for method in ["CONNECT", "TRACE"] {
        let request = format!(
            "{method} 127.0.0.1:{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            provider.origin().rsplit(':').next().unwrap(),
            world.agent.secret()
        );
        let answer = exchange(&keyward.url(), request).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{method}: {answer}");
    }
    assert_eq!(provider.calls().len(), 4);
}

#[tokio::test]
async fn a_megabyte_of_headers_is_refused_and_hurts_nobody() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let one = format!("Host: x\r\nX-Big: {}\r\nContent-Length: 17", "x".repeat(1 << 20));
    let many = format!("Host: x\r\n{}Content-Length: 17", "X-Small: 1234567890123456\r\n".repeat(40_000));
    let name = format!("Host: x\r\n{}: 1\r\nContent-Length: 17", "x".repeat(1 << 20));
    let several = format!("Host: x\r\n{}Content-Length: 17", "X-Small: 1\r\n".repeat(2_000));
    for lines in [one, many, name, several] {
        let answer = exchange(&keyward.url(), chat(&world, &lines, BODY)).await;
        // It closes with bytes of ours still on their way, so that its answer may not get here.
        let refused = answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 431");
        assert!(refused || answer.is_empty(), "{answer}");
    }
    // The path, which is none of a header.
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "x".repeat(1 << 20));
    let answer = exchange(&keyward.url(), path).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    provider.received_nothing();
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn over_http_1_0_an_answer_is_whole_and_ends_with_its_connection() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let secret = world.agent.secret();
    for (body, end) in [(BODY, "}"), ("{\"model\":\"small\",\"stream\":true}", "data: [DONE]\n\n")] {
        let request = format!(
            "POST {CHAT} HTTP/1.0\r\nAuthorization: Bearer {secret}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(&keyward.url(), request).await;
        assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (head, content) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        assert!(content.ends_with(end), "{answer}");
    }
    // A transfer coding is something HTTP/1.0 has not.
    let chunked = format!(
        "POST {CHAT} HTTP/1.0\r\nAuthorization: Bearer {secret}\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{BODY}\r\n0\r\n\r\n"
    );
    let answer = exchange(&keyward.url(), chunked).await;
    assert!(answer.contains(" 400 "), "{answer}");
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn what_comes_slower_than_it_may_is_cut() {
    // Thirty times as fast, so that a minute of patience is over in two seconds.
    let keyward = crate::harness::Home::new().await.serve().with_time_running(30).start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let secret = world.agent.secret();
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n");
    let body = format!("{head}Content-Length: 100000\r\n\r\n{{\"model\":");
    let page = "POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Sec-Fetch-Site: same-origin\r\nContent-Length: 1000\r\n\r\nemail=";
    for (what, start) in [("nothing", ""), ("a head", head.as_str()), ("a body", body.as_str()), ("a form", page)] {
        let mut stream = TcpStream::connect(keyward.url().trim_start_matches("http://")).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = in_time(&format!("the end of {what}"), stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    provider.received_nothing();
    world.agent.send(world.agent.request(Method::POST, CHAT).json(&json!({ "model": "small" }))).await.expect(200);
}
