//! Agent keys as they are listed: by programs in a plain order, by people with what asks for attention first.

use store::{
    Listing, SortValue, Standing,
    agent_keys::{AgentKey, AgentKeySort, StatusFilter},
};

use super::{
    Core,
    access::owner_filter,
    actor::Actor,
    agent_keys::{SOON_DAYS, Status},
    clock::DAY_MS,
    paging::{self, ListQuery, Page, Sorts},
    roles::Permission,
    tags,
};
use crate::error::{Error, Result};

const SORTS: Sorts<AgentKeySort> = Sorts {
    all: &[
        ("expires_at", AgentKeySort::ExpiresAt, false),
        ("name", AgentKeySort::Name, true),
        ("created_at", AgentKeySort::CreatedAt, false),
        ("last_used_at", AgentKeySort::LastUsedAt, false),
    ],
    default_descending: false,
};

/// As the console lists them: what asks for attention first.
const SORTS_FOR_PEOPLE: Sorts<AgentKeySort> = Sorts {
    all: &[
        ("attention", AgentKeySort::Attention, false),
        ("expires_at", AgentKeySort::ExpiresAt, false),
        ("name", AgentKeySort::Name, true),
        ("created_at", AgentKeySort::CreatedAt, false),
        ("last_used_at", AgentKeySort::LastUsedAt, false),
    ],
    default_descending: false,
};

/// A page of the keys that the actor may read; damaged ones are left out.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list(
    core: &Core,
    actor: &Actor,
    query: &ListQuery,
    status: Option<&str>,
    tag: Option<&str>,
) -> Result<Page<AgentKey>> {
    let tag = tag.unwrap_or_default();
    if !tag.is_empty() && !tags::is_tag(tag) {
        return Err(Error::parameter("tag", "must be one tag"));
    }
    let status = match status {
        None | Some("") => "",
        Some(text) => Status::parse(text)
            .ok_or_else(|| Error::parameter("status", "must be active, expired or disabled"))?
            .as_str(),
    };
    Ok(page_of(core, actor, query, &SORTS, status, tag).await?.untouched())
}

/// A page of the keys that the actor may read, as they stand, what asks for attention first. Besides the statuses, `status` may be `soon`,
/// `ending` (soon, and in use) or `unused`; anything else finds all.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list_standing(
    core: &Core,
    actor: &Actor,
    query: &ListQuery,
    status: &str,
    tag: &str,
) -> Result<Page<Standing<AgentKey>>> {
    let tag = if tags::is_tag(tag) { tag } else { "" };
    let known = ["active", "expired", "disabled", "soon", "ending", "unused"];
    let status = known.into_iter().find(|known| *known == status).unwrap_or_default();
    page_of(core, actor, query, &SORTS_FOR_PEOPLE, status, tag).await
}

async fn page_of(
    core: &Core,
    actor: &Actor,
    query: &ListQuery,
    sorts: &Sorts<AgentKeySort>,
    status: &'static str,
    tag: &str,
) -> Result<Page<Standing<AgentKey>>> {
    let keyring = &core.store.keyring();
    let (listing, scope) = paging::listing(query, "agent_keys", sorts, keyring)?;
    let now = core.clock.now_ms();
    let member_id = owner_filter(actor, Permission::ReadAgentKeys);
    let filter = StatusFilter { status, now, soon: now + SOON_DAYS * DAY_MS, member_id, tag };
    let mut db = core.store.read().await?;
    let keys = store::agent_keys::list(&mut db, &listing, filter).await?;
    let counted = store::agent_keys::count(&mut db, &listing, filter).await?;
    Ok(paging::page(keys, listing.limit, counted, &scope, keyring, |key| place(&key.row, &listing, now)))
}

fn place(key: &AgentKey, listing: &Listing<AgentKeySort>, now: i64) -> (SortValue, String) {
    let value = match listing.sort {
        AgentKeySort::Name => SortValue::Text(key.name_key.clone()),
        AgentKeySort::CreatedAt => SortValue::Int(key.created_at),
        AgentKeySort::LastUsedAt => SortValue::Int(key.last_used_at),
        AgentKeySort::ExpiresAt => SortValue::Int(key.expires_at),
        AgentKeySort::Attention => SortValue::Int(AgentKeySort::attention(key.expires_at, now)),
    };
    (value, key.id.clone())
}
