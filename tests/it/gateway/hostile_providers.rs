//! Providers that send what none should: it is refused, or passes in bounds, and is counted as far as it makes sense.

use serde_json::{Value, json};

use crate::harness::{Cell, FakeProvider, Reply, TestServer, World, in_time};
use crate::usage::row;

const JSON: (&str, &str) = ("content-type", "application/json");

/// The most memory the process has had at once, in KiB.
fn peak_memory(keyward: &TestServer) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", keyward.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_no_answer() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let big = "x".repeat(1 << 20);
    provider.next(Reply::with(200, &[JSON, ("x-big", &big)], "{}"));
    world.agent.chat(World::MODEL).await.refused(502, "upstream_unreachable");
    let many: Vec<_> = [JSON].into_iter().chain(std::iter::repeat_n(("x-small", "1234567890"), 20_000)).collect();
    provider.next(Reply::with(200, &many, "{}"));
    world.agent.chat(World::MODEL).await.refused(502, "upstream_unreachable");
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn an_event_without_an_end_passes_in_bounded_memory_and_what_follows_is_counted() {
    const PIECES: usize = 96;
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(World::MODEL).await.expect(200);
    let before = peak_memory(&keyward);

    let piece = "x".repeat(1 << 20);
    let stage = provider.stage();
    stage.open();
    let request = world.agent.request(http::Method::POST, "/v1/chat/completions");
    let request = request.json(&json!({ "model": World::MODEL, "stream": true, "messages": [] }));
    let mut response = in_time("the head", request.send()).await.unwrap();
    stage.send("data: {\"x\":\"");
    let mut passed = 0;
    for sent in 1..=PIECES {
        stage.send(piece.clone());
        // One after the other, so that nothing but Keyward could hold it. It may hold back one mebibyte.
        while passed + (2 << 20) < sent << 20 {
            passed += in_time("the piece", response.chunk()).await.unwrap().expect("it goes on").len();
        }
    }
    let grown = peak_memory(&keyward) - before;
    assert!(grown < 32 << 10, "{PIECES} MiB of one event took {grown} KiB more");

    stage.send("\"}\n\n");
    stage.event("{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12}}");
    stage.event("[DONE]");
    stage.end();
    let mut rest = Vec::new();
    while let Some(chunk) = in_time("the rest", response.chunk()).await.unwrap() {
        passed += chunk.len();
        rest.extend_from_slice(&chunk);
    }
    assert!(passed > PIECES << 20 && rest.ends_with(b"data: [DONE]\n\n"));
    let counted = row(&keyward.api(), "agent_key", world.agent_key["id"].as_str().unwrap(), 2).await;
    assert_eq!((&counted["input_tokens"], &counted["output_tokens"]), (&json!(18), &json!(24)), "{counted}");
}

#[tokio::test]
async fn an_event_cut_within_a_character_arrives_as_it_was() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"h\u{e9} \u{1f511} \u{4f60}\"}}]}\n\n".as_bytes();
    let end = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n";
    // Where the caller asked for the usage, chunks pass as they come; else they wait for their event's end.
    for (calls, asks) in [(1, false), (2, true)] {
        let stage = provider.stage();
        stage.open();
        let body = json!({ "model": World::MODEL, "stream": true, "stream_options": { "include_usage": asks }, "messages": [] });
        let request = world.agent.request(http::Method::POST, "/v1/chat/completions").json(&body);
        let response = in_time("the head", request.send()).await.unwrap();
        // Byte by byte, so that every character is cut.
        for byte in event {
            stage.send(vec![*byte]);
        }
        stage.send(end);
        stage.end();
        let body = in_time("the stream", response.bytes()).await.unwrap();
        let rest = if asks { end } else { "data: [DONE]\n\n" };
        assert_eq!(body, [event, rest.as_bytes()].concat(), "asked for usage: {asks}");
        let id = world.agent_key["id"].as_str().unwrap();
        let counted = row(&keyward.api(), "agent_key", id, calls).await;
        let told = (&counted["input_tokens"], &counted["output_tokens"]);
        assert_eq!(told, (&json!(9 * calls), &json!(12 * calls)), "{counted}");
    }
}

#[tokio::test]
async fn absurd_numbers_of_tokens_are_flagged_and_spoil_no_sum() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let absurd =
        ["-1", "-9223372036854775808", "9223372036854775808", "18446744073709551616", "1e308", "9007199254740992"];
    for number in absurd {
        let usage = format!("{{\"prompt_tokens\":{number},\"completion_tokens\":{number}}}");
        provider.next(Reply::with(200, &[JSON], &format!("{{\"choices\":[],\"usage\":{usage}}}")));
        world.agent.chat(World::MODEL).await.expect(200);
        let body = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n");
        provider.next(Reply::with(200, &[("content-type", "text/event-stream")], &body));
        world.agent.stream(json!({ "model": World::MODEL, "stream": true, "messages": [] })).await.rest().await;
    }
    world.agent.chat(World::MODEL).await.expect(200);
    let (id, calls) = (world.agent_key["id"].as_str().unwrap(), 2 * absurd.len() + 1);
    let counted: Value = row(&keyward.api(), "agent_key", id, calls as u64).await;
    assert_eq!((&counted["input_tokens"], &counted["output_tokens"]), (&json!(9), &json!(12)), "{counted}");
    let filter = format!("agent_key_id = '{id}'");
    let estimated = keyward.database().await.cell("usage_hours", "estimated", &filter).await;
    assert_eq!(estimated, Cell::Integer(2 * absurd.len() as i64));
}
