//! Keyward tested through its front door: the real binary, real HTTP, a provider that writes down what it was sent.
//!
//! Files are named resource/verb, cases by their outcome, so that a missing one shows in the listing.
#![allow(clippy::disallowed_methods, reason = "the bans are for the server; this drives it from outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there, and the panic says where")]

mod harness;

mod access;
mod agent_keys;
mod audit_events;
mod clients;
mod crash;
mod deploy;
mod described;
mod documents;
mod etags;
mod gateway;
mod general_keys;
mod idempotency;
mod layering;
mod leaks;
mod mail;
mod management;
mod management_tokens;
mod mcp;
mod members;
mod models;
mod operations;
mod pages;
mod providers;
mod replicas;
mod secrets;
mod story;
mod usage;
mod verify;
mod webhooks;
