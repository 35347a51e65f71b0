//! The settings of the mail server.

use super::{
    parse_bool,
    source::{ConfigError, Source},
};

/// What e-mail goes out by.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// `smtps://HOST[:PORT]` or `smtp://HOST[:PORT]`.
    pub url: String,
    /// What the server is signed in to with, if at all.
    pub login: Option<SmtpLogin>,
    /// The mailbox that e-mail comes from.
    pub from: String,
    /// Whether the server may be at a private address.
    pub allow_private: bool,
}

/// What a mail server is signed in to with.
#[derive(Clone)]
pub struct SmtpLogin {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for SmtpLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the password.
        f.debug_struct("SmtpLogin").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Those that say nothing without a mail server.
const OTHERS: [&str; 3] = ["smtp_user", "smtp_from", "smtp_allow_private"];

impl SmtpConfig {
    /// Reads the settings, if a mail server is set.
    ///
    /// # Errors
    /// [`ConfigError`], also where something is set and the mail server is not.
    pub fn load(source: &Source) -> Result<Option<SmtpConfig>, ConfigError> {
        let password = source.secret("smtp_password")?;
        let Some(url) = source.optional("smtp_url")? else {
            let alone = password.is_some().then_some("smtp_password");
            for name in OTHERS.into_iter().chain(alone) {
                if alone == Some(name) || source.optional(name)?.is_some() {
                    return Err(ConfigError::wrong(name, "is for warnings by e-mail: set KEYWARD_SMTP_URL too"));
                }
            }
            return Ok(None);
        };
        let login = match (source.optional("smtp_user")?, password) {
            (Some(user), Some(password)) => Some(SmtpLogin { user, password }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(ConfigError::wrong(
                    "smtp_user",
                    "needs its password: set KEYWARD_SMTP_PASSWORD or KEYWARD_SMTP_PASSWORD_FILE too",
                ));
            }
            (None, Some(_)) => {
                return Err(ConfigError::wrong("smtp_password", "needs whose it is: set KEYWARD_SMTP_USER too"));
            }
        };
        let from = source.optional("smtp_from")?.filter(|from| !from.trim().is_empty()).ok_or_else(|| {
            ConfigError::wrong(
                "smtp_from",
                "must be set beside KEYWARD_SMTP_URL: the mailbox that e-mail comes from, for example Keyward \
                 <keyward@example.com>",
            )
        })?;
        let allow_private = source.parsed("smtp_allow_private", "false", parse_bool)?;
        Ok(Some(SmtpConfig { url, login, from, allow_private }))
    }
}
