//! The first run: how an installation gets its first member.

use zeroize::Zeroizing;

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    management_tokens, members,
};
use crate::error::Result;

/// What an unattended first run made.
pub struct FirstRun {
    /// The first member.
    pub member_id: String,
    /// The management token's secret, which nobody can read again.
    pub token: Option<Zeroizing<String>>,
}

/// Makes the first member, an owner, and a management token where one is named: both or neither.
///
/// # Errors
/// A member exists, or did; a refused e-mail, password or name; a storage failure.
pub async fn unattended(
    core: &Core,
    email: &str,
    password: Zeroizing<String>,
    token_name: Option<&str>,
) -> Result<FirstRun> {
    let actor = Actor::command("bootstrap");
    let now = core.clock.now_ms();
    let password_hash = members::hash(core, password).await?;
    let mut tx = core.store.write().await?;
    let name = email.trim().split('@').next().unwrap_or_default();
    let member = members::create_first(core, &mut tx, email, name, password_hash).await?;
    let token = match token_name {
        Some(name) => Some(management_tokens::create_first(core, &mut tx, &member, name).await?),
        None => None,
    };
    let target = ChangeTarget { kind: "member", id: &member.id, name: &member.name };
    let changes = Changes::default().field("email", (), member.email.as_str()).field("role", (), member.role.as_str());
    record(&mut tx, &actor, now, "member.create", target, changes).await?;
    if let Some((token, _)) = &token {
        let target = ChangeTarget { kind: "management_token", id: &token.id, name: &token.name };
        let changes = Changes::default().field("scopes", (), token.scopes.as_str());
        record(&mut tx, &actor, now, "management_token.create", target, changes).await?;
    }
    tx.commit().await?;
    Ok(FirstRun { member_id: member.id, token: token.map(|(_, secret)| secret) })
}
