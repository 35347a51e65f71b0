//! `/auth/verify`

mod basic;
mod nginx;
