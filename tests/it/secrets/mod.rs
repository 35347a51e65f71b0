//! The promises about secrets.

mod nowhere;
mod restart;
mod tampered;
