//! Keyward: the place where an LLM platform keeps its API keys.
//!
//! | module | is |
//! | --- | --- |
//! | [`commands`] | the command line |
//! | [`config`] | settings, one struct per topic |
//! | [`app`], [`listen`], [`peers`], [`tls`] | assembles everything; takes connections in; how many of whom; with which certificate |
//! | [`gateway`] | agents' calls: check, inject, forward, meter |
//! | [`verify`] | tells other services whether an agent key is good |
//! | [`control`] | who of the next two answers |
//! | [`console`] | the pages for administrators |
//! | [`api`] | the management API |
//! | [`forwarded`], [`request`], [`auth`], [`error`], [`metrics`] | through whom it came; what is asked; who is calling; what went wrong; figures |
//! | [`domain`] | the rules; nothing below it knows HTTP |
//! | [`egress`] | the one way out |
//!
//! The crates `vault` (secrets), `llm` (wire formats) and `store` (SQL) stand below.

mod api;
mod app;
mod assembly;
mod auth;
mod commands;
mod config;
mod console;
mod control;
mod csv;
mod data_dir;
mod domain;
mod egress;
mod error;
mod forwarded;
mod gateway;
mod listen;
mod metrics;
mod peers;
mod request;
mod timely;
mod tls;
mod verify;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    commands::run(commands::Cli::parse())
}
