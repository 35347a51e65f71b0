//! What each page of signed-in members takes. One without a line here is refused, whoever asks.

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams},
    http::request::Parts,
    response::Redirect,
};

use super::{
    State,
    failure::Failure,
    session::{HOME, Session},
};
use crate::{
    domain::{
        access,
        roles::Permission::{self, *},
    },
    error::{Code, Error},
};

/// Where those begin who see no general keys.
const AGENT_KEYS: &str = "/keys/agent";

/// Where a second factor is set up: all that is open to a member who must have one first.
const SECOND_FACTOR: &str = "/settings/account/second-factor";

/// What a page takes.
#[derive(Clone, Copy)]
enum Takes {
    /// Nothing but to be signed in: it is about oneself.
    Nothing,
    /// A permission.
    May(Permission),
}
use Takes::{May, Nothing};

/// By path, as the routes spell it: to look at it, and to send its form. The `{id}` in a path is the thing whose owner
/// counts, where whoever asks may do it with their own only.
const RULES: [(&str, Takes, Takes); 63] = [
    ("/keys/general", May(ReadGeneralKeys), May(CreateGeneralKeys)),
    ("/keys/general/new", May(CreateGeneralKeys), May(CreateGeneralKeys)),
    ("/keys/general/import", May(CreateGeneralKeys), May(CreateGeneralKeys)),
    ("/keys/general/import/save", May(CreateGeneralKeys), May(CreateGeneralKeys)),
    ("/keys/general/test", May(EditGeneralKeys), May(EditGeneralKeys)),
    ("/keys/general/{id}/edit", May(EditGeneralKeys), May(EditGeneralKeys)),
    ("/keys/general/{id}/test", May(EditGeneralKeys), May(EditGeneralKeys)),
    ("/keys/general/{id}/delete", May(DeleteGeneralKeys), May(DeleteGeneralKeys)),
    ("/keys/agent", May(ReadAgentKeys), May(CreateAgentKeys)),
    // Of each key it is asked again.
    ("/keys/agent/import", May(CreateAgentKeys), May(CreateAgentKeys)),
    ("/keys/agent/import/save", May(CreateAgentKeys), May(CreateAgentKeys)),
    ("/keys/agent/bulk", May(EditAgentKeys), May(EditAgentKeys)),
    ("/keys/agent/new", May(CreateAgentKeys), May(CreateAgentKeys)),
    ("/keys/agent/{id}", May(ReadAgentKeys), May(EditAgentKeys)),
    ("/keys/agent/{id}/edit", May(ReadAgentKeys), May(EditAgentKeys)),
    ("/keys/agent/{id}/used", May(ReadAgentKeys), May(EditAgentKeys)),
    ("/keys/agent/{id}/disable", May(EditAgentKeys), May(EditAgentKeys)),
    ("/keys/agent/{id}/enable", May(EditAgentKeys), May(EditAgentKeys)),
    ("/keys/agent/{id}/rotate", May(CreateAgentKeys), May(CreateAgentKeys)),
    ("/keys/agent/{id}/retire", May(EditAgentKeys), May(EditAgentKeys)),
    ("/keys/agent/{id}/delete", May(DeleteAgentKeys), May(DeleteAgentKeys)),
    ("/catalog", May(ReadProviders), May(WriteProviders)),
    ("/catalog/providers/new", May(WriteProviders), May(WriteProviders)),
    ("/catalog/providers/{id}/edit", May(WriteProviders), May(WriteProviders)),
    ("/catalog/providers/{id}/test", May(EditGeneralKeys), May(EditGeneralKeys)),
    ("/catalog/providers/{id}/import", May(WriteModels), May(WriteModels)),
    ("/catalog/providers/{id}/delete", May(WriteProviders), May(WriteProviders)),
    ("/catalog/models/new", May(WriteModels), May(WriteModels)),
    ("/catalog/models/{id}/edit", May(WriteModels), May(WriteModels)),
    ("/catalog/models/{id}/test", May(EditGeneralKeys), May(EditGeneralKeys)),
    ("/catalog/models/{id}/delete", May(WriteModels), May(WriteModels)),
    ("/overview", May(ReadUsage), May(ReadUsage)),
    ("/usage", May(ReadUsage), May(ReadUsage)),
    ("/usage.csv", May(ReadUsage), May(ReadUsage)),
    ("/audit", May(ReadAudit), May(ReadAudit)),
    ("/audit.ndjson", May(ReadAudit), May(ReadAudit)),
    ("/members", May(ReadMembers), May(WriteMembers)),
    ("/members/new", May(WriteMembers), May(WriteMembers)),
    ("/members/{id}/edit", May(WriteMembers), May(WriteMembers)),
    ("/members/{id}/invitation", May(WriteMembers), May(WriteMembers)),
    ("/members/{id}/second-factor", May(WriteMembers), May(WriteMembers)),
    ("/members/{id}/delete", May(WriteMembers), May(WriteMembers)),
    ("/settings/tokens", May(ReadTokens), May(WriteTokens)),
    ("/settings/tokens/new", May(WriteTokens), May(WriteTokens)),
    ("/settings/tokens/{id}/edit", May(WriteTokens), May(WriteTokens)),
    ("/settings/tokens/{id}/delete", May(WriteTokens), May(WriteTokens)),
    ("/settings/limits", May(ReadPolicies), May(WritePolicies)),
    ("/settings/policies", May(ReadPolicies), May(WritePolicies)),
    ("/settings/policies/new", May(WritePolicies), May(WritePolicies)),
    ("/settings/policies/{id}/edit", May(WritePolicies), May(WritePolicies)),
    ("/settings/policies/{id}/use", May(ReadPolicies), May(ReadPolicies)),
    ("/settings/policies/{id}/delete", May(WritePolicies), May(WritePolicies)),
    ("/settings/webhooks", May(ReadWebhooks), May(WriteWebhooks)),
    ("/settings/webhooks/{id}/edit", May(WriteWebhooks), May(WriteWebhooks)),
    ("/settings/webhooks/{id}/test", May(WriteWebhooks), May(WriteWebhooks)),
    ("/settings/webhooks/{id}/delete", May(WriteWebhooks), May(WriteWebhooks)),
    ("/settings/mail/test", May(WriteWebhooks), May(WriteWebhooks)),
    ("/settings/installation", May(ReadAudit), May(ReadAudit)),
    ("/settings/account", Nothing, Nothing),
    (SECOND_FACTOR, Nothing, Nothing),
    ("/settings/account/identity", Nothing, Nothing),
    ("/settings/account/mail", Nothing, Nothing),
    ("/settings/account/second-factor/change", Nothing, Nothing),
];

/// Lets a member through whose role may, or leads them to the page that is theirs to begin with.
///
/// # Errors
/// The refusal, which is recorded; a page that no line is about.
pub async fn check(state: &State, session: &Session, parts: &mut Parts) -> Result<Option<Redirect>, Failure> {
    let path = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let rule = RULES.iter().find(|(at, _, _)| *at == path).ok_or_else(|| {
        let cause = format!("src/console/access.rs has no line for {path}");
        Error::new(Code::Internal, "nothing says who may see this page, so nobody may").with_cause(cause)
    })?;
    if session.signed_in().needs_second_factor && path != SECOND_FACTOR {
        return Ok(Some(Redirect::to(SECOND_FACTOR)));
    }
    let permission = match if parts.method.is_safe() { rule.1 } else { rule.2 } {
        May(permission) => permission,
        Nothing => return Ok(None),
    };
    let actor = session.actor();
    if path == HOME && !actor.authority.may(permission) && actor.authority.may(ReadAgentKeys) {
        // What was just done is told there; nothing else of the address fits.
        let done = parts.uri.query().filter(|query| query.starts_with("done=") && !query.contains('&'));
        return Ok(Some(Redirect::to(&done.map_or(String::from(AGENT_KEYS), |done| format!("{AGENT_KEYS}?{done}")))));
    }
    let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Failure::not_found())?;
    let id = params.iter().find(|(name, _)| *name == "id").map(|(_, id)| id.to_owned());
    access::check(&state.core, actor, permission, id.as_deref()).await?;
    Ok(None)
}
