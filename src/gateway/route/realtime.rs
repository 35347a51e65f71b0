//! Where a WebSocket goes: its query names the model.

use http::request::Parts;
use llm::WireFormat;

use super::{Plan, Wired, decoded, encoded, finish, not_allowed};
use crate::{
    domain::{
        Core,
        catalog::{Route, check_model_name},
    },
    error::{Code, Error, Result},
    gateway::{body::Held, claim::AZURE_REALTIME, parameter::Parameter},
};

/// Resolves a call that opens a WebSocket.
///
/// # Errors
/// As [`super::resolve`], and [`Code::InvalidBody`] where the call has a body.
pub fn resolve(core: &Core, head: &Parts, held: &Held<'_>) -> Result<Plan> {
    if !held.bytes.is_empty() {
        return Err(Error::new(Code::InvalidBody, "what opens a WebSocket has no body"));
    }
    let path = head.uri.path();
    let parameter = if path.ends_with(AZURE_REALTIME) { "deployment" } else { "model" };
    let query = head.uri.query().unwrap_or_default();
    let model = Parameter::only(query, parameter)?;
    check_model_name(&model.value)?;
    let (route, path) = match path.strip_prefix("/providers/").and_then(|rest| rest.split_once('/')) {
        Some((name, path)) => {
            let provider = core.catalog().provider(&decoded(name)?)?;
            if path.starts_with('/') || !llm::socket_route(provider.kind, path) {
                return Err(not_allowed(provider.kind, &head.method, path));
            }
            let route = Route {
                key: provider.key.clone(),
                model_name: format!("{}/{}", provider.name, model.value).into(),
                upstream_model: model.value.clone().into_owned(),
                is_known: false,
                price: core.catalog().price(&provider.id, &model.value),
                provider,
            };
            (route, format!("/{path}"))
        }
        None => {
            let route = core.catalog().resolve(&model.value)?;
            let kind = route.provider.kind;
            let own = match path {
                AZURE_REALTIME => path.to_owned(),
                _ => format!("{}/realtime", kind.openai_prefix()),
            };
            if !llm::socket_route(kind, &own) {
                return Err(no_socket(&route));
            }
            (route, own)
        }
    };
    let query = if model.value == route.upstream_model {
        query.into()
    } else {
        model.replaced(query, &encoded(&route.upstream_model))
    };
    let auth = route.provider.kind.openai_auth();
    finish(route, |target| Wired {
        auth,
        wire: WireFormat::OpenAi,
        path: format!("{}{path}?{query}", target.base_path),
        drop_usage_chunk: false,
        body: None,
    })
}

fn no_socket(route: &Route) -> Error {
    Error::new(
        Code::UnsupportedWireFormat,
        format!(
            "the model {} is at {}, a provider of the kind {}, which has no WebSocket in this place",
            route.model_name,
            route.provider.name,
            route.provider.kind.as_str()
        ),
    )
}
