//! `/agent-keys`

mod budgets;
mod bulk;
mod create;
mod defaults;
mod delete;
mod disable;
mod edit;
mod import;
mod limits;
mod list;
mod redis;
mod rotate;
mod tags;
