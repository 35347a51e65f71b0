//! A request's body that has to be there in time, so that nobody holds a connection by sending nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A body that has to be there in time.
pub struct Timely {
    body: Incoming,
    end: Pin<Box<tokio::time::Sleep>>,
}

impl Timely {
    /// `body`, for as long as `patience` lasts.
    pub fn new(body: Incoming, patience: Duration) -> Timely {
        Timely { body, end: Box::pin(tokio::time::sleep(patience)) }
    }
}

impl Body for Timely {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let late = || Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's body came too slowly")));
        self.end.as_mut().poll(cx).map(|()| late())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
