//! The gateway: what an agent can do, and what happens when something is wrong.

mod body;
mod connections;
mod credentials;
mod encoding;
mod fail_over;
mod forms;
mod framing;
mod headers;
mod hostile_providers;
mod http2;
mod models;
mod native;
mod provider_failures;
mod provider_limits;
mod provider_route;
mod realtime;
mod routes;
mod services;
mod slow_callers;
mod stream;
