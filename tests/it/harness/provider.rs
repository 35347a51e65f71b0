//! A provider that speaks every wire format, writes down what it was sent, and misbehaves when told to.

mod anthropic;
mod gemini;
mod openai;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{ProviderSocket, eventually};

/// A server in this process, on a loopback port.
#[derive(Debug)]
pub struct FakeProvider {
    url: String,
    desk: Arc<Desk>,
}

/// One call it received.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers in the order they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Bytes,
}

/// How it answers.
#[derive(Debug)]
pub enum Reply {
    /// With exactly this.
    With(Exact),
    /// When and as the holder of the [`Stage`] says.
    Staged(&'static str, UnboundedReceiver<Cue>),
}

/// An answer said in full.
#[derive(Debug, Clone)]
pub struct Exact {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// The test's hand on one answer.
#[derive(Debug)]
pub struct Stage(UnboundedSender<Cue>);

/// What a stage can be told.
#[derive(Debug)]
pub enum Cue {
    /// Send the head of an event stream.
    Open,
    /// Send these bytes.
    Chunk(Bytes),
    /// Close the connection in the middle.
    BreakOff,
}

#[derive(Debug, Default)]
struct Desk {
    calls: Mutex<Vec<Call>>,
    next: Mutex<VecDeque<Reply>>,
    always: Mutex<Option<Exact>>,
    sockets: Mutex<VecDeque<ProviderSocket>>,
}

impl FakeProvider {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(Desk::default());
        let router = axum::Router::new().fallback(answer).with_state(desk.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, desk }
    }

    /// What a client of this provider has as its base URL.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url)
    }

    /// Its origin.
    pub fn origin(&self) -> String {
        self.url.clone()
    }

    /// Answers one further call this way; those told first come first.
    pub fn next(&self, reply: Reply) {
        self.desk.next.lock().unwrap().push_back(reply);
    }

    /// Answers every call from now on with this, unless told otherwise for the next.
    pub fn always(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        *self.desk.always.lock().unwrap() = Some(Exact::new(status, headers, body));
    }

    /// Lets the test play the next answer by hand.
    pub fn stage(&self) -> Stage {
        self.stage_of("text/event-stream")
    }

    /// The same with an answer of another type.
    pub fn stage_of(&self, content_type: &'static str) -> Stage {
        let (sender, receiver) = unbounded_channel();
        self.next(Reply::Staged(content_type, receiver));
        Stage(sender)
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.desk.calls.lock().unwrap().clone()
    }

    /// The only call so far.
    #[track_caller]
    pub fn only_call(&self) -> Call {
        let calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:#?}");
        calls.into_iter().next().unwrap()
    }

    /// The latest call.
    pub fn last_call(&self) -> Call {
        self.calls().pop().expect("the provider was called")
    }

    /// Forgets the calls so far.
    pub fn forget(&self) {
        self.desk.calls.lock().unwrap().clear();
    }

    /// Asserts that nothing has arrived.
    #[track_caller]
    pub fn received_nothing(&self) {
        assert!(self.calls().is_empty(), "{:#?}", self.calls());
    }

    /// Its end of the next WebSocket that was opened.
    pub async fn socket(&self) -> ProviderSocket {
        eventually("a WebSocket at the provider", async || self.desk.sockets.lock().unwrap().pop_front()).await
    }

    /// Waits until that many calls have arrived.
    pub async fn has_calls(&self, count: usize) {
        eventually("calls at the provider", async || (self.calls().len() >= count).then_some(())).await;
    }
}

impl Call {
    /// Every value of one header.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a header, or none.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.header_values(name);
        assert!(values.len() <= 1, "{name} came {} times", values.len());
        values.first().copied()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// Whether some text stands anywhere in it.
    pub fn mentions(&self, text: &str) -> bool {
        let body = String::from_utf8_lossy(&self.body);
        self.path.contains(text)
            || body.contains(text)
            || self.headers.iter().any(|(name, value)| name.contains(text) || value.contains(text))
    }
}

impl Reply {
    /// A reply of that status, with these headers and this text or these bytes.
    pub fn with(status: u16, headers: &[(&'static str, &str)], body: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        Self::With(Exact::new(status, headers, body))
    }

    /// An error in OpenAI's shape.
    pub fn error(status: u16, message: &str) -> Self {
        let body = json!({ "error": { "message": message, "type": "some_error", "param": null, "code": null } });
        Self::with(status, &[("content-type", "application/json")], &body.to_string())
    }
}

impl Exact {
    fn new(status: u16, headers: &[(&'static str, &str)], body: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { status, headers, body: Bytes::copy_from_slice(body.as_ref()) }
    }
}

impl Stage {
    /// Sends the head.
    pub fn open(&self) {
        self.0.send(Cue::Open).expect("the call is still open");
    }

    /// Sends one event.
    pub fn event(&self, data: &str) {
        self.send(format!("data: {data}\n\n"));
    }

    /// Sends these bytes as they are.
    pub fn send(&self, bytes: impl Into<Bytes>) {
        self.0.send(Cue::Chunk(bytes.into())).expect("the call is still open");
    }

    /// Closes the connection without an end.
    pub fn break_off(&self) {
        self.0.send(Cue::BreakOff).expect("the call is still open");
    }

    /// Ends the answer properly.
    pub fn end(self) {}

    /// Whether the other side has gone away.
    pub fn has_no_caller(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the other side has gone away.
    pub async fn caller_left(&self) {
        super::in_time("the end of the upstream call", self.0.closed()).await;
    }
}

async fn answer(State(desk): State<Arc<Desk>>, mut request: Request) -> Response {
    let upgrade = request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        // The caller went away within its own body: nobody is there to be answered.
        return Response::new(Body::empty());
    };
    let headers = head.headers.iter();
    let call = Call {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect(),
        body,
    };
    let opening = upgrade.zip(head.headers.get("sec-websocket-key"));
    let reply = desk.next.lock().unwrap().pop_front();
    let always = desk.always.lock().unwrap().clone();
    let proper = properly(&call);
    desk.calls.lock().unwrap().push(call);
    match reply {
        Some(Reply::With(exact)) => exactly(exact),
        Some(Reply::Staged(content_type, cues)) => staged(content_type, cues).await,
        None if always.is_none() && opening.is_some() => {
            let (upgrade, key) = opening.unwrap();
            switched(desk, upgrade, key.as_bytes(), head.headers.get("sec-websocket-protocol"))
        }
        None => exactly(always.unwrap_or(proper)),
    }
}

/// Opens a WebSocket, in the first of the subprotocols, and leaves it to the test.
fn switched(desk: Arc<Desk>, upgrade: OnUpgrade, key: &[u8], protocols: Option<&http::HeaderValue>) -> Response {
    tokio::spawn(async move {
        let io = TokioIo::new(upgrade.await.unwrap());
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        desk.sockets.lock().unwrap().push_back(ProviderSocket::new(stream));
    });
    let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    let mut response = response.header("sec-websocket-accept", derive_accept_key(key));
    if let Some(protocols) = protocols {
        response = response.header("sec-websocket-protocol", protocols.to_str().unwrap().split(',').next().unwrap());
    }
    response.body(Body::empty()).unwrap()
}

fn exactly(exact: Exact) -> Response {
    let mut response = Response::builder().status(exact.status);
    for (name, value) in exact.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(exact.body)).unwrap()
}

/// No head until the stage is opened; then whatever it is told, as it is told.
async fn staged(content_type: &'static str, mut cues: UnboundedReceiver<Cue>) -> Response {
    if cues.recv().await.is_none() {
        return Response::new(Body::empty());
    }
    let response = Response::builder().header("content-type", content_type);
    response.body(Body::new(StagedBody(cues))).unwrap()
}

struct StagedBody(UnboundedReceiver<Cue>);

impl http_body::Body for StagedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.0.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Cue::Chunk(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(Some(Cue::Open | Cue::BreakOff)) => {
                Poll::Ready(Some(Err(std::io::Error::other("broken off, as the test wants it"))))
            }
        }
    }
}

/// What a provider of the wire format that the path belongs to would say.
fn properly(call: &Call) -> Exact {
    let path = call.path.split('?').next().unwrap_or_default();
    let body: Value = serde_json::from_slice(&call.body).unwrap_or(Value::Null);
    anthropic::answer(path, &body)
        .or_else(|| gemini::answer(path, &body))
        .or_else(|| openai::answer(path, &body))
        .unwrap_or_else(|| openai::whatever(path, &body))
}

fn plain(body: &Value) -> Exact {
    Exact::new(200, &[("content-type", "application/json")], &body.to_string())
}

fn events(events: &[String]) -> Exact {
    Exact::new(200, &[("content-type", "text/event-stream")], &events.concat())
}
