//! HTTP/1.1 as spoken to providers (RFC 9112): one call at a time on a connection, carried by the task that makes the
//! call, so that a call costs no second task, no channel between the two, and no buffer while its stream is silent.
//!
//! | file | holds |
//! | --- | --- |
//! | [`request`] | the head of a request, as it goes out |
//! | [`response`] | the head of an answer, and how its body is framed |
//! | [`chunked`] | the chunks of a body |
//! | [`connection`] | a connection: request out, head in |

pub(super) mod chunked;
pub(super) mod connection;
pub(super) mod request;
pub(super) mod response;
