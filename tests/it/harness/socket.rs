//! A WebSocket, at either of its ends.

use futures_util::SinkExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Answer, TestServer, in_time};

/// One end.
#[derive(Debug)]
pub struct Socket<S>(WebSocketStream<S>);

/// An agent's end.
pub type AgentSocket = Socket<TcpStream>;

/// A provider's end.
pub type ProviderSocket = Socket<TokioIo<Upgraded>>;

impl AgentSocket {
    /// Opens one; an answer that opens none is the error.
    pub async fn open(
        server: &TestServer,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(AgentSocket, Response), Box<Answer>> {
        let url = server.url();
        let tcp = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        let mut request = format!("ws{}{path}", url.strip_prefix("http").unwrap()).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let opening = tokio_tungstenite::client_async(request, tcp);
        match in_time("the answer to a WebSocket's opening", opening).await {
            Ok((stream, response)) => Ok((Socket(stream), response)),
            Err(Error::Http(response)) => {
                let (head, body) = response.into_parts();
                let body = body.unwrap_or_default().into();
                Err(Box::new(Answer { status: head.status.as_u16(), headers: head.headers, body }))
            }
            Err(error) => panic!("no WebSocket and no answer: {error}"),
        }
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Socket<S> {
    /// The end of an open connection.
    pub fn new(stream: WebSocketStream<S>) -> Self {
        Self(stream)
    }

    /// Sends an event.
    pub async fn send(&mut self, event: &Value) {
        self.send_message(Message::text(event.to_string())).await;
    }

    /// Sends any message.
    pub async fn send_message(&mut self, message: Message) {
        in_time("a message being taken", self.0.send(message)).await.expect("the WebSocket is open");
    }

    /// Sends a text in as many frames as it has parts.
    pub async fn send_in_parts(&mut self, parts: &[&str]) {
        for (number, part) in parts.iter().enumerate() {
            let opcode = OpCode::Data(if number == 0 { Data::Text } else { Data::Continue });
            let frame = Frame::message(part.to_string(), opcode, number + 1 == parts.len());
            self.send_message(Message::Frame(frame)).await;
        }
    }

    /// The next message; `None` at the end, however it came.
    pub async fn next(&mut self) -> Option<Message> {
        in_time("the next message", self.0.next()).await.and_then(Result::ok)
    }

    /// The next message, which is an event.
    pub async fn event(&mut self) -> Value {
        let message = self.next().await.expect("the WebSocket is open");
        serde_json::from_str(message.to_text().unwrap()).expect("an event")
    }

    /// Waits for the end; the code with which the other side closed it, if it did.
    pub async fn closed(mut self) -> Option<u16> {
        let mut code = None;
        while let Some(message) = self.next().await {
            if let Message::Close(frame) = message {
                code = frame.map(|frame| frame.code.into());
            }
        }
        code
    }

    /// Closes it in good order.
    pub async fn close(mut self) {
        self.0.close(None).await.expect("the WebSocket is open");
        while self.next().await.is_some() {}
    }
}
