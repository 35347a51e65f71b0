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
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
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
        quota::{Measure, Span},
        spending_account::{Estimate, Left},
    },
    egress::{Egress, Pool},
    error::{Code, Error, Result},
};

/// From how long before its end a key's answers tell when it ends, in milliseconds.
const EXPIRY_NOTICE: i64 = 14 * DAY_MS;

/// OpenAI's headers for a limit a minute: of how much, how much is left, and when all of it is again.
const REQUESTS_LEFT: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS_LEFT: [&str; 3] = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];

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
    let mut left = Vec::new();
    let answered = if claim == Claim::Models {
        models::list(&gateway.core, request.uri().path(), wire, &key.limits)
    } else {
        match prepare(gateway, claim, request, &key).await {
            Ok(mut forward) => {
                left = std::mem::take(&mut forward.left);
                forward.send().await
            }
            Err(error) => {
                Settlement::refused(gateway, &key, error.code.status());
                if let (429, Some(spending)) = (error.code.status(), &key.spending) {
                    gateway.core.spending.refused.fetch_add(1, Ordering::Relaxed);
                    left = spending.left(&key.quotas, gateway.core.clock.times());
                }
                Err(error)
            }
        }
    };
    let mut response = answered.unwrap_or_else(|error| failure(error, wire, request_id));
    decorate(&mut response, &key, gateway.core.clock.now_ms(), request_id);
    tell(&mut response, &left, claim == Claim::OpenAi);
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
    let (admission, left) = match &key.spending {
        Some(spending) => {
            if key.limits.counts_money() && !plan.price.is_whole() && !plan.is_free {
                return Err(unpriced(&plan.model_name));
            }
            let input_micros = plan.price.input_micros.unwrap_or(0);
            let estimate = Estimate { bytes: held.bytes.len(), input_micros, is_free: plan.is_free };
            let admitted = spending.admit(&gateway.core, &key.id, &key.limits, &key.quotas, estimate).await?;
            (Some(admitted.0), admitted.1)
        }
        None => (None, Vec::new()),
    };
    held.share.grow(plan.body.as_ref().map_or(0, Vec::len))?;
    Ok(Forward { gateway, key, plan, head, held, socket, admission, left })
}

/// A budget in money that cannot count a call would be none.
fn unpriced(model: &str) -> Error {
    let what = match model {
        "" => String::from("this route"),
        model => format!("the model {model:?}"),
    };
    Error::new(
        Code::ModelNotAllowed,
        format!(
            "the agent key has a budget in money, its own or the default one, and what {what} costs is not known; an \
             administrator of Keyward can set its prices, both of them, or take the budget in money away"
        ),
    )
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

/// Tells how much of its limits a key has left (draft-ietf-httpapi-ratelimit-headers), and on OpenAI's routes also as OpenAI
/// does.
fn tell(response: &mut Response<GatewayBody>, left: &[Left], is_openai: bool) {
    if left.is_empty() {
        return;
    }
    let join = |part: &dyn Fn(&Left) -> String| left.iter().map(part).collect::<Vec<_>>().join(", ");
    let policy = join(&|left| {
        let unit = match left.quota.measure {
            Measure::Requests => "",
            Measure::Tokens => ";qu=\"tokens\"",
            Measure::Cost => ";qu=\"cost-micros\"",
        };
        format!("\"{}\";q={}{unit};w={}", left.quota.name(), told(left, left.quota.most), left.window_seconds)
    });
    let now =
        join(&|left| format!("\"{}\";r={};t={}", left.quota.name(), told(left, left.remaining), left.reset_seconds));
    set(response, HeaderName::from_static("ratelimit-policy"), &policy);
    set(response, HeaderName::from_static("ratelimit"), &now);
    if !is_openai {
        return;
    }
    for left in left.iter().filter(|left| left.quota.span == Span::Minute) {
        let names = match left.quota.measure {
            Measure::Requests => REQUESTS_LEFT,
            Measure::Tokens => TOKENS_LEFT,
            Measure::Cost => continue,
        };
        let values = [left.quota.most.to_string(), left.remaining.to_string(), format!("{}s", left.reset_seconds)];
        for (name, value) in names.into_iter().zip(values) {
            set(response, HeaderName::from_static(name), &value);
        }
    }
}

/// An amount as everywhere outside: money in millionths.
fn told(left: &Left, amount: i64) -> i64 {
    match left.quota.measure {
        Measure::Cost => amount / 1000,
        _ => amount,
    }
}

fn set(response: &mut Response<GatewayBody>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
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
