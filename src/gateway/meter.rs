//! Counts a call when its answer ends, or when it is dropped on the way.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use llm::{Pass, SocketReader, StreamReader, Usage, WireFormat};
use store::usage::Counts;

use super::{
    Gateway,
    body::Kept,
    forward::is_error,
    gunzip::{Coding, Gunzip},
    route::Plan,
};
use crate::domain::{
    catalog::{OpenKey, ProviderEntry},
    key_cache::CachedKey,
    meter::Tally,
    prices::Price,
    spending::Admission,
};

/// The most of a JSON answer that is kept to read its usage from, in bytes; a longer answer is counted without its tokens and marked as an estimate.
pub const MAX_KEPT: usize = 8 * 1024 * 1024;

/// How much of an answer is kept without being held against the budget, in bytes.
pub const UNCOUNTED: usize = 64 * 1024;

/// A call that is still to be counted. Dropped before its end, it is counted as an error.
///
/// What it counts under it shares with whoever knows it: one count of references a call for each, and no copy of names.
pub struct Settlement {
    gateway: Arc<Gateway>,
    key: Arc<CachedKey>,
    provider: Arc<ProviderEntry>,
    model_name: Arc<str>,
    general_key: Option<Arc<OpenKey>>,
    is_counted: bool,
    status: Option<StatusCode>,
    is_known_model: bool,
    price: Price,
    /// When the call began, and when the answer's head came: milliseconds since 1970.
    begun: i64,
    head_at: Option<i64>,
    wire: WireFormat,
    seen: Seen,
    /// Whether the call has a place among those its provider gets at once.
    has_place: bool,
    /// Its place among those its key may make at once, until it is counted.
    admission: Option<Admission>,
    /// Whether it can use no tokens.
    is_free: bool,
    /// Whether it was sent, and may so have used some, whatever came of it.
    was_sent: bool,
}

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON document, which may tell the usage.
    Json,
    /// A stream of events, which may tell it as well.
    Events {
        /// Whether the chunk that tells it is left out of what the caller sees.
        drop_usage_chunk: bool,
    },
    /// A WebSocket's frames, whose events may tell it.
    Socket,
    /// Sound, images, text: nothing to read in it.
    Other,
}

enum Seen {
    /// Nothing that could tell of usage.
    Nothing,
    /// A whole answer, as far as it passed.
    Parts { parts: Vec<Bytes>, bytes: usize, kept: Vec<Kept> },
    /// A stream of events.
    Events { reader: Box<StreamReader>, out: Vec<u8> },
    /// Either of them, compressed.
    Compressed(Box<Gunzip>),
    /// Either of them, encoded so that nothing can be read in it.
    Unreadable { passed: bool },
    /// A WebSocket's frames.
    Socket(Box<SocketReader>),
}

impl Settlement {
    /// Begins, before the call is sent.
    pub fn new(gateway: &Arc<Gateway>, key: &Arc<CachedKey>, plan: &Plan) -> Settlement {
        Settlement {
            gateway: Arc::clone(gateway),
            key: Arc::clone(key),
            provider: Arc::clone(&plan.provider),
            model_name: Arc::clone(&plan.model_name),
            general_key: None,
            is_counted: false,
            status: None,
            is_known_model: plan.is_known_model,
            price: plan.price,
            begun: gateway.core.clock.now_ms(),
            head_at: None,
            wire: plan.wire,
            seen: Seen::Nothing,
            has_place: false,
            admission: None,
            is_free: plan.is_free,
            was_sent: false,
        }
    }

    /// Notes whether the call is on its way to its provider.
    pub fn sent(&mut self, was_sent: bool) {
        self.was_sent = was_sent;
    }

    /// The time, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.gateway.core.clock.now_ms()
    }

    /// The agent key the call is counted under.
    pub fn key(&self) -> &Arc<CachedKey> {
        &self.key
    }

    /// Takes the call's place among those its provider gets at once, until it is counted; false where there is none.
    pub fn enter(&mut self) -> bool {
        self.has_place = self.provider.traffic.enter(self.provider.max_calls);
        self.has_place
    }

    /// Keeps the call's place among those its key may make at once.
    pub fn hold(&mut self, admission: Option<Admission>) {
        self.admission = admission;
    }

    /// Notes which general key the call goes out with.
    pub fn with_key(&mut self, key: &Arc<OpenKey>) {
        self.general_key = Some(Arc::clone(key));
    }

    /// Takes in the answer's head.
    pub fn answered(&mut self, status: StatusCode, form: Form, coding: Coding) {
        self.status = Some(status);
        self.head_at = Some(self.now_ms());
        self.seen = match (form, coding) {
            (Form::Other, _) => Seen::Nothing,
            (Form::Json, Coding::Plain) => Seen::Parts { parts: Vec::new(), bytes: 0, kept: Vec::new() },
            (Form::Events { drop_usage_chunk }, Coding::Plain) => {
                let reader = Box::new(StreamReader::new(self.wire, drop_usage_chunk));
                Seen::Events { reader, out: Vec::new() }
            }
            (Form::Socket, _) => Seen::Socket(Box::default()),
            (Form::Json, Coding::Gzip) => Seen::Compressed(Box::new(Gunzip::json(self.wire, &self.gateway.budget))),
            (Form::Events { .. }, Coding::Gzip) => Seen::Compressed(Box::new(Gunzip::events(self.wire))),
            (_, Coding::Other) => Seen::Unreadable { passed: false },
        };
    }

    /// Counts a call that Keyward refused itself, with this status, after its key was found good.
    pub fn refused(gateway: &Gateway, key: &CachedKey, status: u16) {
        let tally = Tally {
            agent_key_id: &key.id,
            member_id: &key.member_id,
            provider_id: "",
            model_name: "",
            general_key_id: "",
        };
        let counts = Counts {
            requests: 1,
            errors: 1,
            client_errors: i64::from(status < 500),
            server_errors: i64::from(status >= 500),
            ..Counts::default()
        };
        gateway.core.meter.count(gateway.cpu, gateway.core.clock.now_ms(), tally, counts);
    }

    /// Watches bytes pass; gives what the caller is to see instead, where that differs.
    pub fn observe(&mut self, data: Bytes) -> Bytes {
        match &mut self.seen {
            Seen::Nothing | Seen::Socket(_) => data,
            Seen::Parts { parts, bytes, kept } => {
                *bytes += data.len();
                // The small ones need no account; a large one that finds no place is not kept.
                if *bytes > UNCOUNTED && *bytes <= MAX_KEPT {
                    match self.gateway.budget.take(data.len()) {
                        Some(part) => kept.push(part),
                        None => *bytes = MAX_KEPT + 1,
                    }
                }
                if *bytes <= MAX_KEPT {
                    parts.push(data.clone());
                } else {
                    (*parts, *kept) = (Vec::new(), Vec::new());
                }
                data
            }
            Seen::Events { reader, out } => match reader.push(&data, out) {
                Pass::Whole => data,
                Pass::Replaced => Bytes::copy_from_slice(out),
            },
            Seen::Compressed(gunzip) => {
                gunzip.push(&data);
                data
            }
            Seen::Unreadable { passed } => {
                *passed |= !data.is_empty();
                data
            }
        }
    }

    /// Watches bytes pass that a provider sends on a WebSocket.
    pub fn watch(&mut self, bytes: &[u8]) {
        if let Seen::Socket(reader) = &mut self.seen {
            reader.push(bytes);
        }
    }

    /// What was read on a WebSocket; `None` where the call opened none.
    pub fn socket(&self) -> Option<&SocketReader> {
        match &self.seen {
            Seen::Socket(reader) => Some(reader),
            _ => None,
        }
    }

    /// What was held back of a stream that has ended.
    pub fn rest(&mut self) -> Bytes {
        match &mut self.seen {
            Seen::Events { reader, .. } => Bytes::from(reader.finish()),
            _ => Bytes::new(),
        }
    }

    /// Counts the call: its answer came whole.
    pub fn end(mut self) {
        if let Seen::Compressed(gunzip) = &mut self.seen {
            gunzip.end();
        }
        let usage = self.usage();
        self.settle(self.status.is_none_or(is_error), usage);
    }

    fn usage(&self) -> Usage {
        match &self.seen {
            Seen::Nothing => Usage { seen: true, ..Usage::default() },
            Seen::Events { reader, .. } => reader.usage(),
            Seen::Compressed(gunzip) => gunzip.usage(),
            Seen::Unreadable { passed } => Usage { seen: !passed, estimated: *passed, ..Usage::default() },
            Seen::Socket(reader) => reader.usage(),
            Seen::Parts { bytes, .. } if *bytes > MAX_KEPT => Usage { estimated: true, ..Usage::default() },
            Seen::Parts { parts, .. } => match parts.as_slice() {
                [] => Usage { seen: true, ..Usage::default() },
                [whole] => Usage::from_response(self.wire, whole),
                parts => Usage::from_response(self.wire, &parts.concat()),
            },
        }
    }

    fn settle(&mut self, failed: bool, usage: Usage) {
        if std::mem::replace(&mut self.is_counted, true) {
            return;
        }
        // Nobody vouches for a name that met with an error, so it is not kept.
        let is_vouched_for = self.is_known_model || !self.status.is_none_or(is_error);
        let tally = Tally {
            agent_key_id: &self.key.id,
            member_id: &self.key.member_id,
            provider_id: &self.provider.id,
            model_name: if is_vouched_for { &self.model_name } else { "" },
            general_key_id: self.general_key.as_ref().map_or("", |key| &key.used.id),
        };
        let tokens = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (input_tokens, output_tokens) = (tokens(usage.input_tokens), tokens(usage.output_tokens));
        let cost = self.price.cost_nanos(input_tokens, output_tokens);
        let failed_with = |is: fn(&StatusCode) -> bool| i64::from(failed && self.status.as_ref().is_some_and(is));
        let counts = Counts {
            requests: 1,
            errors: i64::from(failed),
            input_tokens,
            output_tokens,
            estimated: i64::from(usage.estimated),
            client_errors: failed_with(StatusCode::is_client_error),
            server_errors: failed_with(StatusCode::is_server_error),
            wait_ms: self.head_at.map_or(0, |at| (at - self.begun).max(0)),
            cost_nanos: cost.unwrap_or(0),
            unpriced: i64::from(cost.is_none()),
        };
        let Gateway { core, cpu, .. } = &*self.gateway;
        if let Some(admission) = &mut self.admission {
            // Where nobody told what it used, at least what its body comes to is taken off its key's limits.
            let is_told = usage.seen && !usage.estimated && !matches!(self.seen, Seen::Nothing);
            let is_refused = self.status.is_some_and(is_error);
            let input = match is_told || is_refused || self.is_free || !self.was_sent {
                true => input_tokens,
                false => input_tokens.max(admission.guess()),
            };
            let cost = self.price.cost_nanos(input, output_tokens).unwrap_or(0);
            let times = core.clock.times();
            for crossed in admission.settle(input.saturating_add(output_tokens), cost, times) {
                core.warnings.budget(&self.key, crossed.quota, crossed.slot, crossed.percent);
            }
        }
        core.meter.count(*cpu, core.clock.now_ms(), tally, counts);
    }
}

impl Drop for Settlement {
    /// There was no answer, it broke off, or its caller left: what passed is counted, as an error.
    fn drop(&mut self) {
        if !self.is_counted {
            let usage = self.usage();
            let passed = self.status.is_some_and(|status| !is_error(status));
            self.settle(true, Usage { estimated: usage.estimated || passed, ..usage });
        }
        if self.has_place {
            self.provider.traffic.leave();
        }
    }
}
