//! The console: pages for administrators, one file per page. A handler parses, asks the domain, fills the page's struct
//! and renders it; every word a person reads stands in `templates/`, except text that only the server can know (names,
//! masks, a provider's answer, a refused field's reason).
//!
//! Each page's struct names its URL in its first line; `POST` lines list the form's fields. Every field is sent, empty
//! when untouched. Two hidden fields recur: `version` (of the row that was read; another one now is a conflict) and
//! `nonce` (the idempotency key of a form that creates something).
//!
//! Every page works without the script. URLs hold ids, never names. The gateway has `/providers/…`, so providers and
//! models stand under `/catalog`.

mod access;
mod account;
mod agent_keys;
mod assets;
mod audit;
mod catalog;
mod chart;
mod conflict;
mod damaged;
mod default_limits;
mod docs;
mod failure;
mod figures;
mod forms;
mod general_keys;
mod installation;
mod invitation;
mod issuer;
mod list;
mod members;
mod moment;
mod overview;
mod parts;
mod policies;
mod qr;
mod second_factor;
mod session;
mod setup;
mod shell;
mod sign_in;
mod sign_in_code;
mod steps;
mod test_key;
mod tokens;
mod usage;
mod webhooks;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Request, State as AxumState},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};

use self::failure::Failure;
use crate::{
    auth,
    config::WebConfig,
    domain::Core,
    error::{Code, Error},
    request,
};

/// What a page may do: load from here, post to here, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What handlers work with.
#[derive(Clone)]
pub struct State {
    /// The rules.
    pub core: Arc<Core>,
    /// Where Keyward is reached.
    pub web: Arc<WebConfig>,
    /// `/docs`, which never changes.
    docs: Arc<str>,
}

/// What a handler answers.
type Answer = Result<Response, Failure>;

/// The console's routes; `description` is the management API's, for `/docs`.
pub fn router(core: Arc<Core>, web: Arc<WebConfig>, description: &str) -> Router {
    let state = State { core, web, docs: docs::render(description).into() };
    let signed_in = Router::new()
        .route("/keys/general", get(general_keys::list))
        .route("/keys/general/new", get(general_keys::form::new).post(general_keys::form::create))
        .route("/keys/general/import", get(general_keys::import::ask).post(general_keys::import::preview))
        .route("/keys/general/import/save", get(general_keys::import::back).post(general_keys::import::save))
        .route("/keys/general/test", post(test_key::typed))
        .route("/keys/general/{id}/edit", get(general_keys::form::edit).post(general_keys::form::save))
        .route("/keys/general/{id}/test", post(test_key::stored))
        .route("/keys/general/{id}/delete", get(general_keys::ask_delete).post(general_keys::delete))
        .route("/keys/agent", get(agent_keys::list))
        .route("/keys/agent/import", get(agent_keys::import::ask).post(agent_keys::import::preview))
        .route("/keys/agent/import/save", get(agent_keys::import::back).post(agent_keys::import::save))
        .route("/keys/agent/bulk", get(agent_keys::bulk::back).post(agent_keys::bulk::act))
        .route("/keys/agent/new", get(agent_keys::new::form).post(agent_keys::new::create))
        .route("/keys/agent/{id}", get(agent_keys::edit::form))
        .route("/keys/agent/{id}/edit", get(agent_keys::edit::form).post(agent_keys::edit::save))
        .route("/keys/agent/{id}/used", get(agent_keys::new::used))
        .route("/keys/agent/{id}/disable", post(agent_keys::edit::disable))
        .route("/keys/agent/{id}/enable", post(agent_keys::edit::enable))
        .route("/keys/agent/{id}/rotate", get(agent_keys::rotate::back).post(agent_keys::rotate::rotate))
        .route("/keys/agent/{id}/retire", post(agent_keys::rotate::retire))
        .route("/keys/agent/{id}/delete", get(agent_keys::ask_delete).post(agent_keys::delete))
        .route("/catalog", get(catalog::list))
        .route("/catalog/providers/new", get(catalog::provider::new).post(catalog::provider::create))
        .route("/catalog/providers/{id}/edit", get(catalog::provider::edit).post(catalog::provider::save))
        .route("/catalog/providers/{id}/test", post(test_key::of_provider))
        .route("/catalog/providers/{id}/import", get(catalog::import::ask).post(catalog::import::import))
        .route("/catalog/providers/{id}/delete", get(catalog::ask_delete_provider).post(catalog::delete_provider))
        .route("/catalog/models/new", get(catalog::model::new).post(catalog::model::create))
        .route("/catalog/models/{id}/edit", get(catalog::model::edit).post(catalog::model::save))
        .route("/catalog/models/{id}/test", post(test_key::of_model))
        .route("/catalog/models/{id}/delete", get(catalog::ask_delete_model).post(catalog::delete_model))
        .route("/overview", get(overview::show))
        .route("/usage", get(usage::show))
        .route("/usage.csv", get(usage::csv))
        .route("/audit", get(audit::list))
        .route("/audit.ndjson", get(audit::export))
        .route("/members", get(members::list))
        .route("/members/new", get(members::form::new).post(members::form::create))
        .route("/members/{id}/edit", get(members::form::edit).post(members::form::save))
        .route("/members/{id}/invitation", post(members::form::invite_again))
        .route("/members/{id}/second-factor", post(members::form::remove_second_factor))
        .route("/members/{id}/delete", get(members::remove::ask).post(members::remove::remove))
        .route("/settings/tokens", get(tokens::list))
        .route("/settings/tokens/new", get(tokens::form::new).post(tokens::form::create))
        .route("/settings/tokens/{id}/edit", get(tokens::form::edit).post(tokens::form::save))
        .route("/settings/tokens/{id}/delete", get(tokens::ask_delete).post(tokens::delete))
        .route("/settings/limits", get(default_limits::form).post(default_limits::save))
        .route("/settings/policies", get(policies::list))
        .route("/settings/policies/new", get(policies::form::new).post(policies::form::create))
        .route("/settings/policies/{id}/edit", get(policies::form::edit).post(policies::form::save))
        .route("/settings/policies/{id}/use", get(policies::proxy::show))
        .route("/settings/policies/{id}/delete", get(policies::ask_delete).post(policies::delete))
        .route("/settings/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/settings/webhooks/{id}/edit", get(webhooks::edit::form).post(webhooks::edit::save))
        .route("/settings/webhooks/{id}/test", post(webhooks::test))
        .route("/settings/webhooks/{id}/delete", post(webhooks::delete))
        .route("/settings/mail/test", post(webhooks::test_mail))
        .route("/settings/installation", get(installation::show))
        .route("/settings/account", get(account::form).post(account::save))
        .route("/settings/account/identity", post(issuer::change))
        .route("/settings/account/mail", post(account::choose_mail))
        .route("/settings/account/second-factor", get(second_factor::form).post(second_factor::confirm))
        .route("/settings/account/second-factor/change", post(second_factor::change))
        .layer(middleware::from_fn_with_state(state.clone(), session::require));
    Router::new()
        .merge(signed_in)
        .route("/", get(async || Redirect::to("/keys/general")))
        .route("/setup", get(setup::form).post(setup::claim))
        .route("/invitation", get(invitation::form).post(invitation::claim))
        .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
        .route("/sign-in/oidc", get(issuer::outward))
        .route("/sign-in/oidc/callback", get(issuer::returned))
        .route("/invitation/identity", post(issuer::join))
        .route("/sign-in/code", get(sign_in_code::form).post(sign_in_code::take))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/docs", get(docs::page))
        .route("/assets/{file}", get(assets::serve))
        .fallback(async || Failure::not_found())
        .method_not_allowed_fallback(async || {
            Failure::from(Error::new(Code::MethodNotAllowed, "This address is only for forms to be sent to."))
        })
        .layer(middleware::from_fn_with_state(state.clone(), guard))
        .layer(middleware::from_fn(failure::show))
        .layer(middleware::map_response(harden))
        .with_state(state)
}

/// Lets through what is meant for us, and, where it may change something, what a page of ours sent.
async fn guard(AxumState(state): AxumState<State>, request: Request, next: Next) -> Response {
    if !request::is_for_us(&request, &state.web) {
        return Failure::from(Error::new(Code::WrongHost, "this host name is not one of ours")).into_response();
    }
    let is_https = request.extensions().get::<request::OverHttps>().is_some();
    let mut response = match auth::check_same_origin(&state.web, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => Failure::from(error).into_response(),
    };
    if is_https {
        auth::keep_to_https(response.headers_mut());
    }
    response
}

/// What every answer says about itself.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A rendered page.
fn page(status: StatusCode, page: &impl Template) -> Answer {
    match page.render() {
        Ok(text) => Ok((status, Html(text)).into_response()),
        Err(error) => Err(Error::new(Code::Internal, "a page could not be rendered").with_cause(error).into()),
    }
}
