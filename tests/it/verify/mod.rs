//! `/auth/verify`, `/auth/policies/{name}/verify` and `/oauth2/introspect`

mod basic;
mod caddy;
mod envoy;
mod guarded;
mod introspect;
mod nginx;
mod policies;
