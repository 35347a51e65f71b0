//! Bytes as nobody should send them: whatever comes, nothing panics, and two readers never see two different things.
//!
//! Each runs a fixed number of cases with the other tests; `PROPTEST_CASES=1000000` makes it many.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there, and the panic says where")]

use llm::{Pass, StreamReader, Usage, WireFormat, boundary, scan, scan_form};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

const WIRES: [WireFormat; 4] = [WireFormat::OpenAi, WireFormat::Azure, WireFormat::Anthropic, WireFormat::Gemini];

/// Streams of real providers, to be spoilt.
const STREAMS: [&str; 6] = [
    include_str!("../testdata/openai/stream.sse"),
    include_str!("../testdata/openai/responses.sse"),
    include_str!("../testdata/anthropic/stream.sse"),
    include_str!("../testdata/gemini/stream.sse"),
    include_str!("../testdata/mistral/stream.sse"),
    include_str!("../testdata/ollama/chat.ndjson"),
];

/// A change of some bytes: where, which, and whether one is replaced, put in, left out, or everything after repeated.
type Edit = (Index, u8, u8);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    // Bytes that mean something are likelier than others.
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\\r\n-=; mMsStrue0".to_vec())];
    prop::collection::vec((any::<Index>(), byte, 0..4u8), 0..5)
}

fn edited(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for (index, byte, what) in edits {
        let at = index.index(bytes.len() + 1);
        match what {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.extend_from_within(at..),
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}

/// One member of a body, in spellings that one reader takes and another does not.
fn member() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "model",
        "Model",
        "MODEL",
        "mod\\u0065l",
        "mode\\u006C",
        "stream",
        "Stream",
        "str\\u0065am",
        "stream_options",
        "messages",
        "",
        "model ",
        "\\u004dodel",
    ]);
    let value = prop::sample::select(vec![
        "\"a\"",
        "\"b\\u0062\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud800\"",
        "true",
        "false",
        "null",
        "1",
        "1e999",
        "[]",
        "{\"model\":\"inner\"}",
        "{\"include_usage\":true}",
        "\"\\u0000\"",
    ]);
    (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let members = prop::collection::vec(member(), 0..5).prop_map(|members| format!("{{{}}}", members.join(",")));
    (members, edits()).prop_map(|(body, edits)| edited(body.into_bytes(), edits))
}

fn relay<'a>(reader: &mut StreamReader, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    for chunk in chunks {
        match reader.push(chunk, &mut out) {
            Pass::Whole => sent.extend_from_slice(chunk),
            Pass::Replaced => sent.extend_from_slice(&out),
        }
    }
    sent.extend(reader.finish());
    sent
}

/// A stream in pieces, cut at these places.
fn pieces<'a>(stream: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
}

fn part(head: &str, value: &str) -> String {
    format!("--x\r\ncontent-disposition: form-data; {head}\r\n\r\n{value}\r\n")
}

fn form() -> impl Strategy<Value = Vec<u8>> {
    let head = prop::sample::select(vec![
        "name=\"model\"",
        "name=\"Model\"",
        "name=model",
        "name=\"model\"; filename=\"a\"",
        "name=\"stream\"",
        "name=\"file\"; filename=\"a\"",
        "name*=utf-8''model",
        "name=\"mod\\\"el\"",
        "",
    ]);
    let value = prop::sample::select(vec!["small", "", "true", "--x", "\r\n--x--\r\n", "sm\u{e4}ll"]);
    let parts = prop::collection::vec((head, value).prop_map(|(head, value)| part(head, value)), 0..4);
    (parts, edits()).prop_map(|(parts, edits)| edited(format!("{}--x--\r\n", parts.concat()).into_bytes(), edits))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_body_says_to_another_reader_what_it_says_to_us_or_is_refused(body in body()) {
        let Ok(ours) = scan(&body) else { return Ok(()) };
        // Some readers refuse numbers and escapes that the grammar allows; those see nothing else than we do.
        let Ok(theirs) = serde_json::from_slice::<Value>(&body) else {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(), "taken, and no JSON");
            return Ok(());
        };
        let model = ours.model.as_ref().map(|model| &*model.value);
        prop_assert_eq!(model, theirs.get("model").and_then(Value::as_str));
        prop_assert_eq!(ours.stream, theirs.get("stream") == Some(&Value::Bool(true)));
        for name in theirs.as_object().unwrap().keys() {
            for known in ["model", "stream"] {
                prop_assert!(name == known || !name.eq_ignore_ascii_case(known), "{} passes", name);
            }
        }
        if let Some(model) = &ours.model {
            let there: String = serde_json::from_slice(&body[model.span.clone()]).unwrap();
            prop_assert_eq!(&*model.value, there);
        }
    }

    #[test]
    fn a_stream_has_the_same_usage_however_it_is_split(
        which in 0..STREAMS.len(), wire in prop::sample::select(WIRES.to_vec()), drops: bool,
        edits in edits(), cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let stream = edited(STREAMS[which].as_bytes().to_vec(), edits);
        let mut whole = StreamReader::new(wire, drops);
        let sent_whole = relay(&mut whole, [&stream[..]]);
        let mut split = StreamReader::new(wire, drops);
        let sent_split = relay(&mut split, pieces(&stream, &cuts));
        prop_assert_eq!(split.usage(), whole.usage());
        prop_assert_eq!(&sent_split, &sent_whole);
        if !drops {
            prop_assert_eq!(sent_split, stream);
        }
    }

    #[test]
    fn an_answer_of_any_bytes_is_read_without_a_panic(
        which in 0..STREAMS.len(), wire in prop::sample::select(WIRES.to_vec()), edits in edits(), bytes: Vec<u8>,
    ) {
        let _ = Usage::from_response(wire, &bytes);
        let _ = Usage::from_response(wire, &edited(STREAMS[which].as_bytes().to_vec(), edits));
    }

    #[test]
    fn a_form_that_is_taken_names_one_model_and_keeps_all_else(form in form()) {
        let Ok(read) = scan_form(&form, "x") else { return Ok(()) };
        prop_assert!(std::str::from_utf8(&form).is_err() || memchr::memmem::find(&form, read.model.as_bytes()).is_some());
        let renamed = read.rename("another");
        let again = scan_form(&renamed, "x").unwrap();
        prop_assert_eq!(again.model, "another");
        prop_assert_eq!(again.stream, read.stream);
        prop_assert_eq!(again.rename(read.model), form);
    }

    #[test]
    fn any_bytes_may_call_themselves_a_form(bytes: Vec<u8>, kind in "[mM]ultipart/form-data(; ?[a-zB]{1,9}=\"?[a-z ;=]{0,9}\"?){0,3}") {
        let _ = scan_form(&bytes, "x");
        if let Ok(named) = boundary(kind.as_bytes()) {
            prop_assert!((1..=70).contains(&named.len()) && !named.contains([' ', '"', ';']));
        }
        let _ = boundary(&bytes);
    }
}

/// `PROPTEST_CASES`, where it asks for more.
fn cases(least: u32) -> u32 {
    ProptestConfig::default().cases.max(least)
}
