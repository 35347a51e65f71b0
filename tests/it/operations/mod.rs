//! The commands and what an operator watches.

mod admin_address;
mod audit;
mod bootstrap;
mod check;
mod credential;
mod database;
mod demo;
mod hosts;
mod key_rotation;
mod master_key;
mod metrics;
mod migrate_database;
mod openapi;
mod proxies;
mod recover;
mod rollback;
mod rotation;
mod start;
mod stop;
mod tls;
mod transit;
