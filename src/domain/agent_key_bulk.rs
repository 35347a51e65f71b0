//! Many agent keys at once: created in one transaction, or disabled, enabled or deleted one after the other.

use std::{collections::HashSet, sync::Arc};

use super::{
    Core, access,
    actor::Actor,
    agent_key_defaults, agent_key_list,
    agent_key_new::{Created, Draft, NewKey},
    agent_keys::{self, Edit},
    idempotency::{Idempotency, Outcome},
    paging::{ListQuery, MAX_LIMIT},
    roles::Permission,
    tags,
};
use crate::error::{Error, Result};

/// The most keys at once.
pub const MAX_AT_ONCE: usize = 1000;

/// Creates these keys, all of them or none.
///
/// # Errors
/// Too many or none; what is wrong with any of them, with its place in the pointer; a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    new: Vec<NewKey>,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<Vec<Created>>> {
    if new.is_empty() || new.len() > MAX_AT_ONCE {
        return Err(Error::field("agent_keys", format!("must hold 1 to {MAX_AT_ONCE} keys")));
    }
    let now = core.clock.now_ms();
    // Held to the end: a rotation waits for whatever was begun with older keys.
    let keyring = core.store.keyring();
    let default = agent_key_defaults::get(core).await?.1;
    let mut names = HashSet::new();
    let mut drafts = Vec::with_capacity(new.len());
    for (at, new) in new.into_iter().enumerate() {
        let draft = Draft::new(core, &keyring, actor, new, &default, now).map_err(|error| error.within(&place(at)))?;
        if !names.insert(draft.name_key().to_owned()) {
            return Err(Error::field("name", "is that of another key in the list").within(&place(at)));
        }
        drafts.push(draft);
    }
    let mut tx = core.store.write().await?;
    if let Some(ids) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(ids));
    }
    let mut created = Vec::with_capacity(drafts.len());
    for (at, draft) in drafts.into_iter().enumerate() {
        created.push(draft.insert(&mut tx, actor, now).await.map_err(|error| error.within(&place(at)))?);
    }
    let ids: Vec<_> = created.iter().map(|created| created.key.id.as_str()).collect();
    Idempotency::note(idempotency, &mut tx, &ids.join(" "), now).await?;
    tx.commit().await?;
    Ok(Outcome::Done(created))
}

fn place(at: usize) -> String {
    format!("/agent_keys/{at}")
}

/// What to do to many keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Switch them off.
    Disable,
    /// Switch them on again.
    Enable,
    /// Delete them.
    Delete,
    /// Give them tags, and take others from them.
    Tag {
        /// Those they get.
        add: Vec<String>,
        /// Those they lose.
        remove: Vec<String>,
    },
}

impl Act {
    /// What it takes.
    pub fn permission(&self) -> Permission {
        match self {
            Act::Disable | Act::Enable | Act::Tag { .. } => Permission::EditAgentKeys,
            Act::Delete => Permission::DeleteAgentKeys,
        }
    }
}

/// Which keys.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// These, by id.
    pub ids: Vec<String>,
    /// Those whose name has this part.
    pub search: Option<String>,
    /// Those of this status: `active`, `expired` or `disabled`.
    pub status: Option<String>,
    /// Those with this tag.
    pub tag: Option<String>,
}

impl Which {
    /// The ids it comes to.
    async fn ids(self, core: &Core, actor: &Actor) -> Result<Vec<String>> {
        let some = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let (search, status, tag) = (some(self.search), some(self.status), some(self.tag));
        let too_many = || Error::field("ids", format!("must be at most {MAX_AT_ONCE} keys; narrow it down"));
        match (self.ids.is_empty(), search.is_some() || status.is_some() || tag.is_some()) {
            (true, false) => Err(Error::field("ids", "must name keys, or search, status or tag must say which")),
            (false, true) => Err(Error::field("ids", "must be left out where search, status or tag say which")),
            (false, false) if self.ids.len() > MAX_AT_ONCE => Err(too_many()),
            (false, false) => {
                let mut seen = HashSet::new();
                Ok(self.ids.into_iter().filter(|id| seen.insert(id.clone())).collect())
            }
            (true, true) => {
                let (mut ids, mut cursor) = (Vec::new(), None);
                loop {
                    let query = ListQuery { search: search.clone(), cursor, limit: Some(MAX_LIMIT), sort: None };
                    let page = agent_key_list::list(core, actor, &query, status.as_deref(), tag.as_deref()).await?;
                    ids.extend(page.items.into_iter().map(|key| key.id));
                    if ids.len() > MAX_AT_ONCE {
                        return Err(too_many());
                    }
                    cursor = page.next_cursor;
                    if cursor.is_none() {
                        return Ok(ids);
                    }
                }
            }
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Acted {
    /// The ids of those it was done to.
    pub done: Vec<String>,
    /// Those it was not done to, and why.
    pub failed: Vec<(String, String)>,
}

/// Does it to each of these keys that the actor may do it to, one after the other.
///
/// # Errors
/// A refused choice; a storage failure while it is made. What fails of a key is told in the outcome.
pub async fn act(core: &Arc<Core>, actor: &Actor, which: Which, act: Act) -> Result<Acted> {
    if let Act::Tag { add, remove } = &act {
        Error::both(tags::parse(add).map_err(|_| Error::field("add", tags::RULE)), tags::parse(remove))?;
        if add.is_empty() && remove.is_empty() {
            return Err(Error::field("add", "must name tags, or remove must"));
        }
    }
    let mut acted = Acted::default();
    for id in which.ids(core, actor).await? {
        match one(core, actor, &id, &act).await {
            Ok(()) => acted.done.push(id),
            Err(error) => acted.failed.push((id, error.reason())),
        }
    }
    Ok(acted)
}

async fn one(core: &Core, actor: &Actor, id: &str, act: &Act) -> Result<()> {
    access::check(core, actor, act.permission(), Some(id)).await?;
    match act {
        Act::Delete => agent_keys::delete(core, actor, id, None).await,
        Act::Disable => agent_keys::set_disabled(core, actor, id, None, true).await.map(drop),
        Act::Enable => agent_keys::set_disabled(core, actor, id, None, false).await.map(drop),
        Act::Tag { add, remove } => {
            let key = agent_keys::get(core, id).await?;
            let kept = tags::of_column(&key.tags).into_iter().filter(|tag| !remove.contains(tag));
            let all = kept.chain(add.iter().cloned()).collect();
            let edit = Edit { tags: Some(all), ..Edit::default() };
            agent_keys::edit(core, actor, id, Some(key.version), edit).await.map(drop)
        }
    }
}
