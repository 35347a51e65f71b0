//! `/general-keys`

mod create;
mod delete;
mod edit;
mod import;
mod list;
mod test_key;
