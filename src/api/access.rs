//! What each operation of the management API takes. One without a line here is refused, whoever asks.

use axum::http::Method;

use crate::{
    domain::roles::Permission::{self, *},
    error::{Code, Error},
};

/// By method and path, as the routes spell it. The `{id}` in a path is the thing whose owner counts, where whoever asks
/// may do it with their own only.
const RULES: [(&str, &str, Permission); 66] = [
    ("GET", "/api/v1/general-keys", ReadGeneralKeys),
    ("POST", "/api/v1/general-keys", CreateGeneralKeys),
    ("GET", "/api/v1/general-keys/{id}", ReadGeneralKeys),
    ("PATCH", "/api/v1/general-keys/{id}", EditGeneralKeys),
    ("DELETE", "/api/v1/general-keys/{id}", DeleteGeneralKeys),
    ("POST", "/api/v1/general-keys/{id}/test", EditGeneralKeys),
    ("GET", "/api/v1/agent-keys", ReadAgentKeys),
    ("POST", "/api/v1/agent-keys", CreateAgentKeys),
    ("GET", "/api/v1/agent-keys/{id}", ReadAgentKeys),
    ("PATCH", "/api/v1/agent-keys/{id}", EditAgentKeys),
    ("DELETE", "/api/v1/agent-keys/{id}", DeleteAgentKeys),
    ("POST", "/api/v1/agent-keys/{id}/disable", EditAgentKeys),
    ("POST", "/api/v1/agent-keys/{id}/enable", EditAgentKeys),
    // Of these each key is asked about by itself.
    ("POST", "/api/v1/agent-keys/bulk-create", CreateAgentKeys),
    ("POST", "/api/v1/agent-keys/import", CreateAgentKeys),
    ("POST", "/api/v1/agent-keys/bulk-disable", EditAgentKeys),
    ("POST", "/api/v1/agent-keys/bulk-enable", EditAgentKeys),
    ("POST", "/api/v1/agent-keys/bulk-delete", DeleteAgentKeys),
    ("POST", "/api/v1/agent-keys/bulk-tag", EditAgentKeys),
    // Whoever rotates a key is shown a secret, as whoever creates one.
    ("POST", "/api/v1/agent-keys/{id}/rotate", CreateAgentKeys),
    ("POST", "/api/v1/agent-keys/{id}/retire", EditAgentKeys),
    ("GET", "/api/v1/agent-keys/{id}/secrets", ReadAgentKeys),
    ("GET", "/api/v1/agent-key-defaults", ReadPolicies),
    ("PATCH", "/api/v1/agent-key-defaults", WritePolicies),
    ("GET", "/api/v1/providers", ReadProviders),
    ("POST", "/api/v1/providers", WriteProviders),
    ("GET", "/api/v1/providers/{id}", ReadProviders),
    ("PATCH", "/api/v1/providers/{id}", WriteProviders),
    ("DELETE", "/api/v1/providers/{id}", WriteProviders),
    // The general key goes out for it, as for a test.
    ("GET", "/api/v1/providers/{id}/available-models", WriteModels),
    ("POST", "/api/v1/providers/{id}/import-models", WriteModels),
    ("GET", "/api/v1/models", ReadModels),
    ("POST", "/api/v1/models", WriteModels),
    ("GET", "/api/v1/models/{id}", ReadModels),
    ("PATCH", "/api/v1/models/{id}", WriteModels),
    ("DELETE", "/api/v1/models/{id}", WriteModels),
    ("GET", "/api/v1/policies", ReadPolicies),
    ("POST", "/api/v1/policies", WritePolicies),
    ("GET", "/api/v1/policies/{id}", ReadPolicies),
    ("PATCH", "/api/v1/policies/{id}", WritePolicies),
    ("DELETE", "/api/v1/policies/{id}", WritePolicies),
    ("GET", "/api/v1/webhooks", ReadWebhooks),
    ("POST", "/api/v1/webhooks", WriteWebhooks),
    ("GET", "/api/v1/webhooks/{id}", ReadWebhooks),
    ("PATCH", "/api/v1/webhooks/{id}", WriteWebhooks),
    ("DELETE", "/api/v1/webhooks/{id}", WriteWebhooks),
    ("POST", "/api/v1/webhooks/{id}/test", WriteWebhooks),
    ("GET", "/api/v1/webhooks/{id}/deliveries", ReadWebhooks),
    ("POST", "/api/v1/mail/test", WriteWebhooks),
    ("GET", "/api/v1/members", ReadMembers),
    ("POST", "/api/v1/members", WriteMembers),
    ("GET", "/api/v1/members/{id}", ReadMembers),
    ("PATCH", "/api/v1/members/{id}", WriteMembers),
    ("DELETE", "/api/v1/members/{id}", WriteMembers),
    ("POST", "/api/v1/members/{id}/invitation", WriteMembers),
    ("DELETE", "/api/v1/members/{id}/second-factor", WriteMembers),
    ("GET", "/api/v1/management-tokens", ReadTokens),
    ("POST", "/api/v1/management-tokens", WriteTokens),
    ("GET", "/api/v1/management-tokens/{id}", ReadTokens),
    ("PATCH", "/api/v1/management-tokens/{id}", WriteTokens),
    ("DELETE", "/api/v1/management-tokens/{id}", WriteTokens),
    ("GET", "/api/v1/audit-events", ReadAudit),
    ("GET", "/api/v1/usage", ReadUsage),
    ("GET", "/api/v1/installation", ReadAudit),
    ("GET", "/metrics", ReadMetrics),
    ("POST", "/oauth2/introspect", Introspect),
];

/// What an operation takes.
///
/// # Errors
/// An operation that no line is about.
pub fn permission(method: &Method, path: &str) -> Result<Permission, Error> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let rule = RULES.iter().find(|(of, at, _)| *of == method && *at == path);
    rule.map(|(_, _, permission)| *permission).ok_or_else(|| {
        let cause = format!("src/api/access.rs has no line for {method} {path}");
        Error::new(Code::Internal, "nothing says who may do this, so nobody may").with_cause(cause)
    })
}
