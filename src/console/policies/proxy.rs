//! How to use a policy: what the proxy before a service is told.

use askama::Template;
use axum::{extract::State as AxumState, http::StatusCode};

use super::{Asked, path_of};
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        forms::Id,
        page,
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::policies::{self, Requirements, RoutesFrom},
};

/// `GET /settings/policies/{id}/use`
#[derive(Clone, Debug, Template)]
#[template(path = "policy_use.html")]
pub struct PolicyUsePage {
    /// Around it.
    pub shell: Shell,
    /// The policy's name.
    pub name: String,
    /// What it asks beside that a key is good.
    pub asks: Vec<Asked>,
    /// Keyward's public URL, without a slash at the end.
    pub base_url: String,
    /// `/auth/policies/…/verify`
    pub path: String,
    /// A path that its routes take.
    pub sample: String,
    /// The proxy that tells the path of a call where the policy looks for it.
    pub proxy: Proxy,
}

/// A proxy that asks before it lets a call through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// nginx, with `auth_request`; the path of the call does not matter.
    Nginx,
    /// nginx, which is told to pass the path of the call on.
    NginxWithPath,
    /// Caddy, with `forward_auth`.
    Caddy,
    /// Envoy, with `ext_authz`.
    Envoy,
}

impl Proxy {
    /// The one that suits what is asked.
    fn of(requires: &Requirements) -> Proxy {
        match requires.routes_from {
            RoutesFrom::XForwardedUri => Proxy::Caddy,
            RoutesFrom::XOriginalUri => Proxy::NginxWithPath,
            RoutesFrom::Path if requires.routes.is_empty() => Proxy::Nginx,
            RoutesFrom::Path => Proxy::Envoy,
        }
    }

    /// Where the whole of its configuration stands in the documentation.
    fn guide(self) -> &'static str {
        match self {
            Proxy::Nginx | Proxy::NginxWithPath => "docs/guides/nginx.md",
            Proxy::Caddy | Proxy::Envoy => "docs/guides/verification.md",
        }
    }
}

/// `GET /settings/policies/{id}/use`
pub async fn show(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let policy = policies::get(&state.core, &id).await?;
    let requires = Requirements::of_column(&policy.requires)?;
    let shown = PolicyUsePage {
        shell: session.shell(Nav::Settings),
        asks: Asked::of(&requires),
        base_url: state.web.base(),
        path: path_of(&policy.name),
        sample: sample_of(&requires),
        proxy: Proxy::of(&requires),
        name: policy.name,
    };
    page(StatusCode::OK, &shown)
}

/// A path that the first of the routes takes.
fn sample_of(requires: &Requirements) -> String {
    let Some(route) = requires.routes.first() else { return String::from("/path/of/the/call") };
    let path = route.strip_prefix('*').map_or_else(|| route.clone(), |rest| format!("/{rest}"));
    path.replace('*', "x").replacen("//", "/", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_that_tells_the_path_where_it_is_looked_for() {
        let asks = |routes_from, routes: &[&str]| Requirements {
            routes_from,
            routes: routes.iter().map(|route| String::from(*route)).collect(),
            ..Requirements::default()
        };
        assert_eq!(Proxy::of(&asks(RoutesFrom::Path, &[])), Proxy::Nginx);
        assert_eq!(Proxy::of(&asks(RoutesFrom::Path, &["/a"])), Proxy::Envoy);
        assert_eq!(Proxy::of(&asks(RoutesFrom::XForwardedUri, &["/a"])), Proxy::Caddy);
        assert_eq!(Proxy::of(&asks(RoutesFrom::XOriginalUri, &["/a"])), Proxy::NginxWithPath);
    }
}
