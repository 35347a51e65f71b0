//! What an agent key may be, and who may make it so: asked where one is created and where it is edited.

use store::Handle;

use super::{
    actor::Actor,
    key_limits::KeyLimits,
    name::is_allowed,
    roles::{Permission, Reach},
    roster,
};
use crate::error::{Code, Error, Result};

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 500;

/// Routes beyond inference are opened by whoever may change providers: also to a key of one's own they give what the
/// general key may do. Other limits are widened by whoever may edit everybody's keys: who has keys of their own may narrow
/// them.
pub(super) fn check_widening(actor: &Actor, before: &KeyLimits, after: &KeyLimits) -> Result<()> {
    if after.opens_more_than(before) && !actor.authority.may(Permission::WriteProviders) {
        let detail = "must not open further routes, which you may not decide; ask somebody who may change providers";
        return Err(Error::field("limits/allowed_routes", detail).forbidding());
    }
    if actor.authority.reach(Permission::EditAgentKeys) < Reach::All
        && let Some(wider) = after.wider_than(before)
    {
        let detail = "must not be wider than it is, which you may not decide; ask somebody who may edit all agent keys";
        return Err(Error::field(wider, detail).forbidding());
    }
    Ok(())
}

/// Tags are given by whoever may edit everybody's keys: policies let in by them. Anybody takes them off their own.
pub(super) fn check_tags(actor: &Actor, before: &[String], after: &[String]) -> Result<()> {
    let is_new = after.iter().any(|tag| !before.contains(tag));
    if is_new && actor.authority.reach(Permission::EditAgentKeys) < Reach::All {
        let detail = "must not have more tags than there are, which you may not decide; ask somebody who may edit all agent keys";
        return Err(Error::field("tags", detail).forbidding());
    }
    Ok(())
}

/// Whose key it is from now on: another member's only where the actor may edit everybody's.
pub(super) async fn check_owner(db: &mut impl Handle, actor: &Actor, before: &str, after: &str) -> Result<()> {
    if before == after {
        return Ok(());
    }
    // Whoever has a key may have a new secret of it: to give one away is as good as to create one for somebody.
    if actor.authority.reach(Permission::CreateAgentKeys) < Reach::All {
        let detail = "you may not give agent keys to others; ask somebody who may create keys for all";
        return Err(Error::new(Code::Forbidden, detail));
    }
    match store::members::get(db, after).await? {
        Some(member) if roster::Status::of(&member) == roster::Status::Active => Ok(()),
        _ => Err(Error::field("owner_id", "must be the id of a member who has joined")),
    }
}

/// Lets a description through: up to 500 characters, without control characters but line breaks.
pub(super) fn parse_description(text: &str) -> Result<String> {
    let text = text.trim().replace("\r\n", "\n");
    let is_odd = |c: char| c.is_control() && c != '\n';
    match text.chars().count() <= MAX_DESCRIPTION && !text.chars().any(is_odd) {
        true => Ok(text),
        false => Err(Error::field(
            "description",
            format!("must be {MAX_DESCRIPTION} characters at most, without control characters"),
        )),
    }
}

pub(super) fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Somebody else's text as a line of the audit log: at most 300 characters, none of them a control or format character.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| is_allowed(*c)).take(300).collect()
}
