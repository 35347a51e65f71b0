//! The commands and what an operator watches.

mod audit;
mod bootstrap;
mod check;
mod database;
mod demo;
mod hosts;
mod master_key;
mod metrics;
mod openapi;
mod recover;
mod rollback;
mod rotation;
mod start;
mod stop;
