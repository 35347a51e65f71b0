//! Cuts a stream into its events, wherever the chunks that bring it may break.

use std::borrow::Cow;
use std::mem;

use memchr::memchr2;

/// How many bytes of an unfinished event are kept.
pub const MAX_TAIL: usize = 1 << 20;

/// What of the tail's room is kept from one event to the next; many streams are open at once.
const KEPT_ROOM: usize = 16 << 10;

/// Cuts server-sent events apart at their blank lines, whether lines end in `\n`, `\r\n` or `\r`.
///
/// A stream that starts with `{` is taken for one JSON value a line, as Ollama sends it, and is cut at its lines.
/// Of an event longer than [`MAX_TAIL`] that does not come in one chunk, nothing is kept and nothing reported.
#[derive(Debug, Default)]
pub struct EventSplitter {
    tail: Vec<u8>,
    shape: Shape,
    /// The line that is being read has a byte in it.
    in_line: bool,
    /// The last byte was `\r`, so that a `\n` now belongs to the same line end.
    after_cr: bool,
    /// Within an event whose beginning was given up.
    skipping: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    #[default]
    Unknown,
    Events,
    Lines,
}

impl EventSplitter {
    /// A splitter at the start of a stream.
    pub fn new() -> Self {
        EventSplitter::default()
    }

    /// Takes the next bytes and reports every event they complete, its blank line included.
    ///
    /// The reported events and what is then [`held`](Self::held) are, one after the other, the bytes of the stream,
    /// but for events that grew too long: at the chunk with which that happens, the bytes held of it are returned.
    pub fn push(&mut self, chunk: &[u8], mut on_event: impl FnMut(&[u8])) -> Option<Vec<u8>> {
        self.look_at_start(chunk);
        let mut rest = chunk;
        while let Some(end) = self.find_end(rest) {
            let (event, after) = rest.split_at(end);
            rest = after;
            if mem::take(&mut self.skipping) {
                continue;
            }
            if self.tail.is_empty() {
                on_event(event);
            } else {
                self.tail.extend_from_slice(event);
                on_event(&self.tail);
                self.tail.clear();
                self.tail.shrink_to(KEPT_ROOM);
            }
        }
        if self.skipping {
            return None;
        }
        self.tail.extend_from_slice(rest);
        if self.tail.len() <= MAX_TAIL {
            return None;
        }
        self.skipping = true;
        Some(mem::take(&mut self.tail))
    }

    /// The bytes of the event that is not complete yet.
    pub fn held(&self) -> &[u8] {
        &self.tail
    }

    /// Gives up the bytes of the event that is not complete; the stream has ended.
    pub fn take_held(&mut self) -> Vec<u8> {
        mem::take(&mut self.tail)
    }

    fn look_at_start(&mut self, chunk: &[u8]) {
        if self.shape == Shape::Unknown {
            self.shape = match chunk.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => Shape::Unknown,
                Some(b'{') => Shape::Lines,
                Some(_) => Shape::Events,
            };
        }
    }

    /// Where the first event ends in these bytes, which follow all that was looked at before.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            at += usize::from(bytes[0] == b'\n');
        }
        loop {
            let Some(length) = memchr2(b'\n', b'\r', &bytes[at..]) else {
                self.in_line |= at < bytes.len();
                return None;
            };
            let ends = self.shape == Shape::Lines || (length == 0 && !self.in_line);
            at += length + 1;
            self.in_line = false;
            if bytes[at - 1] == b'\r' {
                match bytes.get(at) {
                    Some(next) => at += usize::from(*next == b'\n'),
                    None => self.after_cr = true,
                }
            }
            if ends {
                return Some(at);
            }
        }
    }
}

/// The data of an event: its `data` lines joined by `\n`, or the whole of it where it is a line of JSON.
pub(crate) fn data(event: &[u8]) -> Cow<'_, [u8]> {
    let event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    if event.first() == Some(&b'{') {
        return Cow::Borrowed(event);
    }
    let mut lines = event.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| {
        let value = line.strip_prefix(b"data:")?;
        Some(value.strip_prefix(b" ").unwrap_or(value))
    });
    let mut data = Cow::Borrowed(lines.next().unwrap_or_default());
    for line in lines {
        let data = data.to_mut();
        data.push(b'\n');
        data.extend_from_slice(line);
    }
    data
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut splitter, mut events) = (EventSplitter::new(), Vec::new());
        for chunk in chunks {
            assert_eq!(splitter.push(chunk, |event| events.push(event.to_vec())), None);
        }
        (events, splitter.take_held())
    }

    fn datas(events: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let datas = events.iter().map(|event| data(event).into_owned());
        datas.filter(|data| !data.is_empty()).collect()
    }

    #[test]
    fn every_line_end_cuts() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = ": hello\n\nevent: x\ndata: é1\ndata:2\n\ndata: [DONE]\n\nda".replace('\n', end);
            let bytes = stream.as_bytes();
            for cut in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                let (events, held) = split([head, tail]);
                assert_eq!(datas(&events), [b"\xc3\xa91\n2".to_vec(), b"[DONE]".to_vec()], "{end:?} {cut}");
                assert_eq!([events.concat(), held.clone()].concat(), bytes);
                assert!(held.ends_with(b"da"));
            }
            let (events, _) = split(bytes.chunks(1));
            assert_eq!(datas(&events).len(), 2);
        }
    }

    #[test]
    fn lines_of_json_are_events() {
        let (events, held) = split([&b"{\"a\":1}\n{\"b\""[..], b":2}\r\n{"]);
        assert_eq!(events, [b"{\"a\":1}\n".to_vec(), b"{\"b\":2}\r\n".to_vec()]);
        assert_eq!(held, b"{");
    }

    #[test]
    fn an_endless_event_is_given_up() {
        let mut splitter = EventSplitter::new();
        let chunk = vec![b'x'; MAX_TAIL];
        assert_eq!(splitter.push(&chunk, |_| unreachable!()), None);
        assert_eq!(splitter.push(b"yz", |_| unreachable!()).unwrap().len(), MAX_TAIL + 2);
        assert!(splitter.held().is_empty());
        assert_eq!(splitter.push(&chunk, |_| unreachable!()), None);
        assert!(splitter.held().is_empty());
        let mut events = Vec::new();
        splitter.push(b"\n\ndata: on\n\n", |event| events.push(event.to_vec()));
        assert_eq!(events, [b"data: on\n\n".to_vec()]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_chunks_do_not_matter(
            bytes in "[a:\\n\\r]{0,40}|(data: [a-z{}\"]{0,5}(\\n|\\r\\n|\\r){1,2}){0,6}",
            sizes in prop::collection::vec(1usize..7, 1..12),
        ) {
            let bytes = bytes.as_bytes();
            let (mut rest, mut chunks, mut sizes) = (bytes, Vec::new(), sizes.into_iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            let (events, held) = split(chunks);
            prop_assert_eq!([events.concat(), held].concat(), bytes);
            prop_assert_eq!(datas(&events), datas(&split([bytes]).0));
        }
    }
}
