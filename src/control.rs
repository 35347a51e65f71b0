//! What the control runtime answers: the management API and the console, which know nothing of each other.

use std::sync::Arc;

use axum::{Router, extract::Request};
use tower::ServiceExt;

use crate::{api, config::WebConfig, console, domain::Core, metrics::Metrics};

/// Everything that is not the gateway's or verification's.
pub fn router(core: Arc<Core>, web: Arc<WebConfig>, metrics: Arc<Metrics>) -> Router {
    let (api, description) = api::router(Arc::clone(&core), Arc::clone(&web), metrics);
    let console = console::router(core, web, &description);
    // Not merged: each has its own way to say that there is nothing at a path.
    Router::new().fallback(move |request: Request| {
        let router = if api::claims(request.uri().path()) { api.clone() } else { console.clone() };
        async move {
            match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    })
}
