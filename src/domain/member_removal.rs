//! Removing a member: what becomes of the agent keys they made is said first.

use serde_json::json;
use store::{Standing, Write, agent_keys::AgentKey, members::Member};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    change::check_version,
    roster::{Status, check_covers, found, found_standing, keep_an_owner, target},
};
use crate::error::{Code, Error, Result};

/// The most agent keys that a refusal lists.
const LISTED: usize = 200;

/// What becomes of a member's agent keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// There must be none.
    None,
    /// Another member has them from now on, and agents notice nothing.
    Reassign(String),
    /// They are deleted.
    Revoke,
}

/// The agent keys of a member as they stand, the oldest first.
///
/// # Errors
/// A storage failure.
pub async fn keys_of(core: &Core, id: &str) -> Result<Vec<Standing<AgentKey>>> {
    Ok(store::member_keys::of(&mut core.store.read().await?, id).await?)
}

/// Removes a member, a damaged row as well. Their sessions and management tokens end with them.
///
/// # Errors
/// [`Code::HasAgentKeys`], with the keys, where `keys` does not say what becomes of them; [`Code::LastOwner`];
/// [`Code::Forbidden`] for a member who may do more than the actor; a refused `reassign_to`; [`Code::VersionMismatch`];
/// [`Code::NotFound`].
pub async fn remove(core: &Core, actor: &Actor, id: &str, version: Option<i64>, keys: Keys) -> Result<()> {
    let standing = found_standing(&mut core.store.read().await?, id).await?;
    // What a damaged row says of itself counts for nothing: only who may remove anybody may remove it.
    let role = if standing.is_damaged { "" } else { standing.row.role.as_str() };
    check_covers(core, actor, role, None).await?;
    check_version(standing.row.version, version)?;
    let now = core.clock.now_ms();
    let mut tx = core.store.write().await?;
    let member = found_standing(&mut tx, id).await?.row;
    check_version(member.version, Some(standing.row.version))?;
    if !standing.is_damaged {
        keep_an_owner(&mut tx, &member).await?;
    }
    let theirs = store::member_keys::of(&mut tx, id).await?;
    let changed = part_with(&mut tx, actor, now, &member, theirs, &keys).await?;
    store::members::delete(&mut tx, id).await?;
    let changes = Changes::default().field("email", member.email.as_str(), ()).field("role", member.role.as_str(), ());
    record(&mut tx, actor, now, "member.remove", target(&member), changes).await?;
    let committed = tx.commit().await;
    // Also where the commit failed: it may have happened all the same, and forgetting is always safe.
    for key in changed {
        core.keys.forget(&key, keys == Keys::Revoke);
    }
    Ok(committed?)
}

/// Reassigns or deletes the keys, each with its event; gives the ids of those that are to be forgotten.
async fn part_with(
    tx: &mut Write,
    actor: &Actor,
    now: i64,
    member: &Member,
    theirs: Vec<Standing<AgentKey>>,
    keys: &Keys,
) -> Result<Vec<String>> {
    let heir = match keys {
        Keys::None if !theirs.is_empty() => return Err(has_keys(member, &theirs)),
        Keys::None | Keys::Revoke => None,
        Keys::Reassign(to) => Some(heir(tx, member, to).await?),
    };
    let mut changed = Vec::with_capacity(theirs.len());
    for Standing { row: before, is_damaged } in theirs {
        let of_key = ChangeTarget { kind: "agent_key", id: &before.id, name: &before.name };
        match &heir {
            // A damaged row is never blessed: it stays refused, and whose it was stays in it.
            Some(_) if is_damaged => continue,
            Some(heir) => {
                let version = before.version + 1;
                let key = AgentKey { member_id: heir.id.clone(), version, ..before.clone() };
                store::member_keys::reassign(tx, &key).await?;
                let changes = Changes::default().field("member_id", member.name.as_str(), heir.name.as_str());
                record(tx, actor, now, "agent_key.reassign", of_key, changes).await?;
            }
            None => {
                store::agent_keys::delete(tx, &before.id, now).await?;
                store::callers::delete_of_key(tx, &before.id).await?;
                let changes = Changes::default().field("name", before.name.as_str(), ());
                record(tx, actor, now, "agent_key.delete", of_key, changes).await?;
            }
        }
        changed.push(before.id);
    }
    Ok(changed)
}

async fn heir(tx: &mut Write, member: &Member, to: &str) -> Result<Member> {
    let refused = |why: &str| Error::parameter("reassign_to", why);
    if to == member.id {
        return Err(refused("must be another member"));
    }
    match found(tx, to).await {
        Ok(heir) if Status::of(&heir) == Status::Active => Ok(heir),
        Ok(_) => Err(refused("must be a member who has joined already")),
        Err(error) if error.code == Code::NotFound => Err(refused("must be the id of a member")),
        Err(error) => Err(error),
    }
}

fn has_keys(member: &Member, theirs: &[Standing<AgentKey>]) -> Error {
    let listed: Vec<_> =
        theirs.iter().take(LISTED).map(|key| json!({ "id": key.row.id, "name": key.row.name })).collect();
    let detail = format!(
        "{} has {} agent keys; say who has them from now on with ?reassign_to=MEMBER_ID, or delete them with \
         ?revoke=true",
        member.name,
        theirs.len()
    );
    Error::new(Code::HasAgentKeys, detail).with_extension("agent_keys", json!(listed))
}
