//! `/models`

mod create;
mod delete;
mod edit;
mod import;
mod list;
