//! Reads from the side what a provider compressed although nobody had asked it to; what passes stays as it came.

use std::{
    io::{self, Write},
    sync::Arc,
};

use flate2::write::GzDecoder;
use http::{HeaderMap, header};
use llm::{StreamReader, Usage, WireFormat};

use super::{
    body::{Budget, Kept},
    meter::{MAX_KEPT, UNCOUNTED},
};

/// The most of a stream that is decompressed, in bytes: a few of them may stand for any number.
const MAX_DECOMPRESSED: usize = 64 * 1024 * 1024;

/// How the bytes of an answer are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Plain,
    /// With gzip, once.
    Gzip,
    /// In a way that is not read.
    Other,
}

impl Coding {
    /// What an answer's head says of it.
    pub fn of(headers: &HeaderMap) -> Coding {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Coding::Plain };
        let is = |name: &[u8]| value.as_bytes().trim_ascii().eq_ignore_ascii_case(name);
        match values.next() {
            None if is(b"") || is(b"identity") => Coding::Plain,
            None if is(b"gzip") || is(b"x-gzip") => Coding::Gzip,
            _ => Coding::Other,
        }
    }
}

/// Reads the usage from a compressed answer.
pub struct Gunzip {
    decoder: GzDecoder<Text>,
    begun: bool,
    /// Some of it could not be read.
    lost: bool,
}

/// What comes out of the decoder, which hands it on in small parts.
struct Text {
    reading: Reading,
    /// How much more is taken.
    left: usize,
}

enum Reading {
    Json { wire: WireFormat, text: Vec<u8>, budget: Arc<Budget>, kept: Vec<Kept> },
    Events { reader: StreamReader, out: Vec<u8> },
}

impl Gunzip {
    /// Begins to read a JSON document.
    pub fn json(wire: WireFormat, budget: &Arc<Budget>) -> Gunzip {
        let reading = Reading::Json { wire, text: Vec::new(), budget: Arc::clone(budget), kept: Vec::new() };
        Gunzip::new(reading, MAX_KEPT)
    }

    /// Begins to read a stream of events.
    pub fn events(wire: WireFormat) -> Gunzip {
        let reading = Reading::Events { reader: StreamReader::new(wire, false), out: Vec::new() };
        Gunzip::new(reading, MAX_DECOMPRESSED)
    }

    fn new(reading: Reading, left: usize) -> Gunzip {
        Gunzip { decoder: GzDecoder::new(Text { reading, left }), begun: false, lost: false }
    }

    /// Reads the next bytes that pass.
    pub fn push(&mut self, data: &[u8]) {
        if self.lost || data.is_empty() {
            return;
        }
        self.begun = true;
        // Flushed, for nothing may follow: what has passed is to be counted then.
        self.lost = self.decoder.write_all(data).and_then(|()| self.decoder.flush()).is_err();
    }

    /// Ends an answer that came whole.
    pub fn end(&mut self) {
        if !self.begun {
            return;
        }
        self.lost = self.lost || self.decoder.try_finish().is_err();
        if let Reading::Events { reader, .. } = &mut self.decoder.get_mut().reading {
            reader.finish();
        }
    }

    /// The usage so far; an estimate where not all of it could be read.
    pub fn usage(&self) -> Usage {
        if !self.begun {
            return Usage { seen: true, ..Usage::default() };
        }
        let usage = match &self.decoder.get_ref().reading {
            Reading::Json { wire, text, .. } => Usage::from_response(*wire, text),
            Reading::Events { reader, .. } => reader.usage(),
        };
        Usage { estimated: usage.estimated || self.lost, ..usage }
    }
}

impl Write for Text {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(data.len());
        self.left = left.unwrap_or(0);
        match &mut self.reading {
            Reading::Events { reader, out } if left.is_some() => {
                reader.push(data, out);
            }
            Reading::Json { text, budget, kept, .. } if left.is_some() => {
                // A small one needs no account.
                if text.len() + data.len() > UNCOUNTED {
                    kept.push(budget.take(data.len()).ok_or_else(too_much)?);
                }
                text.extend_from_slice(data);
            }
            Reading::Json { text, kept, .. } => {
                (*text, *kept) = (Vec::new(), Vec::new());
                return Err(too_much());
            }
            Reading::Events { .. } => return Err(too_much()),
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_much() -> io::Error {
    io::Error::other("more than is decompressed")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;

    use super::*;

    const STREAM: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hello, you\"}}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n";

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn told(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, seen: true, estimated: false }
    }

    #[test]
    fn pieces_of_any_size_come_to_the_same() {
        let bytes = compressed(STREAM);
        for size in [1, 7, bytes.len()] {
            let mut gunzip = Gunzip::events(WireFormat::OpenAi);
            bytes.chunks(size).for_each(|piece| gunzip.push(piece));
            gunzip.end();
            assert_eq!(gunzip.usage(), told(9, 12), "in pieces of {size}");
        }
    }

    #[test]
    fn what_was_flushed_is_counted_before_the_end_comes() {
        let (first, rest) = STREAM.split_at(STREAM.iter().position(|byte| *byte == b'\n').unwrap() + 2);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(first).unwrap();
        encoder.flush().unwrap();
        let mut gunzip = Gunzip::events(WireFormat::OpenAi);
        gunzip.push(encoder.get_ref());
        assert_eq!(gunzip.usage(), Usage { output_tokens: 3, estimated: true, ..Usage::default() });

        let passed = encoder.get_ref().len();
        encoder.write_all(rest).unwrap();
        gunzip.push(&encoder.finish().unwrap()[passed..]);
        gunzip.end();
        assert_eq!(gunzip.usage(), told(9, 12));
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_an_estimate() {
        let whole = compressed(br#"{"usage":{"prompt_tokens":9,"completion_tokens":12}}"#);
        let longer = [&whole[..], b"and more"].concat();
        for (bytes, estimated) in
            [(&whole[..], false), (&whole[..whole.len() - 1], true), (&whole[..12], true), (&longer[..], true)]
        {
            let mut gunzip = Gunzip::json(WireFormat::OpenAi, &Arc::default());
            gunzip.push(bytes);
            gunzip.end();
            assert_eq!(gunzip.usage().estimated, estimated, "{} bytes", bytes.len());
        }
        assert_eq!(Gunzip::events(WireFormat::OpenAi).usage(), told(0, 0), "nothing came");
    }

    #[test]
    fn past_the_bound_nothing_is_read() {
        let reading = Reading::Events { reader: StreamReader::new(WireFormat::OpenAi, false), out: Vec::new() };
        let mut gunzip = Gunzip::new(reading, STREAM.len() - 1);
        gunzip.push(&compressed(STREAM));
        assert_eq!(gunzip.usage(), Usage { estimated: true, ..Usage::default() });
    }

    #[test]
    fn the_head_tells_the_coding() {
        let cases: [(&[&str], Coding); 8] = [
            (&[], Coding::Plain),
            (&["identity"], Coding::Plain),
            (&["GZIP"], Coding::Gzip),
            (&["x-gzip"], Coding::Gzip),
            (&["br"], Coding::Other),
            (&["deflate"], Coding::Other),
            (&["gzip, gzip"], Coding::Other),
            (&["gzip", "gzip"], Coding::Other),
        ];
        for (values, coding) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(Coding::of(&headers), coding, "{values:?}");
        }
    }
}
