//! How many tokens a call took, by the provider's own count.

mod shape;

use crate::WireFormat;
use crate::glance::Glance;
use shape::{Counts, Document};

/// The tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens that were sent, those read from and written to the provider's cache included.
    pub input_tokens: u64,
    /// Tokens the model wrote, its reasoning included.
    pub output_tokens: u64,
    /// The provider told at least one of the two.
    pub seen: bool,
    /// At least one of the two is a guess, or a number that the provider told was absurd and left out.
    pub estimated: bool,
}

impl Usage {
    /// The usage that a whole, non-streamed answer tells; all zero and not `seen` where it tells none.
    ///
    /// An array, as Gemini streams it without `alt=sse`, is read item by item.
    pub fn from_response(wire: WireFormat, body: &[u8]) -> Usage {
        let mut tally = Tally::new(wire);
        let read = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[') => serde_json::from_slice::<Vec<Document>>(body)
                .map(|documents| documents.iter().for_each(|document| tally.add(document))),
            _ => serde_json::from_slice(body).map(|document| tally.add(&document)),
        };
        if read.is_err() {
            tally.absurd = memchr::memmem::find(body, b"\"usage").is_some();
        }
        tally.finished = true;
        tally.usage()
    }
}

/// Bytes of text we take for one token where nobody counted: about right for English, low for most other scripts.
const TEXT_BYTES_PER_TOKEN: u64 = 4;

/// What was counted so far.
#[derive(Debug)]
pub(crate) struct Tally {
    wire: WireFormat,
    /// Fresh, written to the cache, read from it: Anthropic tells them apart, and not all of them each time.
    input: [Option<u64>; 3],
    output: Option<u64>,
    /// Bytes of text that passed.
    text: u64,
    /// A number made no sense, or what should hold numbers could not be read.
    absurd: bool,
    /// Bytes passed unread.
    lost: bool,
    /// What was told last is final.
    finished: bool,
}

impl Tally {
    pub(crate) fn new(wire: WireFormat) -> Self {
        Tally { wire, input: [None; 3], output: None, text: 0, absurd: false, lost: false, finished: false }
    }

    /// Takes a streamed event; says whether it is the chunk that exists only to carry the usage.
    pub(crate) fn event(&mut self, glance: Glance, data: impl AsRef<[u8]>) -> bool {
        if self.wire == WireFormat::Gemini {
            self.finished |= glance.finished;
        }
        self.text = self.text.saturating_add(glance.text);
        if !glance.usage {
            return false;
        }
        match serde_json::from_slice::<Document>(data.as_ref()) {
            Ok(document) => {
                self.add(&document);
                self.is_openai() && document.choices.is_empty() && document.usage.is_some()
            }
            Err(_) => {
                self.absurd = true;
                false
            }
        }
    }

    /// Notes that bytes passed in which usage may have stood. What is told later, being final, makes up for it.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// The usage, were the stream to end here: where the final count has not come, what the text comes to.
    pub(crate) fn usage(&self) -> Usage {
        let seen = self.input.iter().chain([&self.output]).any(Option::is_some);
        let guess = self.text.div_ceil(TEXT_BYTES_PER_TOKEN);
        let (output, guessed) = match self.output {
            Some(told) if self.finished => (told, false),
            told => (told.unwrap_or(0).max(guess), guess > 0 || (seen && !self.finished)),
        };
        Usage {
            input_tokens: self.input.iter().flatten().fold(0, |sum, n| sum.saturating_add(*n)),
            output_tokens: output,
            seen,
            estimated: self.absurd || guessed || (self.lost && !self.finished),
        }
    }

    fn add(&mut self, document: &Document) {
        match self.wire {
            WireFormat::OpenAi | WireFormat::Azure => self.add_openai(document),
            WireFormat::Anthropic => self.add_anthropic(document),
            WireFormat::Gemini => self.add_gemini(document),
        }
    }

    /// OpenAI's fields; where they are absent, those of the providers that speak its format but for this.
    fn add_openai(&mut self, document: &Document) {
        let counts = document.counts();
        let input = [
            counts.and_then(|c| self.sane(c.prompt_tokens)),
            counts.and_then(|c| self.sane(c.input_tokens)),
            counts.and_then(Counts::nested).and_then(|c| self.sane(c.input_tokens)),
            self.sane(document.prompt_eval_count),
        ];
        let output = [
            counts.and_then(|c| self.sane(c.completion_tokens).map(|told| told + c.reasoning_apart())),
            counts.and_then(|c| self.sane(c.output_tokens)),
            counts.and_then(Counts::nested).and_then(|c| self.sane(c.output_tokens)),
            self.sane(document.eval_count),
        ];
        let (input, output) = (input.into_iter().flatten().next(), output.into_iter().flatten().next());
        if input.is_some() || output.is_some() {
            (self.input[0], self.output, self.finished) = (input, output, true);
        }
    }

    /// `message_start` tells the input, `message_delta` the output so far and whatever of the input has changed.
    fn add_anthropic(&mut self, document: &Document) {
        let Some(counts) = document.counts() else {
            return;
        };
        let input = [counts.input_tokens, counts.cache_creation_input_tokens, counts.cache_read_input_tokens];
        for (slot, count) in input.into_iter().enumerate() {
            self.input[slot] = self.sane(count).or(self.input[slot]);
        }
        let output = self.sane(counts.output_tokens);
        self.output = output.or(self.output);
        self.finished |= document.usage.is_some() && output.is_some();
    }

    /// Each chunk tells all of it so far.
    fn add_gemini(&mut self, document: &Document) {
        let Some(counts) = document.usage_metadata.get() else {
            return;
        };
        let prompt = self.sane(counts.prompt_token_count);
        let tools = self.sane(counts.tool_use_prompt_token_count);
        self.input = [prompt, tools, None];
        let candidates = self.sane(counts.candidates_token_count);
        let thoughts = self.sane(counts.thoughts_token_count);
        self.output = match (candidates, thoughts) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
    }

    fn sane(&mut self, count: shape::Count) -> Option<u64> {
        self.absurd |= count == shape::Count::Absurd;
        match count {
            shape::Count::Told(number) => Some(number),
            _ => None,
        }
    }

    fn is_openai(&self) -> bool {
        matches!(self.wire, WireFormat::OpenAi | WireFormat::Azure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, seen: true, estimated: false }
    }

    #[test]
    fn every_shape_of_answer_is_read() {
        use WireFormat::*;
        let none = Usage::default();
        let cases: [(WireFormat, &str, Usage); 20] = [
            (
                OpenAi,
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#,
                told(9, 4),
            ),
            (Azure, r#"{"usage":{"prompt_tokens":9,"completion_tokens":4}}"#, told(9, 4)),
            (OpenAi, r#"{"object":"response","usage":{"input_tokens":9,"output_tokens":4}}"#, told(9, 4)),
            (
                OpenAi,
                r#"{"data":[{"embedding":[0.5,-1e-3]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
                told(8, 0),
            ),
            (
                OpenAi,
                r#"{"usage":{"tokens":{"input_tokens":5,"output_tokens":6},"billed_units":{"input_tokens":1}}}"#,
                told(5, 6),
            ),
            (OpenAi, r#"{"meta":{"billed_units":{"input_tokens":5.0}}}"#, told(5, 0)),
            (OpenAi, r#"{"message":{"content":"x"},"prompt_eval_count":7,"eval_count":8}"#, told(7, 8)),
            (OpenAi, r#"{"choices":[{"message":{"tool":{"usage":{"prompt_tokens":9}}}}]}"#, none),
            (OpenAi, r#"{"usage":null}"#, none),
            (OpenAi, r#"{"usage":{"type":"duration","seconds":3}}"#, none),
            (OpenAi, "<html>", none),
            (OpenAi, r#"{"usage":{"prompt_tokens":9"#, Usage { estimated: true, ..none }),
            (
                Anthropic,
                r#"{"content":[{"type":"tool_use","input":{"usage":{"output_tokens":1}}}],"usage":{"input_tokens":1,
                    "cache_creation_input_tokens":10,"cache_read_input_tokens":100,"output_tokens":5}}"#,
                told(111, 5),
            ),
            (Anthropic, r#"{"input_tokens":14}"#, none),
            (
                Gemini,
                r#"{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":5,"thoughtsTokenCount":6,"totalTokenCount":15}}"#,
                told(4, 11),
            ),
            (
                Gemini,
                r#"[{"usageMetadata":{"promptTokenCount":4}},{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":5}}]"#,
                told(4, 5),
            ),
            (Gemini, r#"{"totalTokens":5}"#, none),
            (Gemini, "[]", none),
            (OpenAi, "", none),
            (OpenAi, r#"[{"id":"model-a"}]"#, none),
        ];
        for (wire, body, usage) in cases {
            assert_eq!(Usage::from_response(wire, body.as_bytes()), usage, "{wire:?} {body}");
        }
    }

    #[test]
    fn absurd_numbers_are_left_out_and_flagged() {
        for number in ["-1", "1.5", "4294967297", "1e300", "\"9\"", "true", "[1]", "{\"a\":1}"] {
            let body = format!(r#"{{"usage":{{"prompt_tokens":{number},"completion_tokens":4}}}}"#);
            let expected = Usage { estimated: true, ..told(0, 4) };
            assert_eq!(Usage::from_response(WireFormat::OpenAi, body.as_bytes()), expected, "{number}");
        }
        let most = 1u64 << 32;
        let body = format!(
            r#"{{"usage":{{"input_tokens":{most},"cache_creation_input_tokens":{most},"cache_read_input_tokens":{most}}}}}"#
        );
        assert_eq!(Usage::from_response(WireFormat::Anthropic, body.as_bytes()).input_tokens, most * 3);
        let body = r#"{"usage":{"prompt_tokens":1e999}}"#;
        assert_eq!(
            Usage::from_response(WireFormat::OpenAi, body.as_bytes()),
            Usage { estimated: true, ..Usage::default() }
        );
    }
}
