//! The settings of sign-in by OpenID Connect.

use url::Url;

use super::{
    parse_bool,
    source::{ConfigError, Source},
};

/// Who else proves who members are.
#[derive(Clone)]
pub struct OidcConfig {
    /// The issuer's identifier, to the letter as it stands in its tokens.
    pub issuer: String,
    /// What it calls this Keyward.
    pub client_id: String,
    /// What this Keyward proves that with; `None` for a public client.
    pub client_secret: Option<String>,
    /// What is asked for, beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that holds the groups.
    pub groups_claim: String,
    /// Groups, each with the role it gives.
    pub role_map: Vec<(String, String)>,
    /// What members call it: on the button.
    pub name: String,
    /// Whether it may be on a private address, or speak plain http.
    pub allow_private: bool,
}

impl std::fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the secret.
        f.debug_struct("OidcConfig").field("issuer", &self.issuer).field("client_id", &self.client_id).finish()
    }
}

/// Those that say nothing without an issuer.
const OTHERS: [&str; 6] =
    ["oidc_client_id", "oidc_scopes", "oidc_groups_claim", "oidc_role_map", "oidc_name", "oidc_allow_private"];

impl OidcConfig {
    /// Reads the settings, if an issuer is set.
    ///
    /// # Errors
    /// [`ConfigError`], also where something is set and the issuer is not.
    pub fn load(source: &Source) -> Result<Option<OidcConfig>, ConfigError> {
        let client_secret = source.secret("oidc_client_secret")?;
        let Some(issuer) = source.optional("oidc_issuer")? else {
            let alone = if client_secret.is_some() { Some("oidc_client_secret") } else { None };
            for name in OTHERS.into_iter().chain(alone) {
                if alone == Some(name) || source.optional(name)?.is_some() {
                    return Err(ConfigError::wrong(
                        name,
                        "is for sign-in by OpenID Connect: set KEYWARD_OIDC_ISSUER too",
                    ));
                }
            }
            return Ok(None);
        };
        check_issuer(&issuer)?;
        let client_id = source.optional("oidc_client_id")?.filter(|id| !id.trim().is_empty()).ok_or_else(|| {
            ConfigError::wrong("oidc_client_id", "must be set beside KEYWARD_OIDC_ISSUER, which gives it out")
        })?;
        let host = Url::parse(&issuer).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        Ok(Some(OidcConfig {
            client_id,
            client_secret,
            scopes: words(&source.text("oidc_scopes", "email profile")?),
            groups_claim: source.text("oidc_groups_claim", "groups")?,
            role_map: source.parsed("oidc_role_map", "", parse_role_map)?,
            name: source.text("oidc_name", &host)?,
            allow_private: source.parsed("oidc_allow_private", "false", parse_bool)?,
            issuer,
        }))
    }
}

fn check_issuer(issuer: &str) -> Result<(), ConfigError> {
    let url = Url::parse(issuer).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    match url {
        Some(url) if url.query().is_none() && url.fragment().is_none() && url.username().is_empty() => Ok(()),
        _ => Err(ConfigError::wrong(
            "oidc_issuer",
            "must be the issuer’s URL as it stands in its tokens, for example https://id.example.com/realms/main",
        )),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|word| !word.is_empty() && *word != "openid").map(str::to_owned).collect()
}

/// `group=role,group=role`; a group's name may hold `=`, and spaces.
fn parse_role_map(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let parsed = pairs.map(|pair| {
        let (group, role) = pair.rsplit_once('=')?;
        let (group, role) = (group.trim(), role.trim());
        (!group.is_empty() && !role.is_empty()).then(|| (group.to_owned(), role.to_owned()))
    });
    parsed
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| "a list of group=role, for example platform-admins=admin,llm-ops=operator".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_their_roles_are_read() {
        let pair = |group: &str, role: &str| (group.to_owned(), role.to_owned());
        assert_eq!(
            parse_role_map("platform-admins=admin, cn=ops,llm ops = operator,"),
            Ok(vec![pair("platform-admins", "admin"), pair("cn", "ops"), pair("llm ops", "operator")])
        );
        assert_eq!(parse_role_map("a=b=admin"), Ok(vec![pair("a=b", "admin")]));
        for bad in ["admins", "=admin", "admins="] {
            assert!(parse_role_map(bad).is_err(), "{bad}");
        }
        assert_eq!(words("openid email,profile"), ["email", "profile"]);
    }
}
