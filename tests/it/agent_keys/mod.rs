//! `/agent-keys`

mod create;
mod delete;
mod disable;
mod edit;
mod list;
mod rotate;
