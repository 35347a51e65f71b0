//! Wire formats of LLM providers: bytes in, facts out.
//!
//! Nothing in this crate opens a connection, waits, reads a clock or knows a key. It answers five questions:
//!
//! | question | where |
//! | --- | --- |
//! | what is particular about this kind of provider? | [`Kind`], with [`Auth`] and [`KeyCheck`] |
//! | is this path inference, or a list of models? | [`inference_route`], [`openai_route`], [`socket_route`], [`route_wire`] |
//! | which model does this body ask for, and does it stream? | [`scan`], which gives a [`Body`]; [`rename_gemini_model`] |
//! | how many tokens did the answer take? | [`Usage::from_response`]; [`StreamReader`] while it streams by, [`SocketReader`] on a WebSocket |
//! | what does an error look like here, and does it mean the key is bad? | [`WireFormat::error_body`], [`refuses_key`], [`error_message`] |
//!
//! `body` is on the path of every call and `stream` on the path of every event; both read each byte about once and
//! allocate only where bytes have to change. What is read from a provider or a caller never makes this crate panic.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed, and says where"))]

mod body;
mod form;
mod glance;
mod json;
mod kind;
mod model_list;
mod routes;
mod socket;
mod sse;
mod stream;
mod usage;
mod wire;

pub use body::{Body, BodyError, Field, rename_gemini_model, scan};
pub use form::{Form, FormError, boundary, scan_form};
pub use kind::{Auth, KeyCheck, Kind, PathFrom};
pub use model_list::listed_models;
pub use routes::{form_route, inference_route, openai_route, plain_path, route_wire, socket_route};
pub use socket::{SocketReader, close_frame};
pub use sse::{EventSplitter, MAX_TAIL};
pub use stream::{Pass, StreamReader};
pub use usage::Usage;
pub use wire::{WireFormat, error_message, refuses_key};
