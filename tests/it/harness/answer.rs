//! An answer read to its end, and the record of all of them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    pub(super) async fn read(response: reqwest::Response, transcript: &Transcript) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.expect("the answer's body comes whole");
        let answer = Self { status, headers, body };
        transcript.add(&answer);
        answer
    }

    /// The same answer if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {self}"),
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header"))
    }

    /// Asserts an error of the gateway in OpenAI's shape.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        let body = answer.json();
        let error = &body["error"];
        assert_eq!(error["code"], code, "{answer}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
        assert!(error["type"].is_string(), "{answer}");
        assert!(error.as_object().unwrap().contains_key("param"), "{answer}");
        answer
    }

    /// Asserts an error of the management API: RFC 9457.
    #[track_caller]
    pub fn problem(self, status: u16) -> Self {
        let answer = self.expect(status);
        let content_type = answer.header("content-type").unwrap_or_default().to_owned();
        assert!(content_type.starts_with("application/problem+json"), "{answer}");
        let body = answer.json();
        assert_eq!(body["status"], status, "{answer}");
        for member in ["type", "title", "detail"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {answer}");
        }
        answer
    }

    /// Asserts which error of the management API it is.
    #[track_caller]
    pub fn problem_called(self, status: u16, code: &str) -> Self {
        let answer = self.problem(status);
        let body = answer.json();
        let named = body["code"] == code || body["type"].as_str().unwrap().ends_with(code);
        assert!(named, "neither `type` nor `code` says {code}: {answer}");
        answer
    }

    /// Asserts that the error points at that field of the body.
    #[track_caller]
    pub fn at(self, pointer: &str) -> Self {
        let body = self.json();
        let errors = body["errors"].as_array().unwrap_or_else(|| panic!("no errors[]: {self}"));
        assert!(errors.iter().any(|error| points(error, pointer)), "nothing points at {pointer}: {self}");
        assert!(errors.iter().all(|error| error["detail"].is_string()), "{self}");
        self
    }
}

/// RFC 9457 writes pointers as URI fragments, RFC 6901 without the `#`: either will do.
fn points(error: &Value, pointer: &str) -> bool {
    error["pointer"].as_str().is_some_and(|text| text.trim_start_matches('#') == pointer)
}

impl std::fmt::Display for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phrase = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let shown: String = self.text().chars().take(2000).collect();
        write!(out, "{} {}\n{:?}\n{shown}", self.status, phrase.unwrap_or(""), self.headers)
    }
}

/// Every answer of one server, for the tests that search them.
#[derive(Debug, Clone, Default)]
pub struct Transcript(Arc<Mutex<String>>);

impl Transcript {
    fn add(&self, answer: &Answer) {
        self.note(&format!("{}\n{:?}\n{}\n", answer.status, answer.headers, answer.text()));
    }

    pub(super) fn note(&self, text: &str) {
        self.0.lock().unwrap().push_str(text);
    }

    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}
