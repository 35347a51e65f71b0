use proptest::prelude::*;

use super::*;
use crate::MAX_TAIL;

macro_rules! golden {
    ($path:literal) => {
        include_bytes!(concat!("../../testdata/", $path)).as_slice()
    };
}

const OPENAI: &[u8] = golden!("openai/stream.sse");

fn told(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, seen: true, estimated: false }
}

fn relay<'a>(reader: &mut StreamReader, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut sent, mut out) = (Vec::new(), b"left over".to_vec());
    for chunk in chunks {
        match reader.push(chunk, &mut out) {
            Pass::Whole => sent.extend_from_slice(chunk),
            Pass::Replaced => sent.extend_from_slice(&out),
        }
    }
    sent.extend(reader.finish());
    sent
}

#[test]
fn golden_streams_pass_untouched_and_are_counted_whatever_the_chunks() {
    let streams: [(WireFormat, &[u8], Usage); 5] = [
        (WireFormat::OpenAi, OPENAI, told(19, 7)),
        (WireFormat::Azure, OPENAI, told(19, 7)),
        (WireFormat::OpenAi, golden!("openai/responses.sse"), told(37, 11)),
        (WireFormat::Anthropic, golden!("anthropic/stream.sse"), told(1025, 15)),
        (WireFormat::Gemini, golden!("gemini/stream.sse"), told(8, 35)),
    ];
    for (wire, stream, usage) in streams {
        for size in [1, 2, 3, 7, 64, 1000, usize::MAX] {
            let mut reader = StreamReader::new(wire, false);
            let mut out = Vec::new();
            for chunk in stream.chunks(size.min(stream.len())) {
                assert_eq!(reader.push(chunk, &mut out), Pass::Whole);
            }
            assert_eq!(reader.finish(), b"");
            assert_eq!(reader.usage(), usage, "{wire:?} in chunks of {size}");
        }
    }
}

#[test]
fn the_chunk_nobody_asked_for_is_left_out() {
    let text = std::str::from_utf8(OPENAI).unwrap();
    let start = text.find("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1750000000,\"model\":\"gpt-4o\",\"choices\":[],").unwrap();
    let end = text.find("data: [DONE]").unwrap();
    let expected = [&OPENAI[..start], &OPENAI[end..]].concat();
    for size in 1..=OPENAI.len() {
        let mut reader = StreamReader::new(WireFormat::OpenAi, true);
        assert_eq!(relay(&mut reader, OPENAI.chunks(size)), expected, "in chunks of {size}");
        assert_eq!(reader.usage(), told(19, 7));
    }
    // It is left out also where the stream ends with it, without the blank line.
    let mut reader = StreamReader::new(WireFormat::OpenAi, true);
    assert_eq!(relay(&mut reader, [&OPENAI[..end - 2]]), &OPENAI[..start]);
    // Whole events in a chunk of their own need no copy.
    let mut reader = StreamReader::new(WireFormat::OpenAi, true);
    assert_eq!(reader.push(&OPENAI[..start], &mut Vec::new()), Pass::Whole);
}

#[test]
fn other_chunks_without_choices_stay() {
    let stream = b"data: {\"choices\":[],\"prompt_filter_results\":[]}\n\ndata: {\"choices\":[],\"usage\":null}\n\n\
        data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\ndata: {\"usage\":{\"prompt_tokens\":2}}\n\n";
    let mut reader = StreamReader::new(WireFormat::Azure, true);
    assert_eq!(relay(&mut reader, stream.chunks(5)), stream);
    assert_eq!(reader.usage().input_tokens, 2);
}

#[test]
fn a_stream_cut_short_is_estimated() {
    let cut_before = |stream: &'static [u8], mark: &str| {
        let at = std::str::from_utf8(stream).unwrap().find(mark).unwrap();
        &stream[..at]
    };
    let cases: [(WireFormat, &[u8], u64, u64, bool); 4] = [
        // 9 + 14 bytes of text
        (WireFormat::OpenAi, cut_before(OPENAI, "data: [DONE]"), 19, 7, false),
        (WireFormat::OpenAi, cut_before(OPENAI, "\"choices\":[],"), 0, 6, true),
        // 26 bytes of text; the input was told
        (WireFormat::Anthropic, cut_before(golden!("anthropic/stream.sse"), "event: message_delta"), 1025, 7, true),
        // more was told than the text comes to
        (
            WireFormat::Gemini,
            cut_before(
                golden!("gemini/stream.sse"),
                "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"can",
            ),
            8,
            28,
            true,
        ),
    ];
    for (wire, stream, input_tokens, output_tokens, estimated) in cases {
        let mut reader = StreamReader::new(wire, false);
        relay(&mut reader, [stream]);
        let usage = reader.usage();
        assert_eq!(
            (usage.input_tokens, usage.output_tokens, usage.estimated),
            (input_tokens, output_tokens, estimated)
        );
    }
    assert_eq!(StreamReader::new(WireFormat::OpenAi, false).usage(), Usage::default());
}

#[test]
fn other_streams_are_counted_too() {
    let cases: [(&[u8], Usage); 2] = [
        (b"{\"message\":{\"content\":\"Hi\"},\"done\":false}\n{\"done\":true,\"prompt_eval_count\":7,\"eval_count\":8}\n", told(7, 8)),
        (b"event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"usage\":{\"tokens\":{\"input_tokens\":5,\"output_tokens\":6}}}}\n\n", told(5, 6)),
    ];
    for (stream, usage) in cases {
        let mut reader = StreamReader::new(WireFormat::OpenAi, false);
        assert_eq!(relay(&mut reader, stream.chunks(9)), stream);
        assert_eq!(reader.usage(), usage);
    }
}

#[test]
fn an_endless_event_ends_the_filtering_and_loses_nothing() {
    let head = b"data: {\"choices\":[{\"delta\":{\"content\":\"";
    let text = vec![b'x'; MAX_TAIL];
    let stream = [&head[..], &text, &text, b"\"}}]}\n\n", OPENAI].concat();
    for drop_usage_chunk in [false, true] {
        let mut reader = StreamReader::new(WireFormat::OpenAi, drop_usage_chunk);
        relay(&mut reader, stream[..2 * MAX_TAIL].chunks(100_000));
        let usage = reader.usage();
        assert!(usage.estimated && usage.output_tokens > (MAX_TAIL / 4) as u64 - 100);
        let mut reader = StreamReader::new(WireFormat::OpenAi, drop_usage_chunk);
        assert_eq!(relay(&mut reader, stream.chunks(100_000)), stream);
        assert_eq!((reader.usage().output_tokens, reader.usage().estimated), (7, false));
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_or_added(
        stream in "(data: (\\{\"(choices|usage|text|eval_count)\":(\\[\\]|null|\\{\\}|\"x)[,}\":]{0,3}|[a-z\\\\\"]{0,9})(\\n|\\r\\n|\\r){0,3}){0,8}",
        size in 1usize..40,
        wire in prop::sample::select(vec![WireFormat::OpenAi, WireFormat::Anthropic, WireFormat::Gemini]),
    ) {
        let mut reader = StreamReader::new(wire, true);
        prop_assert_eq!(relay(&mut reader, stream.as_bytes().chunks(size)), stream.as_bytes());
    }

    #[test]
    fn no_bytes_make_it_panic(stream in any::<Vec<u8>>(), size in 1usize..40) {
        let mut reader = StreamReader::new(WireFormat::OpenAi, false);
        relay(&mut reader, stream.chunks(size));
        let _ = (reader.usage(), Usage::from_response(WireFormat::Gemini, &stream));
    }
}
