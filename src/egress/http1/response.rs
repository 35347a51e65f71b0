//! The head of an answer, and how its body is framed.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use httparse::{ParserConfig, Status};

use super::chunked::Chunks;

/// The largest head that is read, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 128;

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// Those of its headers that were wanted.
    pub headers: HeaderMap,
    /// How its body is framed.
    pub framing: Framing,
    /// Whether another call may follow on the connection.
    pub keeps: bool,
}

/// How a body is framed.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Everything up to the connection's end.
    UntilClose,
}

/// Reads the head at the start of `bytes`, and tells its length; `None` where it is not whole yet.
///
/// # Errors
/// What is wrong with it: no HTTP, too many headers, or a framing that two readers could understand in two ways.
pub fn parse(bytes: &[u8], method: &Method, wanted: fn(&str) -> bool) -> Result<Option<(Head, usize)>, &'static str> {
    let mut headers = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let length = match ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("its answer has more than 128 headers"),
        Err(_) => return Err("its answer is no HTTP"),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("its answer has no status")?;
    let mut told = Told { keeps: response.version == Some(1), ..Told::default() };
    let mut kept = HeaderMap::with_capacity(16);
    for header in response.headers.iter() {
        told.note(header)?;
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| "a header of its answer has no name")?;
        if wanted(name.as_str()) {
            let value = HeaderValue::from_bytes(header.value).map_err(|_| "a header of its answer is malformed")?;
            kept.append(name, value);
        }
    }
    let (framing, keeps) = told.framing(status, method);
    Ok(Some((Head { status, headers: kept, framing, keeps }, length)))
}

/// What the headers tell of the framing.
#[derive(Default)]
struct Told {
    keeps: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Told {
    fn note(&mut self, header: &httparse::Header<'_>) -> Result<(), &'static str> {
        let is = |name: HeaderName| header.name.eq_ignore_ascii_case(name.as_str());
        if is(header::CONTENT_LENGTH) {
            let length = length(header.value).ok_or("the Content-Length of its answer is no number")?;
            if self.length.is_some_and(|other| other != length) {
                return Err("its answer has two lengths");
            }
            self.length = Some(length);
        } else if is(header::TRANSFER_ENCODING) {
            if self.chunked || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err("its answer has a transfer coding other than chunked");
            }
            self.chunked = true;
        } else if is(header::CONNECTION) {
            let mut items = header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            self.keeps &= !items.any(|item| item.eq_ignore_ascii_case(b"close"));
        }
        Ok(())
    }

    /// RFC 9112, section 6.3.
    fn framing(self, status: StatusCode, method: &Method) -> (Framing, bool) {
        let none = method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match (self.chunked, self.length) {
            _ if none => (Framing::Length(0), self.keeps),
            // The length is not to be believed then, nor is what stands behind the last chunk.
            (true, length) => (Framing::Chunked(Chunks::default()), self.keeps && length.is_none()),
            (false, Some(length)) => (Framing::Length(length), self.keeps),
            (false, None) => (Framing::UntilClose, false),
        }
    }
}

/// Digits alone; the same length several times in one header is taken as once (RFC 9110, section 8.6).
fn length(value: &[u8]) -> Option<u64> {
    let mut lengths = value.split(|byte| *byte == b',').map(|text| {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(text).ok().filter(|_| digits)?.parse::<u64>().ok()
    });
    let first = lengths.next()??;
    lengths.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, method: &Method) -> Result<(u16, Framing, bool), &'static str> {
        let (head, length) = parse(text.as_bytes(), method, |_| true)?.ok_or("not whole")?;
        assert_eq!(&text[..length], text, "all of it");
        Ok((head.status.as_u16(), head.framing, head.keeps))
    }

    fn framed(headers: &str) -> Result<(Framing, bool), &'static str> {
        let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        read(&text, &Method::POST).map(|(_, framing, keeps)| (framing, keeps))
    }

    #[test]
    fn bodies_are_framed_as_the_rfc_says() {
        let chunked = || Framing::Chunked(Chunks::default());
        assert_eq!(framed("content-length: 7\r\n"), Ok((Framing::Length(7), true)));
        assert_eq!(framed("content-length: 7\r\nContent-Length: 7, 7\r\n"), Ok((Framing::Length(7), true)));
        assert_eq!(framed("Transfer-Encoding: Chunked\r\n"), Ok((chunked(), true)));
        assert_eq!(framed("transfer-encoding: chunked\r\ncontent-length: 7\r\n"), Ok((chunked(), false)));
        assert_eq!(framed("content-length: 7\r\nconnection: keep-alive, Close\r\n"), Ok((Framing::Length(7), false)));
        assert_eq!(framed(""), Ok((Framing::UntilClose, false)));
    }

    #[test]
    fn framings_that_can_be_read_in_two_ways_are_refused() {
        for headers in [
            "content-length: 7\r\ncontent-length: 8\r\n",
            "content-length: 7, 8\r\n",
            "content-length: +7\r\n",
            "content-length: 0x7\r\n",
            "content-length: \r\n",
            "content-length: 18446744073709551616\r\n",
            "content-length : 7\r\n",
            "content-length: 7\r\n 8\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: x\u{b}chunked\r\n",
        ] {
            assert!(framed(headers).is_err(), "{headers:?}");
        }
    }

    #[test]
    fn answers_without_a_body_have_none_whatever_they_tell() {
        for (line, method) in [
            ("HTTP/1.1 200 OK", Method::HEAD),
            ("HTTP/1.1 204 No Content", Method::POST),
            ("HTTP/1.1 304 Not Modified", Method::GET),
            ("HTTP/1.1 100 Continue", Method::POST),
        ] {
            let (_, framing, keeps) = read(&format!("{line}\r\ncontent-length: 9\r\n\r\n"), &method).expect(line);
            assert_eq!((framing, keeps), (Framing::Length(0), true), "{line}");
        }
        let old = read("HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\n", &Method::GET).expect("a head");
        assert_eq!(old, (200, Framing::Length(9), false));
    }

    #[test]
    fn only_headers_that_are_wanted_are_kept_and_a_part_of_a_head_is_none_yet() {
        let text = b"HTTP/1.1 200 OK\r\nServer: x\r\nRetry-After: 1\r\n\r\nbody";
        let (head, length) = parse(text, &Method::GET, |name| name == "retry-after").expect("a head").expect("whole");
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["retry-after"]);
        assert_eq!(&text[length..], b"body");
        for cut in 0..length {
            assert!(parse(&text[..cut], &Method::GET, |_| true).expect("no error").is_none(), "{cut}");
        }
    }
}
