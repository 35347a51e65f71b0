//! How many tokens the answers on a WebSocket took, read from a provider's frames as they pass (RFC 6455).

use std::borrow::Cow;

use memchr::memmem;

use crate::{Usage, WireFormat};

/// The longest message that is read; a longer one is skipped, and what was counted is then a guess.
const MAX_MESSAGE: usize = 256 * 1024;
/// The most room kept from one message to the next.
const MAX_KEPT: usize = 16 * 1024;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// Reads the frames a provider sends, in pieces of any length, and adds up the usage that each `response.done` tells.
#[derive(Debug, Default)]
pub struct SocketReader {
    head: Head,
    /// What is still to come of the frame's content.
    left: u64,
    /// What the frame's content is part of.
    part: Part,
    /// The text message of which some has come.
    message: Vec<u8>,
    /// Whether such a message is under way, and is to be skipped.
    is_text: bool,
    skips: bool,
    closed: bool,
    /// Answers that were begun and not ended.
    open: u64,
    total: Usage,
}

/// The beginning of a frame, as far as it has come.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; 14],
    length: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Of nothing that is read.
    #[default]
    Other,
    /// Of a text message that goes on after this frame.
    More,
    /// Of a text message that ends with this frame.
    Last,
}

impl SocketReader {
    /// A reader of a connection on which no frame was sent.
    pub fn new() -> SocketReader {
        SocketReader::default()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                bytes = self.take_head(bytes);
                continue;
            }
            let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (content, rest) = bytes.split_at(here);
            self.left -= here as u64;
            bytes = rest;
            self.take_content(content);
        }
    }

    /// Whether the bytes so far end where a frame does.
    pub fn is_between_frames(&self) -> bool {
        self.left == 0 && self.head.length == 0
    }

    /// Whether the provider said that it closes the connection.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether an answer was begun and not ended.
    pub fn is_answering(&self) -> bool {
        self.open > 0
    }

    /// The usage, were the connection to end here. What an answer took that was begun and not ended is not known.
    pub fn usage(&self) -> Usage {
        Usage { estimated: self.total.estimated || self.is_answering(), ..self.total }
    }

    /// Takes what belongs to a frame's head; gives what follows it.
    fn take_head<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let missing = self.head.missing();
        let (more, rest) = bytes.split_at(missing.min(bytes.len()));
        self.head.bytes[self.head.length..self.head.length + more.len()].copy_from_slice(more);
        self.head.length += more.len();
        if self.head.missing() == 0 {
            self.begin();
        }
        rest
    }

    /// Begins the content of the frame whose head has come.
    fn begin(&mut self) {
        let head = std::mem::take(&mut self.head);
        let [first, second, ..] = head.bytes;
        let opcode = first & 0x0f;
        self.left = head.content();
        self.closed |= opcode == CLOSE;
        self.part = Part::Other;
        // Frames of control may stand within a message and are no part of it.
        if opcode >= CLOSE {
            return;
        }
        if opcode != CONTINUATION {
            self.message.clear();
            self.is_text = opcode == TEXT;
            self.skips = false;
        }
        if !self.is_text {
            return;
        }
        // Neither masks nor extensions are what a provider may send here: such content cannot be read.
        if first & 0x70 != 0 || second & 0x80 != 0 {
            self.skip();
        }
        self.part = if first & 0x80 != 0 { Part::Last } else { Part::More };
        if self.left == 0 {
            self.end_part();
        }
    }

    fn take_content(&mut self, content: &[u8]) {
        if self.part != Part::Other && !self.skips {
            if self.part == Part::Last && self.left == 0 && self.message.is_empty() {
                // The whole message is at hand.
                self.read(content);
                self.is_text = false;
                return;
            }
            if self.message.len() + content.len() > MAX_MESSAGE {
                self.skip();
            } else {
                self.message.extend_from_slice(content);
            }
        }
        if self.left == 0 {
            self.end_part();
        }
    }

    fn end_part(&mut self) {
        if self.part != Part::Last {
            return;
        }
        let message = std::mem::take(&mut self.message);
        if !self.skips {
            self.read(&message);
        }
        self.is_text = false;
        if message.capacity() <= MAX_KEPT {
            self.message = message;
            self.message.clear();
        }
    }

    fn skip(&mut self) {
        self.skips = true;
        self.message = Vec::new();
        self.total.estimated = true;
    }

    fn read(&mut self, message: &[u8]) {
        // Most messages are pieces of sound or text, and most of those have neither.
        if memmem::find(message, b"response.done").is_none() && memmem::find(message, b"response.created").is_none() {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Event>(message) else { return };
        match event.kind.as_ref() {
            "response.created" => self.open += 1,
            "response.done" => {
                self.open = self.open.saturating_sub(1);
                self.add(Usage::from_response(WireFormat::OpenAi, message));
            }
            _ => {}
        }
    }

    fn add(&mut self, usage: Usage) {
        self.total = Usage {
            input_tokens: self.total.input_tokens.saturating_add(usage.input_tokens),
            output_tokens: self.total.output_tokens.saturating_add(usage.output_tokens),
            seen: self.total.seen || usage.seen,
            estimated: self.total.estimated || usage.estimated,
        };
    }
}

impl Head {
    /// How many bytes more must come before the next step.
    fn missing(&self) -> usize {
        let whole = match self.length {
            0 | 1 => 2,
            _ => {
                let extended = match self.bytes[1] & 0x7f {
                    126 => 2,
                    127 => 8,
                    _ => 0,
                };
                2 + extended + if self.bytes[1] & 0x80 != 0 { 4 } else { 0 }
            }
        };
        whole - self.length
    }

    /// The length of the content.
    fn content(&self) -> u64 {
        let extended =
            |length: usize| self.bytes[2..2 + length].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        match self.bytes[1] & 0x7f {
            126 => extended(2),
            127 => extended(8),
            short => u64::from(short),
        }
    }
}

#[derive(serde::Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

/// A frame of a server's by which it closes a connection, and says why.
pub fn close_frame(code: u16, why: &str) -> Vec<u8> {
    // A frame of control has at most 125 bytes.
    let why = why.get(..why.len().min(123)).unwrap_or_default();
    let mut frame = vec![0x80 | CLOSE, 2 + why.len() as u8];
    frame.extend(code.to_be_bytes());
    frame.extend(why.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, content: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match content.len() {
            length @ 0..126 => frame.push(length as u8),
            length @ 126..65536 => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(content);
        frame
    }

    fn done(input: u64, output: u64) -> Vec<u8> {
        format!(
            r#"{{"type":"response.done","response":{{"status":"completed","usage":{{"total_tokens":0,"input_tokens":{input},"output_tokens":{output}}}}}}}"#
        )
        .into_bytes()
    }

    fn told(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, seen: true, estimated: false }
    }

    #[test]
    fn usage_is_found_in_whole_and_fragmented_messages_however_the_bytes_come() {
        let done = done(5, 7);
        let mut bytes = frame(0x81, br#"{"type":"response.created"}"#);
        bytes.extend(frame(0x82, b"\x00response.done"));
        bytes.extend(frame(0x81, &done));
        bytes.extend(frame(0x81, br#"{"type":"response.created"}"#));
        bytes.extend(frame(0x01, &done[..10]));
        bytes.extend(frame(0x89, b"ping within a message"));
        bytes.extend(frame(0x00, b""));
        bytes.extend(frame(0x00, &done[10..40]));
        bytes.extend(frame(0x80, &done[40..]));
        bytes.extend(frame(0x81, &[b"\"response.done ".as_slice(), &[b'x'; 70_000], b"\""].concat()));
        for size in [1, 2, 3, 7, 64, 1000, bytes.len()] {
            let mut reader = SocketReader::new();
            bytes.chunks(size).for_each(|chunk| reader.push(chunk));
            assert_eq!(reader.usage(), told(10, 14), "in pieces of {size}");
            assert!(reader.is_between_frames() && !reader.is_closed());
        }
    }

    #[test]
    fn only_an_event_of_that_type_counts() {
        let mut reader = SocketReader::new();
        reader.push(&frame(0x81, br#"{"type":"x","text":"response.done","response":{"usage":{"input_tokens":5}}}"#));
        reader.push(&frame(0x81, br#"{"type":"response.done","response":{"usage":null}}"#));
        reader.push(&frame(0x81, b"response.done"));
        assert_eq!(reader.usage(), Usage::default());
    }

    #[test]
    fn what_cannot_be_read_or_is_not_ended_makes_it_an_estimate() {
        let long = [b'x'; MAX_MESSAGE + 1];
        let compressed = frame(0xc1, &done(1, 1));
        let masked = [&[0x81, 0x85, 1, 2, 3, 4][..], b"abcde"].concat();
        let in_parts = [frame(0x01, &long[..MAX_MESSAGE]), frame(0x80, b"xx")].concat();
        for unread in [frame(0x81, &long), compressed, masked, in_parts] {
            let mut reader = SocketReader::new();
            unread.chunks(5000).for_each(|chunk| reader.push(chunk));
            reader.push(&frame(0x81, &done(5, 7)));
            assert_eq!(reader.usage(), Usage { estimated: true, ..told(5, 7) });
            assert!(reader.message.capacity() <= MAX_MESSAGE);
        }
        let mut reader = SocketReader::new();
        reader.push(&frame(0x82, &long));
        assert!(!reader.usage().estimated, "sound tells no usage");
        reader.push(&frame(0x81, br#"{"type":"response.created"}"#));
        assert!(reader.usage().estimated, "it was begun and not ended");
    }

    #[test]
    fn a_frame_that_has_begun_and_a_close_are_noticed() {
        let mut reader = SocketReader::new();
        assert!(reader.is_between_frames());
        for byte in [0x81, 2, b'a'] {
            reader.push(&[byte]);
            assert!(!reader.is_between_frames());
        }
        reader.push(b"b");
        assert!(reader.is_between_frames() && !reader.is_closed());
        let close = close_frame(1008, &"why ".repeat(40));
        assert_eq!((close.len(), &close[..4]), (127, &[0x88, 125, 0x03, 0xf0][..]));
        reader.push(&close);
        assert!(reader.is_between_frames() && reader.is_closed());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, size in 1_usize..50) {
            let mut reader = SocketReader::new();
            bytes.chunks(size).for_each(|chunk| reader.push(chunk));
            reader.usage();
        }
    }
}
