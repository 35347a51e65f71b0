//! The gateway: takes an agent's call, checks its key, injects the linked general key, forwards, streams back, meters.
//!
//! [`handle`] alone branches; every step is a straight line, and none calls a sibling:
//! authenticate → read the body → [`route`] → [`forward`] → [`meter`] watches the bytes pass.

mod body;
mod claim;
mod forward;
mod gunzip;
mod headers;
mod line;
mod meter;
mod models;
mod parameter;
mod refusal;
mod relay;
mod route;
mod socket;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use llm::WireFormat;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::body::Budget;
pub use self::claim::{Claim, claim};
pub use self::line::{Line, Streams, Taken, attend};
pub use self::relay::GatewayBody;
use self::{forward::Forward, meter::Settlement, socket::Handshake};
use crate::{
    auth,
    domain::{
        Core,
        clock::{DAY_MS, rfc3339},
        key_cache::CachedKey,
        lease,
        rates::Left,
    },
    egress::{Egress, Pool},
    error::{Code, Error, Result},
};

/// From how long before its end a key's answers tell when it ends, in milliseconds.
const EXPIRY_NOTICE: i64 = 14 * DAY_MS;

/// What a core of the gateway works with.
pub struct Gateway {
    /// The rules and their memory.
    pub core: Arc<Core>,
    /// The way out.
    pub egress: Arc<Egress>,
    /// Bounds the bodies held in memory, over all cores.
    pub budget: Arc<Budget>,
    /// Which core this is.
    pub cpu: usize,
    /// This core's kept connections.
    pub pool: Arc<Pool>,
    /// This core's connections, and the WebSockets that outlive the calls which opened them.
    pub open: TaskTracker,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Answers one call, from `caller`.
pub async fn handle(
    gateway: &Arc<Gateway>,
    claim: Claim,
    request: Request<Incoming>,
    caller: IpAddr,
    request_id: &str,
) -> Response<GatewayBody> {
    let wire = claim::caller_wire(claim, &request);
    let found = match claim {
        Claim::Realtime => auth::socket_agent(&gateway.core, request.headers(), caller).await,
        _ => auth::agent(&gateway.core, request.headers(), caller).await,
    };
    let key = match found {
        Ok(key) => key,
        Err(error) => return failure(error, wire, request_id),
    };
    let mut left = None;
    let answered = if claim == Claim::Models {
        models::list(&gateway.core, request.uri().path(), wire, &key.limits)
    } else {
        match prepare(gateway, claim, request, &key).await {
            Ok(mut forward) => {
                left = forward.left.take();
                forward.send().await
            }
            Err(error) => {
                Settlement::refused(gateway, &key, error.code.status());
                Err(error)
            }
        }
    };
    let mut response = answered.unwrap_or_else(|error| failure(error, wire, request_id));
    decorate(&mut response, &key, gateway.core.clock.now_ms(), request_id);
    if let Some(left) = left {
        tell(&mut response, left);
    }
    response
}

/// Everything before a provider is involved.
async fn prepare<'a>(
    gateway: &'a Arc<Gateway>,
    claim: Claim,
    mut request: Request<Incoming>,
    key: &'a Arc<CachedKey>,
) -> Result<Forward<'a>> {
    let socket = match claim {
        Claim::Realtime => Some(Handshake::take(&mut request)?),
        _ => None,
    };
    headers::check_no_token(request.headers(), request.uri())?;
    let (head, incoming) = request.into_parts();
    let mut held = body::read(gateway, key, &head, incoming).await?;
    let plan = route::resolve(&gateway.core, claim, &head, &held, &key.limits)?;
    key.limits.check_model(&plan.model_name, &plan.provider.name, &plan.upstream_model)?;
    let admitted = match &key.rate {
        Some(rate) => {
            let servers = gateway.core.lease.servers.load(Ordering::Relaxed);
            Some(rate.admit(&key.limits, servers, lease::now_ms())?)
        }
        None => None,
    };
    let (admission, left) = admitted.unzip();
    held.share.grow(plan.body.as_ref().map_or(0, Vec::len))?;
    Ok(Forward { gateway, key, plan, head, held, socket, admission, left: left.flatten() })
}

/// An error of ours, in the shape of the wire format that was called.
fn failure(error: Error, wire: WireFormat, request_id: &str) -> Response<GatewayBody> {
    error.log(request_id);
    let status = error.code.status();
    let body = wire.error_body(status, error.code.as_str(), &error.detail);
    let mut response = Response::new(GatewayBody::full(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(("retry_after_seconds", seconds)) = &error.extension
        && let Ok(seconds) = HeaderValue::from_str(&seconds.to_string())
    {
        headers.insert(header::RETRY_AFTER, seconds);
    }
    if matches!(error.code, Code::ProviderBusy | Code::StorageUnavailable) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    set_request_id(&mut response, request_id);
    response
}

fn decorate(response: &mut Response<GatewayBody>, key: &CachedKey, now: i64, request_id: &str) {
    set_request_id(response, request_id);
    if key.ends_at - now < EXPIRY_NOTICE
        && let Ok(value) = HeaderValue::from_str(&rfc3339(key.ends_at))
    {
        response.headers_mut().insert("keyward-key-expires-at", value);
    }
}

/// Tells how much of its limit a key has left (draft-ietf-httpapi-ratelimit-headers).
fn tell(response: &mut Response<GatewayBody>, left: Left) {
    let Left { limit, remaining, reset_seconds } = left;
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&format!("\"agent-key\";q={limit};w=60")) {
        headers.insert("ratelimit-policy", policy);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("\"agent-key\";r={remaining};t={reset_seconds}")) {
        headers.insert("ratelimit", value);
    }
}

fn set_request_id(response: &mut Response<GatewayBody>, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        let headers = response.headers_mut();
        if !headers.contains_key("x-request-id") {
            headers.insert("x-request-id", value.clone());
        }
        headers.insert("keyward-request-id", value);
    }
}
