//! Answers in an encoding nobody asked for: they pass as they are, and are counted as far as they can be read.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, write::GzEncoder};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Cell, FakeProvider, Reply, TestServer, World};
use crate::usage::row;

const JSON: &str =
    r#"{"choices":[{"message":{"content":"Hello!"}}],"usage":{"prompt_tokens":9,"completion_tokens":12}}"#;
const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello, you\"}}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n";
const EVENTS: &str = "text/event-stream";
const DOCUMENT: &str = "application/json";

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A gibibyte of nothing: one block that stands for a mebibyte, a thousand times.
fn bomb() -> Vec<u8> {
    let mut block = Vec::with_capacity(64 << 10);
    let mut compress = Compress::new(Compression::default(), false);
    compress.compress_vec(&vec![b' '; 1 << 20], &mut block, FlushCompress::Full).unwrap();
    assert_eq!(compress.total_in(), 1 << 20);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    [&head[..], &block.repeat(1024)].concat()
}

/// Has the provider answer so, asserts that this is what the caller gets, and gives what was counted: input, output,
/// and whether as an estimate.
async fn counted(keyward: &TestServer, provider: &FakeProvider, kind: &str, encoding: &str, body: &[u8]) -> [Value; 3] {
    let world = keyward.with_linked_model(provider).await;
    provider.next(Reply::with(200, &[("content-type", kind), ("content-encoding", encoding)], body));
    let call = json!({ "model": World::MODEL, "stream": kind == EVENTS, "messages": [] });
    let request = world.agent.request(Method::POST, "/v1/chat/completions").json(&call);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], encoding);
    assert!(response.bytes().await.unwrap() == body, "{encoding}: another body");
    assert_eq!(provider.last_call().header("accept-encoding"), None);

    let row = row(&keyward.api(), "model", World::MODEL, 1).await;
    assert_eq!(row["errors"], 0, "{row}");
    let estimated = keyward.database().await.cell("usage_hours", "estimated", "requests = 1").await;
    [row["input_tokens"].clone(), row["output_tokens"].clone(), json!(estimated == Cell::Integer(1))]
}

/// The same, each answer with a server of its own.
async fn counted_alone(kind: &str, encoding: &str, body: &[u8]) -> [Value; 3] {
    counted(&TestServer::start().await, &FakeProvider::start().await, kind, encoding, body).await
}

#[tokio::test]
async fn gzip_passes_byte_for_byte_and_is_counted() {
    assert_eq!(counted_alone(DOCUMENT, "gzip", &gzip(JSON)).await, [json!(9), json!(12), json!(false)]);
    // The chunk that tells the usage cannot be left out here.
    assert_eq!(counted_alone(EVENTS, "gzip", &gzip(STREAM)).await, [json!(9), json!(12), json!(false)]);
}

#[tokio::test]
async fn gzip_that_is_cut_short_is_an_estimate() {
    let stream = gzip(STREAM);
    let [input, output, estimated] = counted_alone(EVENTS, "gzip", &stream[..stream.len() - 9]).await;
    assert!(estimated == true && input.as_i64() <= Some(9) && output.as_i64() <= Some(12), "{input} {output}");
    let document = gzip(JSON);
    assert_eq!(counted_alone(DOCUMENT, "gzip", &document[..20]).await[2], true);
}

#[tokio::test]
async fn any_other_encoding_passes_as_an_estimate() {
    for encoding in ["br", "zstd", "deflate", "gzip, gzip"] {
        assert_eq!(
            counted_alone(DOCUMENT, encoding, JSON.as_bytes()).await,
            [json!(0), json!(0), json!(true)],
            "{encoding}"
        );
    }
    assert_eq!(counted_alone(EVENTS, "br", STREAM.as_bytes()).await, [json!(0), json!(0), json!(true)]);
    assert_eq!(counted_alone(DOCUMENT, "identity", JSON.as_bytes()).await, [json!(9), json!(12), json!(false)]);
}

#[tokio::test]
async fn a_gibibyte_in_a_mebibyte_is_not_unpacked() {
    let bomb = bomb();
    for kind in [DOCUMENT, EVENTS] {
        let (keyward, provider) = (TestServer::start().await, FakeProvider::start().await);
        let before = peak_memory(keyward.pid());
        assert_eq!(counted(&keyward, &provider, kind, "gzip", &bomb).await, [json!(0), json!(0), json!(true)]);
        let grown = peak_memory(keyward.pid()) - before;
        assert!(grown < 64 << 10, "{kind}: {grown} KiB");
    }
}

/// The most memory a process has had, in KiB.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
