//! Chunks of a body (RFC 9112, section 7.1), decoded as they come.

/// The longest line of a chunk's size, with its extensions, and the most bytes of trailers.
const MAX_LINE: usize = 8 * 1024;

/// Where in its chunks a body is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    /// Bytes since the last chunk's data: of its end and the next one's size, or of all trailers.
    line: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum At {
    /// In the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// Behind them: white space and extensions, which mean nothing here.
    Extension { size: u64 },
    /// Before the line feed that ends a size.
    SizeEnd { size: u64 },
    /// In a chunk, with so many bytes still to come.
    Data { left: u64 },
    /// Before the carriage return behind a chunk.
    DataReturn,
    /// Before the line feed behind a chunk.
    DataEnd,
    /// In the trailers, at the start of a line or within one.
    Trailer { starts: bool },
    /// Before the line feed that ends a trailer.
    TrailerEnd { last: bool },
    /// Behind it all.
    Done,
}

impl Default for At {
    fn default() -> At {
        At::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// Whether the body is at its end.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Takes `bytes` in, adds the data in them to `out`, and tells how many of them belong to the body.
    ///
    /// # Errors
    /// What is wrong with the chunks.
    pub fn decode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut next = 0;
        while let Some(&byte) = bytes.get(next) {
            if let At::Data { left } = &mut self.at {
                let rest = &bytes[next..];
                let length = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                out.extend_from_slice(&rest[..length]);
                next += length;
                *left -= length as u64;
                if *left == 0 {
                    self.at = At::DataReturn;
                }
                continue;
            }
            if self.is_done() {
                break;
            }
            self.step(byte)?;
            next += 1;
        }
        Ok(next)
    }

    fn step(&mut self, byte: u8) -> Result<(), &'static str> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err("a line between the chunks of its answer is longer than 8 KiB");
        }
        self.at = match (&self.at, byte) {
            (At::Size { size, digits: digits @ 0..=15 }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                At::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (At::Size { digits: 0, .. }, _) => return Err("a chunk of its answer has no size"),
            (At::Size { size, .. } | At::Extension { size }, b'\r') => At::SizeEnd { size: *size },
            (At::Size { size, .. }, b';' | b' ' | b'\t') => At::Extension { size: *size },
            (At::Size { .. }, _) => return Err("a chunk of its answer has a malformed size"),
            (At::Extension { .. }, b'\n') => return Err("a chunk's line ends with a line feed alone"),
            (At::Extension { size }, _) => At::Extension { size: *size },
            (At::SizeEnd { size: 0 }, b'\n') => At::Trailer { starts: true },
            (At::SizeEnd { size }, b'\n') => At::Data { left: *size },
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => At::default(),
            (At::Trailer { starts }, b'\r') => At::TrailerEnd { last: *starts },
            (At::Trailer { .. }, b'\n') => return Err("a trailer of its answer ends with a line feed alone"),
            (At::Trailer { .. }, _) => At::Trailer { starts: false },
            (At::TrailerEnd { last: true }, b'\n') => At::Done,
            (At::TrailerEnd { last: false }, b'\n') => At::Trailer { starts: true },
            (At::SizeEnd { .. } | At::DataReturn | At::DataEnd | At::TrailerEnd { .. }, _) => {
                return Err("a chunk of its answer is longer or shorter than its size");
            }
            (At::Data { .. } | At::Done, _) => return Err("its answer goes on behind its end"),
        };
        if let At::Data { .. } = self.at {
            self.line = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(parts: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), &'static str> {
        let (mut chunks, mut out, mut taken) = (Chunks::default(), Vec::new(), 0);
        for part in parts {
            taken += chunks.decode(part, &mut out)?;
        }
        Ok((out, taken, chunks.is_done()))
    }

    const WHOLE: &[u8] = b"3\r\nabc\r\n0010;name=\"a;b\"\r\n0123456789abcdef\r\n1 \r\n!\r\n0\r\nTrailer: x\r\n\r\n";

    #[test]
    fn data_comes_out_and_what_stands_behind_the_end_is_left() {
        let text = [WHOLE, b"HTTP/1.1 200"].concat();
        let (out, taken, done) = decode(&[&text]).expect("chunks");
        assert_eq!(out, b"abc0123456789abcdef!");
        assert_eq!((taken, done), (WHOLE.len(), true));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wrong in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"0x3\r\nabc",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3;a\nabc",
            b"3\rabc",
            b"11111111111111111\r\n",
            b"0\r\nTrailer: x\n\r\n",
            b" 3\r\nabc\r\n",
        ] {
            assert!(decode(&[wrong]).is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
        assert!(decode(&[b"3;", &[b'x'; MAX_LINE]]).is_err(), "an endless extension");
        let trailers = b"0\r\n".iter().copied().chain(b"a: b\r\n".iter().copied().cycle().take(2 * MAX_LINE));
        assert!(decode(&[&trailers.collect::<Vec<_>>()]).is_err(), "endless trailers");
    }

    #[test]
    fn many_chunks_are_no_endless_line() {
        let many = b"1\r\nx\r\n".repeat(10_000);
        assert_eq!(decode(&[&many]).expect("chunks").0.len(), 10_000);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(at in 0..WHOLE.len(), then in 0..WHOLE.len()) {
            let (from, to) = (at.min(then), at.max(then));
            let split = decode(&[&WHOLE[..from], &WHOLE[from..to], &WHOLE[to..]]);
            prop_assert_eq!(split, decode(&[WHOLE]));
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            let _ = decode(&[&bytes]);
        }
    }
}
