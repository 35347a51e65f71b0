//! `/providers`

mod base_url;
mod create;
mod delete;
mod edit;
mod list;
mod origin;
