//! `/agent-keys`

mod bulk;
mod create;
mod delete;
mod disable;
mod edit;
mod limits;
mod list;
mod rotate;
