//! The head of a request, written down once as it goes out.

use std::io::Write;

use http::{HeaderName, HeaderValue, Method};

/// The head of a request without Host, credential and framing, which are put in when it is sent.
pub struct RequestHead {
    bytes: Vec<u8>,
    method: Method,
}

/// Why a head cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its path is not one of a URL")]
pub struct BadPath;

impl RequestHead {
    /// Begins a head; `path` is path and query, from the target's root.
    ///
    /// # Errors
    /// [`BadPath`] where the path could be read as anything else than one path.
    pub fn new(method: &Method, path: &str) -> Result<RequestHead, BadPath> {
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(BadPath);
        }
        let mut bytes = Vec::with_capacity(512 + path.len());
        bytes.extend_from_slice(method.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(path.as_bytes());
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        Ok(RequestHead { bytes, method: method.clone() })
    }

    /// Adds a header.
    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        // Neither type can hold a line's end.
        self.line(name.as_str(), value.as_bytes());
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The lines so far.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("what was written")
    }

    /// Adds what comes last: host, length, and the credential's name where there is one, whose value follows.
    pub(crate) fn finish(&mut self, authority: &str, length: usize, credential: Option<&str>) {
        self.line("host", authority.as_bytes());
        if length > 0 || [Method::POST, Method::PUT, Method::PATCH].contains(&self.method) {
            // A number has 20 digits at most.
            let mut digits = [0_u8; 20];
            let mut rest = &mut digits[..];
            let room = rest.len();
            let written = write!(rest, "{length}").map_or(0, |()| room - rest.len());
            self.line("content-length", &digits[..written]);
        }
        if let Some(name) = credential {
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(b": ");
        }
    }

    /// The head as it goes out, up to the credential's value where there is one, else to the end of its last line.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn line(&mut self, name: &str, value: &[u8]) {
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_with_host_length_and_the_credential_s_name_last() {
        let mut head = RequestHead::new(&Method::POST, "/v1/chat?a=b").expect("a path");
        head.header(&HeaderName::from_static("x-a"), &HeaderValue::from_static("b"));
        let text = |head: &RequestHead, length, credential| {
            let mut head = RequestHead { bytes: head.bytes.clone(), method: head.method.clone() };
            head.finish("api.example", length, credential);
            String::from_utf8(head.bytes).expect("ASCII")
        };
        let common = "POST /v1/chat?a=b HTTP/1.1\r\nx-a: b\r\nhost: api.example\r\n";
        assert_eq!(text(&head, 0, None), format!("{common}content-length: 0\r\n"));
        assert_eq!(text(&head, 7, Some("authorization")), format!("{common}content-length: 7\r\nauthorization: "));
        let head = RequestHead::new(&Method::GET, "/").expect("a path");
        assert_eq!(text(&head, 0, None), "GET / HTTP/1.1\r\nhost: api.example\r\n");
    }

    #[test]
    fn a_path_that_could_be_more_than_one_is_refused() {
        for path in ["", "v1", "/a b", "/a\r\nx: y", "/a\u{e9}", "/a#b", "http://other/", "*", "/\u{7f}"] {
            assert!(RequestHead::new(&Method::GET, path).is_err(), "{path:?}");
        }
    }
}
