//! An agent, calling the gateway as its client library would.

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{Answer, Transcript, in_time};

/// A client that follows no redirect and uses no proxy, so that what it sees is what the server sent.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

/// A caller with an agent key.
#[derive(Debug, Clone)]
pub struct Agent {
    url: String,
    secret: String,
    http: reqwest::Client,
    transcript: Transcript,
}

impl Agent {
    pub(super) fn new(url: String, secret: &str, transcript: Transcript) -> Self {
        Self { url, secret: secret.to_owned(), http: http(), transcript }
    }

    /// Its secret.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Another agent of the same server.
    pub fn with_secret(&self, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..self.clone() }
    }

    /// The same agent at another address.
    pub fn at(&self, url: String) -> Self {
        Self { url, http: http(), ..self.clone() }
    }

    /// A request with the agent key as bearer token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.secret)
    }

    /// A request without any credential.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Sends it and reads the answer whole.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = in_time("the gateway's answer", request.send()).await.expect("the gateway answers");
        in_time("the answer's end", Answer::read(response, &self.transcript)).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// POST of bytes said to be JSON.
    pub async fn post_bytes(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body)).await
    }

    /// One chat turn with that model.
    pub async fn chat(&self, model: &str) -> Answer {
        self.post("/v1/chat/completions", chat_with(model)).await
    }

    /// One streamed chat turn; the answer's head must be 200.
    pub async fn stream(&self, body: Value) -> EventStream {
        let request = self.request(Method::POST, "/v1/chat/completions").json(&body);
        let response = in_time("the stream's head", request.send()).await.expect("the gateway answers");
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        EventStream { response, pending: String::new(), transcript: self.transcript.clone() }
    }
}

/// The body of one chat turn.
fn chat_with(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] })
}

/// Server-sent events, read one at a time as they arrive.
#[derive(Debug)]
pub struct EventStream {
    response: reqwest::Response,
    pending: String,
    transcript: Transcript,
}

impl EventStream {
    /// The head's headers.
    pub fn headers(&self) -> &http::HeaderMap {
        self.response.headers()
    }

    /// The data of the next event; `None` at the end; `Err` where the connection broke.
    pub async fn next(&mut self) -> Result<Option<String>, reqwest::Error> {
        loop {
            if let Some(end) = self.pending.find("\n\n") {
                let event: String = self.pending.drain(..end + 2).collect();
                return Ok(Some(event.trim().trim_start_matches("data:").trim_start().to_owned()));
            }
            match in_time("the next event", self.response.chunk()).await? {
                Some(chunk) => {
                    let text = String::from_utf8(chunk.to_vec()).expect("events in the tests are ASCII");
                    self.transcript.note(&text);
                    self.pending.push_str(&text);
                }
                None => return Ok(None),
            }
        }
    }

    /// All events to a clean end.
    pub async fn rest(mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await.expect("the stream ends cleanly") {
            events.push(event);
        }
        events
    }
}
