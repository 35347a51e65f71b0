//! Who may do what: the one check that the management API and the console share.

use serde_json::json;

use super::{
    Core,
    actor::{Actor, ActorKind},
    agent_keys, management_tokens,
    roles::{Permission, Reach, Role, any_of},
    scopes::Scopes,
};
use crate::error::{Code, Error, Result};

/// What an actor may do: what the member's role lets them, cut down to the scopes of the token they call with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    role: Option<Role>,
    scopes: Scopes,
    ends_at: i64,
}

impl Authority {
    /// Of whoever has a shell on the machine.
    pub const EVERYTHING: Authority = Authority { role: Some(Role::Owner), scopes: Scopes::ALL, ends_at: i64::MAX };
    /// Of somebody who is not signed in.
    pub const NOTHING: Authority = Authority { role: None, scopes: Scopes::NONE, ends_at: 0 };

    /// A signed-in member's. A role that this version does not know may do nothing.
    pub fn of_member(role: &str) -> Authority {
        Authority { role: Role::parse(role), ..Authority::EVERYTHING }
    }

    /// A token's, whose owner has `role`, and which ends at `ends_at`.
    pub fn of_token(role: &str, scopes: Scopes, ends_at: i64) -> Authority {
        Authority { role: Role::parse(role), scopes, ends_at }
    }

    /// The member's role.
    pub fn role(self) -> Option<Role> {
        self.role
    }

    /// When it ends, in milliseconds since 1970.
    pub fn ends_at(self) -> i64 {
        self.ends_at
    }

    /// How far it goes.
    pub fn reach(self, permission: Permission) -> Reach {
        match self.role {
            Some(role) if self.scopes.holds(permission.scope()) => role.reach(permission),
            _ => Reach::Nothing,
        }
    }

    /// Whether it goes as far as anything of that kind at all.
    pub fn may(self, permission: Permission) -> bool {
        self.reach(permission) > Reach::Nothing
    }

    /// Whether a member of that role may be made, changed or removed with it: nobody gives, or takes, what they do not
    /// have themselves.
    pub fn covers(self, role: Role) -> bool {
        Permission::ALL.iter().all(|permission| role.reach(*permission) <= self.reach(*permission))
    }

    /// Those scopes it may hand on: its own, as far as the role can make use of them.
    pub fn scopes_to_give(self) -> Scopes {
        let usable = Permission::ALL.iter().filter(|permission| self.may(**permission));
        let names: Vec<&str> = usable.map(|permission| permission.scope()).collect();
        Scopes::of_column(&names.join(" "))
    }
}

/// Lets an actor through who may do this: to the thing called `id`, or, where there is none, to at least something of
/// the kind. Lists then hold one's own things only ([`owner_filter`]). A refusal is recorded.
///
/// # Errors
/// [`Code::Forbidden`] with the roles that may; [`Code::NotFound`] where whose it is must be known and it is not there;
/// a storage failure.
pub async fn check(core: &Core, actor: &Actor, permission: Permission, id: Option<&str>) -> Result<()> {
    let is_allowed = match (actor.authority.reach(permission), id) {
        (Reach::All, _) | (Reach::Own, None) => true,
        (Reach::Own, Some(id)) => owner_of(core, permission, id).await? == actor.member_id,
        (Reach::Nothing, _) => false,
    };
    if is_allowed {
        return Ok(());
    }
    Err(refuse(core, actor, permission, refusal(actor, permission)).await)
}

/// Whose things a list holds: an empty text for everybody's, else the member's id.
pub fn owner_filter(actor: &Actor, permission: Permission) -> &str {
    if actor.authority.reach(permission) == Reach::All { "" } else { &actor.member_id }
}

/// Records a refusal, and gives it back.
pub async fn refuse(core: &Core, actor: &Actor, permission: Permission, error: Error) -> Error {
    core.refusals.note(actor, permission);
    if let Err(failure) = super::refusals::record_due(core).await {
        failure.log(&actor.request_id);
    }
    error
}

/// The refusal of something that roles decide about: who may.
pub fn forbidden(detail: String, roles: &[Role]) -> Error {
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    Error::new(Code::Forbidden, detail).with_extension("allowed_roles", json!(names))
}

fn refusal(actor: &Actor, permission: Permission) -> Error {
    let (words, roles) = (permission.words(), permission.roles());
    let Some(role) = actor.authority.role else {
        return forbidden(format!("nobody who is not a member may {words}"), &roles);
    };
    if role.reach(permission) == Reach::Nothing {
        let (own, who) = (role.as_str(), any_of(&roles));
        return forbidden(format!("the role {own} may not {words}; this takes the role {who}"), &roles);
    }
    let scope = permission.scope();
    if actor.kind == ActorKind::Token && actor.authority.reach(permission) == Reach::Nothing {
        let detail = format!("this management token may not {words}: it has not the scope {scope}; use one that has");
        return Error::new(Code::Forbidden, detail).with_extension("required_scope", json!(scope));
    }
    let all: Vec<Role> = Role::ALL.into_iter().filter(|role| role.reach(permission) == Reach::All).collect();
    let detail =
        format!("the role {} may {words} of its own only; others’ take the role {}", role.as_str(), any_of(&all));
    forbidden(detail, &all)
}

async fn owner_of(core: &Core, permission: Permission, id: &str) -> Result<String> {
    match permission {
        Permission::ReadTokens | Permission::WriteTokens => Ok(management_tokens::get(core, id).await?.token.member_id),
        _ => Ok(agent_keys::get(core, id).await?.member_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_what_both_its_scopes_and_its_owner_s_role_let_it() {
        let scopes = Scopes::of_column("agent-keys:write usage:read");
        let of = |role: &str| Authority::of_token(role, scopes, 0);
        assert_eq!(of("owner").reach(Permission::EditAgentKeys), Reach::All);
        assert_eq!(of("owner").reach(Permission::ReadAgentKeys), Reach::Nothing);
        assert_eq!(of("member").reach(Permission::EditAgentKeys), Reach::Own);
        assert_eq!(of("auditor").reach(Permission::EditAgentKeys), Reach::Nothing);
        assert_eq!(of("auditor").scopes_to_give().to_column(), "usage:read");
        assert_eq!(of("root").scopes_to_give(), Scopes::NONE);
    }

    #[test]
    fn nobody_gives_what_they_have_not() {
        let covered = |authority: Authority| Role::ALL.into_iter().filter(|role| authority.covers(*role)).count();
        assert_eq!(covered(Authority::of_member("owner")), 5);
        assert!(!Authority::of_member("admin").covers(Role::Owner));
        assert_eq!(covered(Authority::of_member("admin")), 4);
        assert!(!Authority::of_member("operator").covers(Role::Member));
        assert!(!Authority::of_member("auditor").covers(Role::Operator));
        let members_only = Scopes::of_column("members:read members:write");
        assert_eq!(covered(Authority::of_token("owner", members_only, 0)), 0);
        assert_eq!(covered(Authority::NOTHING), 0);
    }
}
