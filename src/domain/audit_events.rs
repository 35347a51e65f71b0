//! Audit events, as they are asked for.

use store::{
    SortValue, Standing,
    audit::{Event, EventFilter, Place},
};

use super::{
    Core,
    clock::{DAY_MS, parse_time},
    paging::{self, DEFAULT_LIMIT, MAX_LIMIT, Page, Scope},
};
use crate::error::{Error, Result};

/// Everything that is recorded, for pickers.
pub const ACTIONS: [&str; 60] = [
    "general_key.create",
    "general_key.edit",
    "general_key.delete",
    "agent_key.create",
    "agent_key.import",
    "agent_key.edit",
    "agent_key.disable",
    "agent_key.enable",
    "agent_key.rotate",
    "agent_key.retire",
    "agent_key.revoke_leaked",
    "agent_key.delete",
    "agent_key.reassign",
    "agent_key_defaults.edit",
    "provider.create",
    "provider.edit",
    "provider.delete",
    "model.create",
    "model.edit",
    "model.delete",
    "webhook.create",
    "webhook.edit",
    "webhook.delete",
    "policy.create",
    "policy.edit",
    "policy.delete",
    "member.create",
    "member.invite",
    "member.join",
    "member.edit",
    "member.password",
    "member.recover",
    "member.second_factor_on",
    "member.second_factor_off",
    "member.second_factor_remove",
    "member.recovery_codes",
    "member.recovery_code",
    "member.identity_link",
    "member.identity_unlink",
    "member.role_follow",
    "member.remove",
    "member.sign_in",
    "member.sign_in_refused",
    "member.sign_out",
    "management_token.create",
    "management_token.edit",
    "management_token.delete",
    "management_token.revoke_leaked",
    "access.refused",
    "master_key.rotate",
    "master_key.rotate_finish",
    "master_key.rotate_abort",
    "master_key.rewrap",
    "keyring.rotate",
    "keyring.activate",
    "keyring.retire",
    "rollback_mark.create",
    "restore.accept",
    "restore.confirm",
    "restore.clock",
];

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Part of the target's or the actor's name.
    pub search: Option<String>,
    /// An action.
    pub action: Option<String>,
    /// Who did it, by id.
    pub actor_id: Option<String>,
    /// What it was done to, by id.
    pub target_id: Option<String>,
    /// Part of the actor's name.
    pub actor_name: Option<String>,
    /// Part of the target's name.
    pub target_name: Option<String>,
    /// From when on: a time, or a date.
    pub from: Option<String>,
    /// Until when: before a time, or to the end of a date.
    pub to: Option<String>,
    /// `-seq`, the only order.
    pub sort: Option<String>,
    /// Rows a page.
    pub limit: Option<i64>,
    /// Where to go on.
    pub cursor: Option<String>,
}

/// A page of events as they stand, newest first.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list(core: &Core, query: &EventQuery) -> Result<Page<Standing<Event>>> {
    const SCOPE: &str = "audit_events:-seq";
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::parameter("limit", format!("must be from 1 to {MAX_LIMIT}")));
    }
    if !matches!(query.sort.as_deref(), None | Some("" | "-seq")) {
        return Err(Error::parameter("sort", "must be -seq, the newest first"));
    }
    let keyring = &core.store.keyring();
    let (scope, place) = Scope::at(SCOPE.to_owned(), query.cursor.as_deref(), false, keyring)?;
    let from = match place {
        None => Place::Start,
        Some((SortValue::Int(seq), _)) if scope.is_backward() => Place::After(seq),
        Some((SortValue::Int(seq), _)) => Place::Before(seq),
        Some((SortValue::Text(_), _)) => Place::Start,
    };
    let filter = filter(query, from, limit + 1)?;
    let mut db = core.store.read().await?;
    let events = store::audit::list(&mut db, &filter).await?;
    let counted = store::audit::count(&mut db, &filter).await?;
    Ok(paging::page(events, limit + 1, counted, &scope, keyring, |event| {
        (SortValue::Int(event.row.seq), event.row.seq.to_string())
    }))
}

/// The filter of a query, at a place.
///
/// # Errors
/// A refused parameter.
pub(super) fn filter(query: &EventQuery, from: Place, limit: i64) -> Result<EventFilter> {
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().trim().to_owned();
    let filter = EventFilter {
        search: text(&query.search),
        action: text(&query.action),
        actor_id: text(&query.actor_id),
        target_id: text(&query.target_id),
        actor_name: text(&query.actor_name),
        target_name: text(&query.target_name),
        since: time("from", &query.from)?.map(|(at, _)| at),
        before: time("to", &query.to)?.map(|(at, length)| at.saturating_add(length)),
        from,
        limit,
    };
    if [&filter.search, &filter.actor_name, &filter.target_name].iter().any(|text| text.chars().count() > 1000) {
        return Err(Error::parameter("search", "must have at most 1000 characters"));
    }
    Ok(filter)
}

/// A time of a query, in milliseconds since 1970, and how long it lasts: a date a day.
fn time(name: &str, text: &Option<String>) -> Result<Option<(i64, i64)>> {
    let Some(text) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let at = parse_time(text).ok_or_else(|| {
        Error::parameter(name, "must be a time like 2026-01-31T12:00:00Z, or a date like 2026-01-31 (UTC)")
    })?;
    Ok(Some((at, if text.contains('T') { 0 } else { DAY_MS })))
}
