//! One quick look at an event as it streams by: how much text is in it, and is it worth parsing?

use std::sync::LazyLock;

use memchr::{memchr2, memmem::Finder};

/// What a look at an event's bytes shows, without parsing them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Bytes of text the model wrote, as they stand in the JSON.
    pub(crate) text: u64,
    /// There may be usage in it: to be parsed.
    pub(crate) usage: bool,
    /// Says why the model stopped, in Gemini's way.
    pub(crate) finished: bool,
}

/// Looks at each `":` in turn, and at the name before it.
///
/// A name within a text cannot be taken for one, for there its quotes are escaped. `"usage":null`, which OpenAI sends
/// with every chunk, does not count as usage.
pub(crate) fn glance(event: &[u8]) -> Glance {
    let mut seen = Glance::default();
    let mut repeats = false;
    let mut at = 0;
    while let Some(hit) = event.get(at..).and_then(|rest| NAME_END.find(rest)) {
        let name_end = at + hit;
        at = name_end + 2;
        let Some(name) = Name::before(&event[..name_end]) else {
            continue;
        };
        while event.get(at) == Some(&b' ') {
            at += 1;
        }
        let value = &event[at.min(event.len())..];
        match (name, value.first()) {
            (Name::Text, Some(b'"')) => {
                let length = string_length(&value[1..]);
                seen.text += length as u64;
                at += 1 + length;
            }
            (Name::Usage, Some(b'{')) | (Name::Count, Some(b'0'..=b'9')) => seen.usage = true,
            (Name::Finish, Some(b'"')) => seen.finished = true,
            (Name::Type, _) => repeats |= is_summary(value),
            _ => {}
        }
    }
    if repeats {
        seen.text = 0;
    }
    seen
}

static NAME_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\":"));

#[derive(Clone, Copy)]
enum Name {
    Text,
    Usage,
    Count,
    Finish,
    Type,
}

impl Name {
    /// The name whose last letter is the last byte. The quote before it keeps `context` from being `text`.
    fn before(bytes: &[u8]) -> Option<Name> {
        let candidates: &[(&[u8], Name)] = match bytes.last()? {
            b't' => &[(b"content", Name::Text), (b"\"text", Name::Text), (b"\"eval_count", Name::Count)],
            b'a' => &[(b"\"delta", Name::Text), (b"\"usageMetadata", Name::Usage)],
            b's' => &[(b"\"arguments", Name::Text)],
            b'g' => &[(b"\"thinking", Name::Text), (b"\"reasoning", Name::Text)],
            b'e' => &[(b"\"usage", Name::Usage), (b"\"type", Name::Type), (b"\"response", Name::Text)],
            b'n' => {
                &[(b"\"partial_json", Name::Text), (b"\"finishReason", Name::Finish), (b"\"blockReason", Name::Finish)]
            }
            _ => return None,
        };
        candidates.iter().find(|(name, _)| bytes.ends_with(name)).map(|(_, name)| *name)
    }
}

/// An event of the Responses API that is not a delta repeats what the deltas brought.
fn is_summary(value: &[u8]) -> bool {
    value.strip_prefix(b"\"response.").is_some_and(|kind| !kind[..string_length(kind)].ends_with(b".delta"))
}

/// How long the string is whose opening quote was passed; all of it where it does not end.
fn string_length(inside: &[u8]) -> usize {
    let mut at = 0;
    while let Some(hit) = inside.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += hit;
        if inside[at] == b'"' {
            return at;
        }
        at += 2;
    }
    inside.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_measured_where_it_stands() {
        let cases: [(&str, u64); 12] = [
            (r#"{"choices":[{"delta":{"content":"Hello"}}],"usage":null}"#, 5),
            (r#"{"choices":[{"delta":{"content": "a\"b"}}]}"#, 4),
            (r#"{"choices":[{"delta":{"reasoning_content":"abc","content":null}}]}"#, 3),
            (r#"{"choices":[{"delta":{"content":"{\"text\":\"no\"}"}}]}"#, 17),
            (r#"{"choices":[{"text":"abc"}],"context":"no"}"#, 3),
            (r#"{"type":"response.output_text.delta","delta":"abcd"}"#, 4),
            (r#"{"type":"response.output_text.done","text":"abcd"}"#, 0),
            (r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"ab"}}"#, 2),
            (r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{"}}"#, 1),
            (r#"{"candidates":[{"content":{"parts":[{"text":"abc"}]}}]}"#, 3),
            (r#"{"content":"cut of"#, 6),
            (r#"{"content":"cut of\"#, 7),
        ];
        for (event, text) in cases {
            assert_eq!(glance(event.as_bytes()).text, text, "{event}");
        }
    }

    #[test]
    fn usage_is_noticed_only_where_it_can_be() {
        let cases = [
            (r#"{"usage":{"prompt_tokens":1}}"#, true),
            (r#"{"usage": {"prompt_tokens":1}}"#, true),
            (r#"{"usage":null}"#, false),
            (r#"{"content":"\"usage\":{"}"#, false),
            (r#"{"usageMetadata":{}}"#, true),
            (r#"{"prompt_eval_count":1,"eval_count":5}"#, true),
            (r#"{"usage":"#, false),
            (r#"""#, false),
            (r#"":"#, false),
        ];
        for (event, usage) in cases {
            assert_eq!(glance(event.as_bytes()).usage, usage, "{event}");
        }
        assert!(glance(br#"{"finishReason":"STOP"}"#).finished);
    }
}
