//! Management tokens: what automation authenticates to the management API with.

use std::sync::Arc;

use store::{Write, management_tokens::ManagementToken, members::Member};
use vault::{AgentSecret, Token, TokenKind};
use zeroize::Zeroizing;

use super::{
    Core,
    actor::{Actor, ActorKind},
    clock::DAY_MS,
    ids,
    key_cache::UseMark,
    meter::Used,
    name::Name,
};
use crate::error::{Code, Error, Result};

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
    let digest = core.store.keyring().digest(secret.token().sha256());
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
    let mut found = None;
    for digest in core.store.keyring().digests(token.sha256()) {
        found =
            store::management_tokens::find(&mut db, &digest.value).await?.filter(|row| row.pepper_id == digest.pepper);
        if found.is_some() {
            break;
        }
    }
    let unknown = || Error::new(Code::Unauthenticated, "there is no such management token; it may have been deleted");
    let row = found.ok_or_else(unknown)?;
    let now = core.clock.now_ms();
    if row.expires_at <= now {
        return Err(Error::new(Code::Unauthenticated, format!("the management token {:?} has expired", row.name)));
    }
    let owner = store::members::get(&mut db, &row.member_id).await?.ok_or_else(unknown)?;
    core.meter.touch(Used::ManagementToken, &Arc::new(UseMark::new(row.id.as_str().into())), now);
    Ok(Actor {
        kind: ActorKind::Token,
        name: format!("{} ({})", row.name, owner.name),
        id: row.id,
        member_id: owner.id,
        address: address.to_owned(),
        request_id: request_id.to_owned(),
    })
}
