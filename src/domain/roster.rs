//! The roster: members as they are looked at and changed by others.

use store::{
    Handle, Listing, SortValue, Standing, StoreError,
    members::{Member, MemberSort},
};

use super::{
    Core,
    access::{forbidden, refuse},
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    change::check_version,
    members::parse_email,
    name::{self, Name},
    paging::{self, ListQuery, Page, Sorts},
    roles::{Permission, Role, any_of},
};
use crate::error::{Code, Error, Result};

const SORTS: Sorts<MemberSort> = Sorts {
    all: &[
        ("email", MemberSort::Email, true),
        ("name", MemberSort::Name, true),
        ("created_at", MemberSort::CreatedAt, false),
    ],
    default_descending: false,
};

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Can sign in.
    Active,
    /// Has set no password yet.
    Invited,
}

impl Status {
    /// A member's.
    pub fn of(member: &Member) -> Status {
        if member.password_hash.is_empty() { Status::Invited } else { Status::Active }
    }

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Invited => "invited",
        }
    }
}

/// An edit: what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// What they sign in with.
    pub email: Option<String>,
    /// What they are called.
    pub name: Option<String>,
    /// Their role.
    pub role: Option<String>,
}

/// The member with this id.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get(core: &Core, id: &str) -> Result<Member> {
    found(&mut core.store.read().await?, id).await
}

/// The member with this id as they stand.
///
/// # Errors
/// [`Code::NotFound`]; a storage failure.
pub async fn get_standing(core: &Core, id: &str) -> Result<Standing<Member>> {
    found_standing(&mut core.store.read().await?, id).await
}

/// A page of members as they stand; `status` is `active`, `invited`, or empty for all.
///
/// # Errors
/// A refused parameter; a storage failure.
pub async fn list_standing(core: &Core, query: &ListQuery, status: &str) -> Result<Page<Standing<Member>>> {
    if !matches!(status, "" | "active" | "invited") {
        return Err(Error::parameter("status", "must be active or invited"));
    }
    let keyring = &core.store.keyring();
    let (listing, scope) = paging::listing(query, "members", &SORTS, keyring)?;
    let mut db = core.store.read().await?;
    let rows = store::members::list(&mut db, &listing, status).await?;
    let counted = store::members::count_listed(&mut db, &listing, status).await?;
    Ok(paging::page(rows, listing.limit, counted, &scope, keyring, |member| place(&member.row, &listing)))
}

/// Everybody who can sign in, by name, for pickers.
///
/// # Errors
/// A storage failure.
pub async fn active(core: &Core) -> Result<Vec<Member>> {
    Ok(store::members::active(&mut core.store.read().await?).await?)
}

/// Changes a member's e-mail, name or role. The role holds from the member's next request on. An invitation that is still
/// open ends with another role or e-mail: a new one is made by whoever may give that role.
///
/// # Errors
/// [`Code::Forbidden`] for a member, or to a role, that may do more than the actor; [`Code::LastOwner`]; a refused field;
/// [`Code::NameTaken`]; [`Code::VersionMismatch`]; [`Code::NotFound`].
pub async fn edit(core: &Core, actor: &Actor, id: &str, version: Option<i64>, edit: Edit) -> Result<Member> {
    let email = edit.email.as_deref().map(parse_email).transpose();
    let named = Error::both(email, edit.name.as_deref().map(Name::parse).transpose());
    let ((email, name), role) = Error::both(named, edit.role.as_deref().map(parse_role).transpose())?;
    let before = get(core, id).await?;
    check_covers(core, actor, &before.role, role).await?;
    check_version(before.version, version)?;
    let mut member = before.clone();
    if let Some(email) = email {
        (member.email_key, member.email) = (name::fold(&email), email);
    }
    if let Some(name) = name {
        member.name = name.text;
    }
    if let Some(role) = role {
        member.role = role.as_str().to_owned();
    }
    let changes = Changes::default()
        .field("email", before.email.as_str(), member.email.as_str())
        .field("name", before.name.as_str(), member.name.as_str())
        .field("role", before.role.as_str(), member.role.as_str());
    if changes.is_empty() {
        return Ok(before);
    }
    let now = core.clock.now_ms();
    (member.version, member.updated_at) = (member.version + 1, now);
    let mut tx = core.store.write().await?;
    if member.role != before.role {
        keep_an_owner(&mut tx, &before).await?;
    }
    store::members::update(&mut tx, &member).await.map_err(|error| email_error(error, &member.email))?;
    if member.role != before.role || member.email_key != before.email_key {
        // An open invitation was for another one: whoever has its link would now be somebody else than they were to be.
        store::invitations::delete_of(&mut tx, id).await?;
    }
    record(&mut tx, actor, now, "member.edit", target(&member), changes).await?;
    tx.commit().await?;
    Ok(member)
}

/// Refuses to touch a member whose role may more than the actor, or to give such a role.
pub(super) async fn check_covers(core: &Core, actor: &Actor, held: &str, given: Option<Role>) -> Result<()> {
    let held = Role::parse(held).unwrap_or(Role::Owner);
    for role in [Some(held), given].into_iter().flatten() {
        if actor.authority.covers(role) {
            continue;
        }
        let who: Vec<Role> = Permission::WriteMembers
            .roles()
            .into_iter()
            .filter(|who| Permission::ALL.iter().all(|permission| role.reach(*permission) <= who.reach(*permission)))
            .collect();
        let detail = format!(
            "nobody makes, changes or removes a member who may do more than they may themselves: for the role {} this \
             takes the role {}, and of a management token every scope of it",
            role.as_str(),
            any_of(&who)
        );
        return Err(refuse(core, actor, Permission::WriteMembers, forbidden(detail, &who)).await);
    }
    Ok(())
}

/// Refuses to take the last owner away.
pub(super) async fn keep_an_owner(tx: &mut store::Write, leaving: &Member) -> Result<()> {
    if leaving.role != Role::Owner.as_str() {
        return Ok(());
    }
    let owners = store::members::hold_owners(tx).await?;
    if owners.iter().any(|owner| owner.id != leaving.id) || Status::of(leaving) == Status::Invited {
        return Ok(());
    }
    Err(Error::new(
        Code::LastOwner,
        format!("{} is the last owner who can sign in; make another owner first", leaving.name),
    ))
}

/// A role somebody named.
pub(super) fn parse_role(text: &str) -> Result<Role> {
    Role::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        Error::field("role", format!("must be one of {}", known.join(", ")))
    })
}

/// A storage error of an insert or update, where a taken e-mail is told as such.
pub(super) fn email_error(error: StoreError, email: &str) -> Error {
    match error {
        StoreError::Taken(_) => {
            let mut taken = Error::field("email", format!("{email:?} is a member’s already, ignoring case"));
            taken.code = Code::NameTaken;
            taken
        }
        other => other.into(),
    }
}

pub(super) async fn found(db: &mut impl Handle, id: &str) -> Result<Member> {
    store::members::get(db, id).await?.ok_or_else(|| Error::not_found("member", id))
}

pub(super) async fn found_standing(db: &mut impl Handle, id: &str) -> Result<Standing<Member>> {
    store::members::get_standing(db, id).await?.ok_or_else(|| Error::not_found("member", id))
}

pub(super) fn target(member: &Member) -> ChangeTarget<'_> {
    ChangeTarget { kind: "member", id: &member.id, name: &member.name }
}

fn place(member: &Member, listing: &Listing<MemberSort>) -> (SortValue, String) {
    let value = match listing.sort {
        MemberSort::Email => SortValue::Text(member.email_key.clone()),
        MemberSort::Name => SortValue::Text(member.name.clone()),
        MemberSort::CreatedAt => SortValue::Int(member.created_at),
    };
    (value, member.id.clone())
}
