//! `/agent-keys`

mod create;
mod delete;
mod disable;
mod edit;
mod limits;
mod list;
mod rotate;
