//! Where a call goes: from its path and its body's `model` to a provider, a path there, and a general key.

mod realtime;

use std::{borrow::Cow, sync::Arc};

use http::{Method, header, request::Parts};
use llm::{Auth, Kind, WireFormat};

use super::{body::Held, claim::Claim, parameter};
use crate::{
    domain::{
        Core,
        catalog::{KeyLink, ProviderEntry, Route, check_model_name},
        key_limits::KeyLimits,
        key_set::KeySet,
        prices::Price,
    },
    egress::Target,
    error::{Code, Error, Result},
};

/// What is to be sent, and where.
pub struct Plan {
    /// The provider.
    pub provider: Arc<ProviderEntry>,
    /// The general keys one of which is injected; `None` where the provider needs none.
    pub keys: Option<Arc<KeySet>>,
    /// The header it goes into.
    pub auth: Auth,
    /// The wire format of the call and its answer.
    pub wire: WireFormat,
    /// Path and query at the provider.
    pub path: String,
    /// The body instead of the caller's, where it had to change.
    pub body: Option<Vec<u8>>,
    /// Whether the chunk that tells the usage is to be left out of what the caller sees.
    pub drop_usage_chunk: bool,
    /// The model, as the agent named it; empty where the call names none.
    pub model_name: Arc<str>,
    /// Whether the model is one of the catalog.
    pub is_known_model: bool,
    /// What it costs.
    pub price: Price,
    /// The model as its provider names it; empty where the call names none.
    pub upstream_model: String,
    /// Whether the call can use no tokens: it only asks for something, or goes to a service.
    pub is_free: bool,
}

impl Plan {
    /// Where the provider is.
    ///
    /// # Errors
    /// [`Code::UpstreamUnreachable`] where its base URL may not be called any more.
    pub fn target(&self) -> Result<&Target> {
        self.provider.target.as_ref().map_err(|why| {
            Error::new(
                Code::UpstreamUnreachable,
                format!("the base URL of {} may not be called: {why}", self.provider.name),
            )
        })
    }
}

/// Resolves a call of a key that has these limits.
///
/// # Errors
/// [`Code::InvalidBody`], [`Code::ModelNotFound`], [`Code::RouteNotAllowed`], [`Code::UnsupportedWireFormat`],
/// [`Code::NoGeneralKey`], [`Code::StorageUnavailable`] and their like.
pub fn resolve(core: &Core, claim: Claim, head: &Parts, held: &Held<'_>, limits: &KeyLimits) -> Result<Plan> {
    let plan = resolve_by(core, claim, head, held, limits)?;
    let is_question = head.method == Method::GET && claim != Claim::Realtime;
    let is_free = is_question || plan.provider.kind == Kind::Service || counts_only(&plan.path);
    Ok(Plan { is_free, ..plan })
}

/// Whether a path only counts tokens, or judges a text, which no provider asks money for.
fn counts_only(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    ["/count_tokens", ":countTokens", "/moderations"].iter().any(|end| path.ends_with(end))
}

fn resolve_by(core: &Core, claim: Claim, head: &Parts, held: &Held<'_>, limits: &KeyLimits) -> Result<Plan> {
    match claim {
        Claim::OpenAi => openai(core, head, held),
        Claim::Anthropic => anthropic(core, head, held),
        Claim::Gemini => gemini(core, head, held),
        Claim::Azure => azure(core, head, held),
        Claim::Provider => provider(core, head, held, limits),
        Claim::Service => service(core, head),
        Claim::Realtime => realtime::resolve(core, head, held),
        Claim::Models => Err(Error::new(Code::Internal, "lists of models are answered before they are resolved")),
    }
}

fn openai(core: &Core, head: &Parts, held: &Held<'_>) -> Result<Plan> {
    let path = &head.uri.path()["/v1/".len()..];
    if head.method == Method::POST && !path.starts_with('/') && llm::form_route(path) {
        return openai_form(core, head, held, path);
    }
    if path.starts_with('/') || !llm::openai_route(path) || head.method != Method::POST {
        return Err(Error::new(
            Code::RouteNotAllowed,
            format!(
                "{} /v1/{path} is not one of the routes that `model` chooses a provider for; other routes of a \
                 provider are at /providers/NAME/…",
                head.method
            ),
        ));
    }
    let body = scan(&held.bytes)?;
    let route = core.catalog().resolve(named(&body)?)?;
    let kind = route.provider.kind;
    let usage = body.stream && matches!(path, "chat/completions" | "completions");
    let rewritten = body.rewrite(changed(&body, &route), usage);
    let prefix = kind.openai_prefix();
    finish(route, |target| Wired {
        auth: kind.openai_auth(),
        wire: WireFormat::OpenAi,
        path: with_query(format!("{}{prefix}/{path}", target.base_path), head),
        drop_usage_chunk: usage && !body.asked_for_usage(),
        body: rewritten,
    })
}

/// A call with files, whose `model` is a field of the form.
fn openai_form(core: &Core, head: &Parts, held: &Held<'_>, path: &str) -> Result<Plan> {
    let form = form(head, held)?;
    let route = core.catalog().resolve(form.model)?;
    let kind = route.provider.kind;
    let renamed = (form.model != route.upstream_model).then(|| form.rename(&route.upstream_model));
    finish(route, |target| Wired {
        auth: kind.openai_auth(),
        wire: WireFormat::OpenAi,
        path: with_query(format!("{}{}/{path}", target.base_path, kind.openai_prefix()), head),
        drop_usage_chunk: false,
        body: renamed,
    })
}

fn form<'a>(head: &Parts, held: &'a Held<'_>) -> Result<llm::Form<'a>> {
    let refused = |error: llm::FormError| Error::new(Code::InvalidBody, error.to_string());
    let mut types = head.headers.get_all(header::CONTENT_TYPE).iter();
    let boundary = match (types.next(), types.next()) {
        (Some(only), None) => llm::boundary(only.as_bytes()).map_err(refused)?,
        _ => return Err(refused(llm::FormError::NoBoundary)),
    };
    llm::scan_form(&held.bytes, boundary).map_err(refused)
}

fn anthropic(core: &Core, head: &Parts, held: &Held<'_>) -> Result<Plan> {
    let body = scan(&held.bytes)?;
    let route = core.catalog().resolve(named(&body)?)?;
    speaks(&route, WireFormat::Anthropic)?;
    let rewritten = body.rewrite(changed(&body, &route), false);
    finish(route, |target| Wired {
        auth: Auth::XApiKey,
        wire: WireFormat::Anthropic,
        path: with_query(format!("{}{}", target.base_path, head.uri.path()), head),
        drop_usage_chunk: false,
        body: rewritten,
    })
}

fn gemini(core: &Core, head: &Parts, held: &Held<'_>) -> Result<Plan> {
    let malformed = || Error::new(Code::RouteNotAllowed, "a Gemini call has the form /v1beta/models/MODEL:METHOD");
    let (version, call) = head.uri.path()[1..].split_once("/models/").ok_or_else(malformed)?;
    // Model names may hold colons themselves, so the method is what stands behind the last one.
    let (model, method) = call.rsplit_once(':').ok_or_else(malformed)?;
    let model = decoded(model)?;
    let route = core.catalog().resolve(&model)?;
    speaks(&route, WireFormat::Gemini)?;
    let path = format!("{version}/models/{}:{method}", encoded(&route.upstream_model));
    allowed(route.provider.kind, head, &path)?;
    let differs = route.upstream_model != *model;
    let body = differs.then(|| llm::rename_gemini_model(&held.bytes, &model, &route.upstream_model)).flatten();
    finish(route, |target| Wired {
        auth: Auth::XGoogApiKey,
        wire: WireFormat::Gemini,
        path: with_query(format!("{}/{path}", target.base_path), head),
        drop_usage_chunk: false,
        body,
    })
}

fn azure(core: &Core, head: &Parts, held: &Held<'_>) -> Result<Plan> {
    let rest = &head.uri.path()["/openai/deployments/".len()..];
    let (model, operation) = rest
        .split_once('/')
        .ok_or_else(|| Error::new(Code::RouteNotAllowed, "an Azure call has the form /openai/deployments/MODEL/…"))?;
    let model = decoded(model)?;
    let route = core.catalog().resolve(&model)?;
    speaks(&route, WireFormat::Azure)?;
    let path = format!("openai/deployments/{}/{operation}", encoded(&route.upstream_model));
    allowed(route.provider.kind, head, &path)?;
    let body = json_body(head, held, operation)?;
    let usage = operation.ends_with("completions") && body.as_ref().is_some_and(|body| body.stream);
    // Azure goes by the path; its client repeats the path's model in the body.
    let repeated = body.as_ref().is_some_and(|body| body.model.as_ref().is_some_and(|named| named.value == model));
    let renamed = repeated.then_some(route.upstream_model.as_str());
    let rewritten = body.as_ref().and_then(|body| body.rewrite(renamed, usage));
    finish(route, |target| Wired {
        auth: Auth::ApiKey,
        wire: WireFormat::Azure,
        path: with_query(format!("{}/{path}", target.base_path), head),
        drop_usage_chunk: usage && !body.as_ref().is_some_and(llm::Body::asked_for_usage),
        body: rewritten,
    })
}

fn provider(core: &Core, head: &Parts, held: &Held<'_>, limits: &KeyLimits) -> Result<Plan> {
    let rest = &head.uri.path()["/providers/".len()..];
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    let provider = core.catalog().provider(&decoded(name)?)?;
    let kind = provider.kind;
    if kind == Kind::Service {
        let detail = format!("{:?} is a service; it is called at /agents/NAME/…", provider.name);
        return Err(Error::new(Code::RouteNotAllowed, detail));
    }
    let wire = llm::route_wire(kind, path);
    let auth = if wire == kind.wire() { kind.native_auth() } else { kind.openai_auth() };
    if let Err(refused) = allowed(kind, head, path) {
        return if limits.opens_route(&provider.name, path) {
            opened(provider, head, path, wire, auth)
        } else {
            Err(refused)
        };
    }
    let body = json_body(head, held, path)?;
    let model = body.as_ref().and_then(|body| body.model.as_ref()).map(|model| model.value.as_ref());
    if let Some(model) = model {
        check_model_name(model)?;
    }
    let counts = matches!(wire, WireFormat::OpenAi | WireFormat::Azure) && path.ends_with("completions");
    let usage = counts && body.as_ref().is_some_and(|body| body.stream);
    let route = Route {
        key: provider.key.clone(),
        model_name: model.map_or_else(|| "".into(), |model| format!("{}/{model}", provider.name).into()),
        upstream_model: model.unwrap_or_default().to_owned(),
        is_known: false,
        price: model.map_or_else(Price::default, |model| core.catalog().price(&provider.id, model)),
        provider,
    };
    finish(route, |target| Wired {
        auth,
        wire,
        path: with_query(format!("{}/{path}", target.base_path), head),
        drop_usage_chunk: usage && !body.as_ref().is_some_and(llm::Body::asked_for_usage),
        body: body.as_ref().and_then(|body| body.rewrite(None, usage)),
    })
}

/// A call to a route that the key's limits open: passed as it is, whatever it holds.
fn opened(provider: Arc<ProviderEntry>, head: &Parts, path: &str, wire: WireFormat, auth: Auth) -> Result<Plan> {
    let route = Route {
        key: provider.key.clone(),
        model_name: "".into(),
        upstream_model: String::new(),
        is_known: false,
        price: Price::default(),
        provider,
    };
    finish(route, |target| Wired {
        auth,
        wire,
        path: with_query(format!("{}/{path}", target.base_path), head),
        drop_usage_chunk: false,
        body: None,
    })
}

/// A call to a service: passed as it is, by any method and whatever it holds.
fn service(core: &Core, head: &Parts) -> Result<Plan> {
    let rest = &head.uri.path()["/agents/".len()..];
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    let name = decoded(name)?;
    let provider = core.catalog().provider(&name)?;
    if provider.kind != Kind::Service {
        let detail = format!("{name:?} is a provider of models; it is called at /v1 or at /providers/NAME/…");
        return Err(Error::new(Code::RouteNotAllowed, detail));
    }
    if !llm::plain_path(path) {
        let detail = format!("{path:?} holds an empty or dot segment, or an encoded slash, dot or control character");
        return Err(Error::new(Code::RouteNotAllowed, detail));
    }
    let auth = provider.kind.native_auth();
    let route = Route {
        key: provider.key.clone(),
        model_name: "".into(),
        upstream_model: String::new(),
        is_known: false,
        price: Price::default(),
        provider,
    };
    let is_base = !rest.contains('/');
    finish(route, |target| Wired {
        auth,
        wire: WireFormat::OpenAi,
        path: with_query(
            match (is_base, target.base_path.as_str()) {
                (true, "") => String::from("/"),
                (true, base) => base.to_owned(),
                (false, base) => format!("{base}/{path}"),
            },
            head,
        ),
        drop_usage_chunk: false,
        body: None,
    })
}

/// What a wire format adds to a route.
struct Wired {
    auth: Auth,
    wire: WireFormat,
    path: String,
    drop_usage_chunk: bool,
    body: Option<Vec<u8>>,
}

fn finish(route: Route, parts: impl FnOnce(&Target) -> Wired) -> Result<Plan> {
    let keys = injectable(&route)?;
    let mut plan = Plan {
        provider: route.provider,
        keys,
        auth: Auth::Bearer,
        wire: WireFormat::OpenAi,
        path: String::new(),
        body: None,
        drop_usage_chunk: false,
        model_name: route.model_name,
        is_known_model: route.is_known,
        price: route.price,
        upstream_model: String::new(),
        is_free: false,
    };
    let parts = parts(plan.target()?);
    plan.upstream_model = route.upstream_model;
    plan.auth = parts.auth;
    plan.wire = parts.wire;
    plan.path = parts.path;
    plan.body = parts.body;
    plan.drop_usage_chunk = parts.drop_usage_chunk;
    Ok(plan)
}

/// The keys to inject one of: the model's, else the provider's, else none where the provider needs none.
fn injectable(route: &Route) -> Result<Option<Arc<KeySet>>> {
    match &route.key {
        KeyLink::Open(keys) => Ok(Some(Arc::clone(keys))),
        KeyLink::None if !route.provider.kind.needs_key() => Ok(None),
        KeyLink::None => Err(Error::new(
            Code::NoGeneralKey,
            format!(
                "no general key is linked to the provider {}; an administrator of Keyward can link one to it, or to \
                 the model",
                route.provider.name
            ),
        )),
        KeyLink::Refused(why) => Err(Error::new(
            Code::NoGeneralKey,
            format!("the general key linked for {} cannot be used: {why}", route.provider.name),
        )),
    }
}

fn scan(bytes: &[u8]) -> Result<llm::Body<'_>> {
    llm::scan(bytes).map_err(|error| Error::new(Code::InvalidBody, error.to_string()))
}

/// The body of a call to `path` that carries JSON. Forms, on the routes that take them, and calls without a body are
/// passed as they are.
fn json_body<'a>(head: &Parts, held: &'a Held<'_>, path: &str) -> Result<Option<llm::Body<'a>>> {
    if held.bytes.is_empty() || (llm::form_route(path) && is_form(head)) {
        Ok(None)
    } else {
        scan(&held.bytes).map(Some)
    }
}

fn is_form(head: &Parts) -> bool {
    let mut types = head.headers.get_all(header::CONTENT_TYPE).iter();
    matches!((types.next(), types.next()), (Some(only), None) if llm::boundary(only.as_bytes()).is_ok())
}

fn named<'b>(body: &'b llm::Body<'_>) -> Result<&'b str> {
    match &body.model {
        Some(model) => Ok(model.value.as_ref()),
        None => Err(Error::new(Code::InvalidBody, "the body has no `model`; it names the model to call")),
    }
}

/// The provider's name for the model, where it differs from what the agent wrote.
fn changed<'r>(body: &llm::Body<'_>, route: &'r Route) -> Option<&'r str> {
    let written = body.model.as_ref().map(|model| model.value.as_ref());
    (written != Some(route.upstream_model.as_str())).then_some(route.upstream_model.as_str())
}

fn speaks(route: &Route, wire: WireFormat) -> Result<()> {
    if route.provider.kind.wire() == wire {
        return Ok(());
    }
    Err(Error::new(
        Code::UnsupportedWireFormat,
        format!(
            "the model {} is at {}, a provider of the kind {}, which does not speak this wire format; call it with \
             OpenAI's, at /v1/chat/completions",
            route.model_name,
            route.provider.name,
            route.provider.kind.as_str()
        ),
    ))
}

fn allowed(kind: Kind, head: &Parts, path: &str) -> Result<()> {
    if !path.starts_with('/') && llm::inference_route(kind, head.method.as_str(), path) {
        return Ok(());
    }
    Err(not_allowed(kind, &head.method, path))
}

fn not_allowed(kind: Kind, method: &Method, path: &str) -> Error {
    Error::new(
        Code::RouteNotAllowed,
        format!(
            "{method} {path:?} is not one of the inference and model-list routes of {}, which are all that an agent key \
             may call by default; an administrator of Keyward can open further ones to it (allowed_routes)",
            kind.label()
        ),
    )
}

fn with_query(mut path: String, head: &Parts) -> String {
    let Some(query) = head.uri.query() else { return path };
    let query = parameter::without_credentials(query);
    if !query.is_empty() {
        path.push('?');
        path.push_str(&query);
    }
    path
}

fn decoded(segment: &str) -> Result<Cow<'_, str>> {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Error::new(Code::InvalidBody, "the path is not UTF-8"))
}

/// A model's name as one path segment, `/` left as it is: providers have models in folders.
fn encoded(name: &str) -> String {
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b'/')
        .remove(b':')
        .remove(b'@');
    percent_encoding::utf8_percent_encode(name, PLAIN).to_string()
}
