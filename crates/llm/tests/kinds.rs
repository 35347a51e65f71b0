//! What every kind of provider answers, and what is read from it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::fs;
use std::path::PathBuf;

use llm::{Kind, Pass, StreamReader, Usage, WireFormat, error_message, refuses_key};
use serde_json::Value;

/// What the answers of one kind have to come to.
struct Golden {
    /// The status of `401.json`.
    bad_key: u16,
    /// How the provider's words begin in `401.json`.
    bad_key_words: &'static str,
    /// How they begin in `429.json`.
    busy_words: &'static str,
    /// Input and output in `success.json`; `stream.sse` tells the same unless it stands in [`streamed`].
    tokens: (u64, u64),
    /// How many chunks of `stream.sse` only carry usage.
    usage_chunks: usize,
}

fn golden(kind: Kind) -> Golden {
    let (bad_key, bad_key_words, busy_words, tokens, usage_chunks) = match kind {
        Kind::OpenAi => (401, "Incorrect API key", "You exceeded", (19, 7), 1),
        Kind::Anthropic => (401, "invalid x-api-key", "This request", (2112, 6), 0),
        Kind::Gemini => (400, "API key not valid", "You exceeded", (8, 35), 0),
        Kind::AzureOpenAi => (401, "Access denied", "The call rate", (21, 9), 1),
        Kind::Mistral => (401, "Unauthorized", "Rate limit", (11, 5), 0),
        Kind::Groq => (401, "Invalid API Key", "Rate limit", (38, 4), 1),
        Kind::DeepSeek => (401, "Authentication Fails", "Too many", (14, 60), 1),
        Kind::OpenRouter => (401, "No auth", "Provider returned", (17, 6), 1),
        Kind::Xai => (400, "Incorrect API key", "Too many", (32, 103), 1),
        Kind::Together => (401, "Invalid API key", "This model", (35, 3), 0),
        Kind::Fireworks => (401, "The API key", "Request rate", (24, 5), 0),
        Kind::Cohere => (401, "invalid api token", "trial key", (71, 8), 0),
        Kind::Ollama => (401, "unauthorized", "server busy", (26, 8), 1),
        Kind::Vllm => (401, "Unauthorized", "Too many", (31, 10), 1),
        Kind::OpenAiCompatible => (401, "Authentication Error", "Too many", (6, 2), 1),
        Kind::Service => panic!("a service is no provider of models"),
    };
    Golden { bad_key, bad_key_words, busy_words, tokens, usage_chunks }
}

/// What `stream.sse` comes to.
fn streamed(kind: Kind) -> (u64, u64) {
    match kind {
        Kind::Anthropic => (1025, 15),
        _ => golden(kind).tokens,
    }
}

fn path(kind: Kind, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(kind.as_str()).join(name)
}

fn read(kind: Kind, name: &str) -> Vec<u8> {
    let path = path(kind, name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn told((input_tokens, output_tokens): (u64, u64)) -> Usage {
    Usage { input_tokens, output_tokens, seen: true, estimated: false }
}

/// What the caller gets of a stream that comes in pieces of that size, and what was counted.
fn relayed(wire: WireFormat, stream: &[u8], size: usize, drop_usage_chunk: bool) -> (Vec<u8>, Usage) {
    let mut reader = StreamReader::new(wire, drop_usage_chunk);
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    for piece in stream.chunks(size) {
        match reader.push(piece, &mut out) {
            Pass::Whole => sent.extend_from_slice(piece),
            Pass::Replaced => sent.extend_from_slice(&out),
        }
    }
    sent.extend(reader.finish());
    (sent, reader.usage())
}

/// The events of a stream, each with the blank line that ends it.
fn events(stream: &str) -> Vec<&str> {
    let blank = if stream.contains('\r') { "\r\n\r\n" } else { "\n\n" };
    stream.split_inclusive(blank).collect()
}

fn only_carries_usage(event: &str) -> bool {
    let data = event.trim().strip_prefix("data: ").unwrap_or_default();
    let data: Value = serde_json::from_str(data).unwrap_or_default();
    data["choices"].as_array().is_some_and(Vec::is_empty) && data["usage"].is_object()
}

#[test]
fn every_kind_has_its_answers() {
    let names = ["success.json", "stream.sse", "401.json", "429.json"];
    let all = Kind::ALL.into_iter().flat_map(|kind| names.map(|name| path(kind, name)));
    let missing: Vec<PathBuf> = all.filter(|path| !path.is_file()).collect();
    assert!(missing.is_empty(), "missing: {missing:#?}");
}

#[test]
fn a_bad_key_is_told_from_a_busy_provider_and_both_in_the_providers_words() {
    for kind in Kind::ALL {
        let golden = golden(kind);
        let (bad_key, busy) = (read(kind, "401.json"), read(kind, "429.json"));
        assert!(refuses_key(kind, golden.bad_key, &bad_key), "{kind:?}");
        assert!(!refuses_key(kind, 429, &busy), "{kind:?}");
        assert!(!refuses_key(kind, 400, &busy), "{kind:?}: nor with another status");
        for (body, words) in [(&bad_key, golden.bad_key_words), (&busy, golden.busy_words)] {
            let message = error_message(body).unwrap_or_default();
            assert!(message.starts_with(words), "{kind:?}: {message:?}");
            assert_eq!(Usage::from_response(kind.wire(), body), Usage::default(), "{kind:?}");
        }
    }
}

#[test]
fn a_whole_answer_tells_its_usage() {
    for kind in Kind::ALL {
        let usage = Usage::from_response(kind.wire(), &read(kind, "success.json"));
        assert_eq!(usage, told(golden(kind).tokens), "{kind:?}");
    }
}

#[test]
fn a_stream_tells_its_usage_however_it_is_cut() {
    for kind in Kind::ALL {
        let stream = read(kind, "stream.sse");
        for size in [stream.len(), 1, 7] {
            let (sent, usage) = relayed(kind.wire(), &stream, size, false);
            assert!(sent == stream, "{kind:?} in pieces of {size} is passed on as it is");
            assert_eq!(usage, told(streamed(kind)), "{kind:?} in pieces of {size}");
        }
    }
}

#[test]
fn exactly_the_chunk_that_only_carries_usage_is_left_out() {
    for kind in Kind::ALL {
        let stream = String::from_utf8(read(kind, "stream.sse")).unwrap();
        let (dropped, kept): (Vec<&str>, Vec<&str>) =
            events(&stream).into_iter().partition(|event| only_carries_usage(event));
        assert_eq!(dropped.len(), golden(kind).usage_chunks, "{kind:?}");
        for size in [stream.len(), 1, 7] {
            let (sent, usage) = relayed(kind.wire(), stream.as_bytes(), size, true);
            assert_eq!(String::from_utf8(sent).unwrap(), kept.concat(), "{kind:?} in pieces of {size}");
            assert_eq!(usage, told(streamed(kind)), "{kind:?} in pieces of {size}");
        }
    }
}

#[test]
fn further_ways_to_stream_are_counted_and_pass_as_they_are() {
    // Of an error in the middle, only the text before it can be counted: 11 bytes.
    let broken = Usage { output_tokens: 3, estimated: true, ..Usage::default() };
    let cases = [
        (Kind::OpenAi, "responses.sse", told((37, 11))),
        (Kind::Groq, "unasked.sse", told((38, 4))),
        (Kind::Ollama, "chat.ndjson", told((26, 8))),
        (Kind::OpenRouter, "error.sse", broken),
    ];
    for (kind, name, expected) in cases {
        let stream = read(kind, name);
        for size in [stream.len(), 1, 7] {
            for drop_usage_chunk in [false, true] {
                let (sent, usage) = relayed(kind.wire(), &stream, size, drop_usage_chunk);
                assert!(sent == stream, "{kind:?} {name} in pieces of {size}");
                assert_eq!(usage, expected, "{kind:?} {name} in pieces of {size}");
            }
        }
    }
}
