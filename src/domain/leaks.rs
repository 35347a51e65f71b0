//! Secrets that somebody found where they should not be: whoever has one may end it, and prove with it that it is out.

use std::sync::Arc;

use vault::{Token, TokenError, TokenKind};

use super::{
    Core, actor::Actor, agent_key_check, agent_key_rules::printable, agent_keys, agent_secrets, audit::Changes,
    management_tokens,
};
use crate::error::{Code, Error, Result};

/// What came of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was good, and is over for ever.
    Revoked,
    /// It was over already.
    AlreadyEnded,
    /// It is no key of this installation, or one that was deleted.
    Unknown,
}

impl Outcome {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Revoked => "revoked",
            Outcome::AlreadyEnded => "already_ended",
            Outcome::Unknown => "unknown",
        }
    }
}

/// Ends a leaked agent key at once and for ever, with its open streams; of a key that was rotated since, the old secret.
///
/// # Errors
/// A text that is no agent key, as the field `key`; [`Code::StorageUnavailable`].
pub async fn revoke(core: &Arc<Core>, actor: &Actor, text: &str) -> Result<Outcome> {
    let token = parse(core, text).map_err(|reason| Error::field("key", reason.to_string()))?;
    if token.kind() != TokenKind::Agent {
        return Err(Error::field("key", "is a management token; delete it in Keyward, under Settings"));
    }
    end_agent_key(core, actor, &token, "").await
}

/// Ends whatever secret of this installation a text is: an agent key as [`revoke`] does, a management token by deleting it.
/// `found_at` says where it was found, for the audit log and whoever is told.
///
/// # Errors
/// [`Code::StorageUnavailable`].
pub async fn revoke_any(core: &Arc<Core>, actor: &Actor, text: &str, found_at: &str) -> Result<Outcome> {
    let Ok(token) = parse(core, text) else { return Ok(Outcome::Unknown) };
    match token.kind() {
        TokenKind::Agent => end_agent_key(core, actor, &token, found_at).await,
        TokenKind::Management => match management_tokens::end_leaked(core, actor, &token, found_at).await? {
            true => Ok(Outcome::Revoked),
            false => Ok(Outcome::Unknown),
        },
    }
}

fn parse(core: &Core, text: &str) -> std::result::Result<Token, TokenError> {
    let text = text.trim().as_bytes();
    Token::parse(text).or_else(|reason| core.foreign_secrets.token(text).ok_or(reason))
}

async fn end_agent_key(core: &Arc<Core>, actor: &Actor, token: &Token, found_at: &str) -> Result<Outcome> {
    let key = match agent_key_check::known(core, token).await {
        Ok(key) => key,
        Err(error) if error.code == Code::InvalidApiKey => return Ok(Outcome::Unknown),
        Err(error) => return Err(error),
    };
    if key.ends_at <= core.clock.now_ms() {
        return Ok(Outcome::AlreadyEnded);
    }
    let ended = match key.is_replaced {
        true => {
            let found_at = printable(found_at);
            let place = Some(found_at.as_str()).filter(|at| !at.is_empty());
            let changes = Changes::default().field("leaked", (), true).field("found_at", (), place);
            agent_secrets::retire_noting(core, actor, &key.id, None, changes).await
        }
        false => agent_keys::end_leaked(core, actor, &key.id, found_at).await,
    };
    match ended {
        Ok(_) => {
            core.warnings.leaked(&key, found_at);
            Ok(Outcome::Revoked)
        }
        // Somebody was faster.
        Err(error) if error.code == Code::NotFound => Ok(Outcome::AlreadyEnded),
        Err(error) => Err(error),
    }
}
