//! What is read of a call and its answer: `cargo bench -p llm`.

use divan::{Bencher, counter::BytesCount};
use llm::{StreamReader, Usage, WireFormat, scan};

fn main() {
    divan::main();
}

/// A chat with one message of about that many bytes.
fn chat(bytes: usize) -> String {
    format!(
        "{{\"model\":\"small\",\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}],\"temperature\":0.7,\"stream\":true}}",
        "words and \\\"words\\\" ".repeat(bytes / 18 + 1)
    )
}

#[divan::bench(args = [230, 4_096, 1_048_576])]
fn body(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = chat(bytes);
    bencher.counter(BytesCount::of_str(&body)).bench(|| scan(divan::black_box(body.as_bytes())).is_ok());
}

#[divan::bench(args = [false, true])]
fn stream_of_a_hundred_events(bencher: Bencher<'_, '_>, drop_usage_chunk: bool) {
    let event = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":\
                 {\"content\":\" word\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    bencher.counter(BytesCount::new(event.len() * 100)).bench(|| {
        let mut reader = StreamReader::new(WireFormat::OpenAi, drop_usage_chunk);
        let mut out = Vec::new();
        for _ in 0..100 {
            divan::black_box(reader.push(divan::black_box(event.as_bytes()), &mut out));
        }
        reader.usage()
    });
}

#[divan::bench]
fn usage_of_an_answer(bencher: Bencher<'_, '_>) {
    let answer = include_bytes!("../testdata/openai/success.json");
    bencher.bench(|| Usage::from_response(WireFormat::OpenAi, divan::black_box(answer)));
}
