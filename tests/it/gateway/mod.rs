//! The gateway: what an agent can do, and what happens when something is wrong.

mod body;
mod credentials;
mod headers;
mod models;
mod provider_failures;
mod provider_route;
mod routes;
mod stream;
