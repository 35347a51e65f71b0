//! `/auth/verify` and `/oauth2/introspect`

mod basic;
mod introspect;
mod nginx;
