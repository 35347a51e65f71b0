//! The promises about secrets.

mod everywhere;
mod nowhere;
mod restart;
mod tampered;
