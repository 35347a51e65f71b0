//! All SQL of Keyward, for SQLite and PostgreSQL alike. Nothing here knows HTTP, and nothing here opens a secret:
//! rows hold sealed values and digests, and [`authentic`] refuses a row that somebody changed outside Keyward.
//!
//! | module | holds |
//! | --- | --- |
//! | [`db`] | the one place that names a database: [`Store`], [`Read`], [`Write`], the macros that run statements |
//! | [`installation`], [`master_key`] | the installation's id, check value and wrapped keys; another master key |
//! | [`keyring`], [`restamp`] | the set of keys and who has taken it up; rows whose MACs and seals are made anew |
//! | [`audit`], [`chain`] | the one sequence: audit events and change records; what proves them |
//! | [`changes`], [`replicas`] | what other processes committed; who serves, and until when it may trust its memory |
//! | [`scrub`], [`restore`] | all rows looked through; a restored database accepted |
//! | the others | one noun each |

pub mod agent_key_defaults;
pub mod agent_keys;
pub mod agent_secrets;
pub mod audit;
pub mod authentic;
pub mod callers;
pub mod chain;
pub mod changes;
pub mod db;
mod error;
pub mod general_keys;
pub mod idempotency;
pub mod identities;
pub mod installation;
pub mod invitations;
pub mod keyring;
pub mod links;
mod listing;
pub mod management_tokens;
pub mod master_key;
pub mod member_keys;
pub mod members;
pub mod models;
pub mod pending_sign_ins;
pub mod policies;
pub mod providers;
pub mod replicas;
pub mod restamp;
pub mod restore;
pub mod scrub;
pub mod second_factors;
pub mod sessions;
pub mod spending;
pub mod usage;
pub mod webhook_deliveries;
pub mod webhooks;

pub use authentic::{Authentic, Standing};
pub use db::{Claim, Db, Handle, Limits, Line, Read, Store, Write, relocate};
pub use error::StoreError;
pub use listing::{EXACT_TOTAL, Listing, SortValue};
pub use providers::CatalogSort;
