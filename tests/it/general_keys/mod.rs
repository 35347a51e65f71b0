//! `/general-keys`

mod create;
mod delete;
mod edit;
mod list;
mod test_key;
