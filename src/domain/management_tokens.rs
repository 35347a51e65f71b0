//! Management tokens: what automation authenticates to the management API with.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;
use store::{
    Handle, Listing, SortValue, Standing, Write,
    management_tokens::{ManagementToken, TokenFilter, TokenSort},
    members::Member,
};
use vault::{AgentSecret, Token, TokenKind};
use zeroize::Zeroizing;

use super::{
    Core,
    access::{Authority, owner_filter, refuse},
    actor::{Actor, ActorKind},
    agent_key_rules::printable,
    audit::{ChangeTarget, Changes, record},
    change::{check_version, name_error},
    clock::{DAY_MS, rfc3339},
    idempotency::{Idempotency, Outcome},
    ids,
    meter::Used,
    name::Name,
    paging::{self, ListQuery, Page, Sorts},
    roles::Permission,
    scopes::Scopes,
    use_mark::UseMark,
};
use crate::error::{Code, Error, Result};

/// The life of a token, in days, where nobody says another one.
pub const DEFAULT_DAYS: i64 = 90;
/// The longest life of a token, in days.
pub const MAX_DAYS: i64 = 365;

const SORTS: Sorts<TokenSort> = Sorts {
    all: &[
        ("name", TokenSort::Name, true),
        ("created_at", TokenSort::CreatedAt, false),
        ("expires_at", TokenSort::ExpiresAt, false),
        ("last_used_at", TokenSort::LastUsedAt, false),
    ],
    default_descending: false,
};

/// A token with its owner.
#[derive(Debug, Clone)]
pub struct TokenView {
    /// The token.
    pub token: ManagementToken,
    /// The name of the member whose it is; empty where that is not known.
    pub owner_name: String,
}

/// A new token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What it may do of what its owner may.
    pub scopes: Vec<String>,
    /// Its life; [`DEFAULT_DAYS`] where absent, or less where the token that makes it ends before.
    pub expires_in_days: Option<i64>,
}

/// A new token with its secret, which nobody can read again.
pub struct Created {
    /// The token.
    pub view: TokenView,
    /// Its secret.
    pub secret: Zeroizing<String>,
}

/// How long the token of an unattended first run is good for, in days.
const FIRST_TOKEN_DAYS: i64 = 365;

/// Makes the token of an unattended first run, with every scope of its owner, in a transaction of the caller's.
///
/// # Errors
/// A refused name; a storage failure.
pub async fn create_first(
    core: &Core,
    tx: &mut Write,
    owner: &Member,
    name: &str,
) -> Result<(ManagementToken, Zeroizing<String>)> {
    let name = Name::parse(name)?;
    let now = core.clock.now_ms();
    let secret = AgentSecret::mint(TokenKind::Management, &core.entropy)?;
    // Held to the end: a rotation waits for whatever was begun with older keys.
    let keyring = core.store.keyring();
    let digest = keyring.digest(secret.token().sha256());
    let token = ManagementToken {
        id: ids::mint("mt", now, &core.entropy)?,
        name: name.text,
        name_key: name.key,
        member_id: owner.id.clone(),
        scopes: String::from("*"),
        masked_secret: secret.mask(),
        pepper_id: digest.pepper,
        digest: digest.value,
        created_at: now,
        expires_at: now + FIRST_TOKEN_DAYS * DAY_MS,
        version: 1,
        mac: String::new(),
        last_used_at: 0,
    };
    store::management_tokens::insert(tx, &token).await?;
    Ok((token, secret.expose_once()))
}

/// Who calls with this token.
///
/// # Errors
/// [`Code::Unauthenticated`] for a token that is unknown, expired, or whose owner is gone; [`Code::StorageUnavailable`]
/// where that could not be told.
pub async fn authenticate(core: &Core, token: &Token, address: &str, request_id: &str) -> Result<Actor> {
    if token.kind() != TokenKind::Management {
        return Err(Error::new(
            Code::Unauthenticated,
            "this is an agent key, which is for the gateway; the management API takes a management token (kwm_…)",
        ));
    }
    let mut db = core.store.read().await?;
    let unknown = || Error::new(Code::Unauthenticated, "there is no such management token; it may have been deleted");
    let row = with_secret(core, &mut db, token).await?.ok_or_else(unknown)?;
    let now = core.clock.now_ms();
    if row.expires_at <= now {
        return Err(Error::new(Code::Unauthenticated, format!("the management token {:?} has expired", row.name)));
    }
    let owner = store::members::get(&mut db, &row.member_id).await?.ok_or_else(unknown)?;
    core.meter.touch(Used::ManagementToken, &Arc::new(UseMark::new(row.id.as_str().into())), now);
    Ok(Actor {
        kind: ActorKind::Token,
        name: format!("{} ({})", row.name, owner.name),
        authority: Authority::of_token(&owner.role, Scopes::of_column(&row.scopes), row.expires_at),
        id: row.id,
        member_id: owner.id,
        address: address.to_owned(),
        request_id: request_id.to_owned(),
    })
}

async fn with_secret(core: &Core, db: &mut impl Handle, token: &Token) -> Result<Option<ManagementToken>> {
    for digest in core.store.keyring().digests(token.sha256()) {
        let found = store::management_tokens::find(db, &digest.value).await?;
        if let Some(row) = found.filter(|row| row.pepper_id == digest.pepper) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Deletes the token that was found where it should not be; whether there was one.
///
/// # Errors
/// A storage failure.
pub(super) async fn end_leaked(core: &Core, actor: &Actor, token: &Token, found_at: &str) -> Result<bool> {
    let mut tx = core.store.write().await?;
    let row = match with_secret(core, &mut tx, token).await {
        // Somebody altered it outside Keyward: it is good for nothing.
        Err(error) if error.code == Code::Damaged => None,
        found => found?,
    };
    let Some(row) = row else { return Ok(false) };
    store::management_tokens::delete(&mut tx, &row.id).await?;
    let found_at = printable(found_at);
    let changes = Changes::default().field("name", row.name.as_str(), ()).field(
        "found_at",
        (),
        Some(found_at.as_str()).filter(|at| !at.is_empty()),
    );
    record(&mut tx, actor, core.clock.now_ms(), "management_token.revoke_leaked", target(&row), changes).await?;
    tx.commit().await?;
    Ok(true)
}

/// Creates a token of the actor's own. It may no more than the actor may, and ends no later.
///
/// # Errors
/// A refused name, scope or number of days; [`Code::Forbidden`] for a scope that the actor has not; a name that is
/// taken; a storage failure.
pub async fn create(
    core: &Core,
    actor: &Actor,
    new: NewToken,
    idempotency: Option<&Idempotency>,
) -> Result<Outcome<Created>> {
    let now = core.clock.now_ms();
    let named = Error::both(Name::parse(&new.name), Scopes::parse(&new.scopes));
    let ((name, scopes), expires_at) = Error::both(named, parse_days(actor, new.expires_in_days, now))?;
    check_given(core, actor, scopes).await?;
    let secret = AgentSecret::mint(TokenKind::Management, &core.entropy)?;
    // Held to the end: a rotation waits for whatever was begun with older keys.
    let keyring = core.store.keyring();
    let digest = keyring.digest(secret.token().sha256());
    let token = ManagementToken {
        id: ids::mint("mt", now, &core.entropy)?,
        name: name.text,
        name_key: name.key,
        member_id: actor.member_id.clone(),
        scopes: scopes.to_column(),
        masked_secret: secret.mask(),
        pepper_id: digest.pepper,
        digest: digest.value,
        created_at: now,
        expires_at,
        version: 1,
        mac: String::new(),
        last_used_at: 0,
    };
    let mut tx = core.store.write().await?;
    if let Some(id) = Idempotency::replayed(idempotency, &mut tx, now).await? {
        return Ok(Outcome::Replay(id));
    }
    let owner = store::members::get(&mut tx, &actor.member_id).await?;
    let owner = owner.ok_or_else(|| Error::new(Code::Unauthenticated, "the member behind this call was removed"))?;
    store::management_tokens::insert(&mut tx, &token).await.map_err(|error| name_error(error, &token.name))?;
    Idempotency::note(idempotency, &mut tx, &token.id, now).await?;
    let changes = Changes::default().field("name", (), token.name.as_str()).field("scopes", (), names(scopes)).field(
        "expires_at",
        (),
        rfc3339(expires_at),
    );
    record(&mut tx, actor, now, "management_token.create", target(&token), changes).await?;
    tx.commit().await?;
    let view = TokenView { token, owner_name: owner.name };
    Ok(Outcome::Done(Created { view, secret: secret.expose_once() }))
}

/// The token with this id.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get(core: &Core, id: &str) -> Result<TokenView> {
    let mut db = core.store.read().await?;
    let token = found(&mut db, id).await?;
    let owner_name = Owners::default().name_of(&mut db, &token.member_id).await?;
    Ok(TokenView { token, owner_name })
}

/// The token with this id as it stands, to be looked at or deleted.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get_standing(core: &Core, id: &str) -> Result<Standing<TokenView>> {
    let mut db = core.store.read().await?;
    let Standing { row: token, is_damaged } = found_standing(&mut db, id).await?;
    let owner_name = Owners::default().name_of(&mut db, &token.member_id).await?;
    Ok(Standing { row: TokenView { token, owner_name }, is_damaged })
}

/// A page of the tokens that the actor may read, as they stand; `status` is `active`, `expired`, or empty for all.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list_standing(
    core: &Core,
    actor: &Actor,
    query: &ListQuery,
    status: &str,
) -> Result<Page<Standing<TokenView>>> {
    if !matches!(status, "" | "active" | "expired") {
        return Err(Error::parameter("status", "must be active or expired"));
    }
    let keyring = &core.store.keyring();
    let (listing, scope) = paging::listing(query, "management_tokens", &SORTS, keyring)?;
    let member_id = owner_filter(actor, Permission::ReadTokens);
    let filter = TokenFilter { status, now: core.clock.now_ms(), member_id };
    let mut db = core.store.read().await?;
    let rows = store::management_tokens::list(&mut db, &listing, filter).await?;
    let counted = store::management_tokens::count(&mut db, &listing, filter).await?;
    let mut owners = Owners::default();
    let mut views = Vec::with_capacity(rows.len());
    for Standing { row: token, is_damaged } in rows {
        let owner_name = owners.name_of(&mut db, &token.member_id).await?;
        views.push(Standing { row: TokenView { token, owner_name }, is_damaged });
    }
    Ok(paging::page(views, listing.limit, counted, &scope, keyring, |view| place(&view.row.token, &listing)))
}

/// Renames a token, or gives it other scopes: fewer, or such as the actor has. What a token adds to another one must not
/// outlive it.
///
/// # Errors
/// A refused name or scope; [`Code::Forbidden`] for a scope that the actor has not; [`Code::VersionMismatch`];
/// [`Code::NotFound`].
pub async fn edit(
    core: &Core,
    actor: &Actor,
    id: &str,
    version: Option<i64>,
    name: Option<&str>,
    scopes: Option<&[String]>,
) -> Result<TokenView> {
    let (name, scopes) = Error::both(name.map(Name::parse).transpose(), scopes.map(Scopes::parse).transpose())?;
    let now = core.clock.now_ms();
    let before = get(core, id).await?.token;
    check_version(before.version, version)?;
    let held = Scopes::of_column(&before.scopes);
    let wanted = scopes.unwrap_or(held);
    let added = wanted.without(held);
    check_given(core, actor, added).await?;
    if added != Scopes::NONE && before.expires_at > actor.authority.ends_at() {
        let detail = "this management token ends before the one it would give further scopes to";
        return Err(refuse(core, actor, Permission::WriteTokens, Error::new(Code::Forbidden, detail)).await);
    }
    let mut token = before.clone();
    if let Some(name) = name {
        (token.name, token.name_key) = (name.text, name.key);
    }
    if wanted != held {
        token.scopes = wanted.to_column();
    }
    let changes = Changes::default().field("name", before.name.as_str(), token.name.as_str()).field(
        "scopes",
        names(held),
        names(wanted),
    );
    if changes.is_empty() {
        return get(core, id).await;
    }
    token.version += 1;
    let mut tx = core.store.write().await?;
    store::management_tokens::update(&mut tx, &token).await.map_err(|error| name_error(error, &token.name))?;
    record(&mut tx, actor, now, "management_token.edit", target(&token), changes).await?;
    let owner_name = Owners::default().name_of(&mut tx, &token.member_id).await?;
    tx.commit().await?;
    Ok(TokenView { token, owner_name })
}

/// Deletes a token, a damaged one as well: its next call is refused.
///
/// # Errors
/// [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn delete(core: &Core, actor: &Actor, id: &str, version: Option<i64>) -> Result<()> {
    let mut tx = core.store.write().await?;
    let token = found_standing(&mut tx, id).await?.row;
    check_version(token.version, version)?;
    store::management_tokens::delete(&mut tx, id).await?;
    let changes = Changes::default().field("name", token.name.as_str(), ());
    record(&mut tx, actor, core.clock.now_ms(), "management_token.delete", target(&token), changes).await?;
    Ok(tx.commit().await?)
}

/// When a new token ends.
fn parse_days(actor: &Actor, days: Option<i64>, now: i64) -> Result<i64> {
    let longest = now + days.unwrap_or(DEFAULT_DAYS).clamp(1, MAX_DAYS) * DAY_MS;
    match days {
        None => Ok(longest.min(actor.authority.ends_at())),
        Some(days) if !(1..=MAX_DAYS).contains(&days) => {
            Err(Error::field("expires_in_days", format!("must be from 1 to {MAX_DAYS}")))
        }
        Some(_) if longest > actor.authority.ends_at() => {
            let ends = rfc3339(actor.authority.ends_at());
            Err(Error::field("expires_in_days", format!("must not go beyond {ends}, the end of the token that asks")))
        }
        Some(_) => Ok(longest),
    }
}

/// Refuses scopes that the actor has not, or can make no use of.
async fn check_given(core: &Core, actor: &Actor, scopes: Scopes) -> Result<()> {
    let missing: Vec<_> = scopes.without(actor.authority.scopes_to_give()).names().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let who = if actor.kind == ActorKind::Token { "this management token" } else { "your role" };
    let detail = format!("{who} does not have {}; a token may do no more than who makes it", missing.join(", "));
    let error = Error::new(Code::Forbidden, detail).with_extension("missing_scopes", json!(missing));
    Err(refuse(core, actor, Permission::WriteTokens, error).await)
}

fn names(scopes: Scopes) -> Vec<&'static str> {
    scopes.names().collect()
}

async fn found(db: &mut impl Handle, id: &str) -> Result<ManagementToken> {
    store::management_tokens::get(db, id).await?.ok_or_else(|| Error::not_found("management token", id))
}

async fn found_standing(db: &mut impl Handle, id: &str) -> Result<Standing<ManagementToken>> {
    store::management_tokens::get_standing(db, id).await?.ok_or_else(|| Error::not_found("management token", id))
}

fn target(token: &ManagementToken) -> ChangeTarget<'_> {
    ChangeTarget { kind: "management_token", id: &token.id, name: &token.name }
}

fn place(token: &ManagementToken, listing: &Listing<TokenSort>) -> (SortValue, String) {
    let value = match listing.sort {
        TokenSort::Name => SortValue::Text(token.name_key.clone()),
        TokenSort::CreatedAt => SortValue::Int(token.created_at),
        TokenSort::ExpiresAt => SortValue::Int(token.expires_at),
        TokenSort::LastUsedAt => SortValue::Int(token.last_used_at),
    };
    (value, token.id.clone())
}

/// Names of members, each looked up once.
#[derive(Default)]
struct Owners(HashMap<String, String>);

impl Owners {
    async fn name_of(&mut self, db: &mut impl Handle, member_id: &str) -> Result<String> {
        if let Some(name) = self.0.get(member_id) {
            return Ok(name.clone());
        }
        let name = store::members::get_standing(db, member_id).await?.map(|member| member.row.name);
        let name = name.unwrap_or_default();
        self.0.insert(member_id.to_owned(), name.clone());
        Ok(name)
    }
}
