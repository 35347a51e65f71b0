//! Scopes: what a management token may do of what its owner may.

use crate::error::{Error, Result};

/// Every scope, by name.
pub const SCOPES: [&str; 20] = [
    "general-keys:read",
    "general-keys:write",
    "agent-keys:read",
    "agent-keys:write",
    "providers:read",
    "providers:write",
    "models:read",
    "models:write",
    "policies:read",
    "policies:write",
    "webhooks:read",
    "webhooks:write",
    "members:read",
    "members:write",
    "management-tokens:read",
    "management-tokens:write",
    "audit:read",
    "usage:read",
    "introspect",
    "metrics:read",
];

/// What a token's row says instead of naming every scope there is, and there will be.
const EVERY: &str = "*";

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u32);

impl Scopes {
    /// Every scope.
    pub const ALL: Scopes = Scopes((1 << SCOPES.len()) - 1);
    /// None.
    pub const NONE: Scopes = Scopes(0);

    /// What a token's row says; a word that is no scope grants nothing.
    pub fn of_column(text: &str) -> Scopes {
        if text == EVERY {
            return Scopes::ALL;
        }
        text.split(' ').filter_map(place).fold(Scopes::NONE, |all, at| Scopes(all.0 | 1 << at))
    }

    /// For a token's row.
    pub fn to_column(self) -> String {
        self.names().collect::<Vec<_>>().join(" ")
    }

    /// What somebody asked for.
    ///
    /// # Errors
    /// A refused field `scopes`: none at all, or one that is unknown.
    pub fn parse(names: &[String]) -> Result<Scopes> {
        if names.is_empty() {
            return Err(Error::field("scopes", format!("must hold at least one of {}", SCOPES.join(", "))));
        }
        let mut scopes = Scopes::NONE;
        for (at, name) in names.iter().enumerate() {
            let Some(place) = place(name) else {
                let detail = format!("must be one of {}", SCOPES.join(", "));
                let whole = format!("scopes: the one at {at} is unknown; each {detail}");
                return Err(Error::refused(format!("/scopes/{at}"), detail, whole));
            };
            scopes.0 |= 1 << place;
        }
        Ok(scopes)
    }

    /// Whether the scope of this name is in the set.
    pub fn holds(self, name: &str) -> bool {
        place(name).is_some_and(|at| self.0 & 1 << at != 0)
    }

    /// What is in this set and not in `other`.
    pub fn without(self, other: Scopes) -> Scopes {
        Scopes(self.0 & !other.0)
    }

    /// Their names, in the order of [`SCOPES`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        SCOPES.into_iter().enumerate().filter(move |(at, _)| self.0 & 1 << at != 0).map(|(_, name)| name)
    }
}

fn place(name: &str) -> Option<usize> {
    SCOPES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::roles::Permission;

    #[test]
    fn a_row_is_read_back_and_unknown_words_grant_nothing() {
        let some = Scopes::parse(&[String::from("usage:read"), String::from("agent-keys:write")]).expect("known ones");
        assert_eq!(some.to_column(), "agent-keys:write usage:read");
        assert_eq!(Scopes::of_column(&some.to_column()), some);
        assert_eq!(Scopes::of_column("*"), Scopes::ALL);
        assert_eq!(Scopes::of_column("everything * agent-keys"), Scopes::NONE);
        assert_eq!(Scopes::ALL.names().count(), SCOPES.len());
        assert!(some.without(Scopes::ALL) == Scopes::NONE && Scopes::ALL.without(some).holds("introspect"));
    }

    #[test]
    fn every_permission_has_a_scope_and_every_scope_a_permission() {
        assert!(Permission::ALL.iter().all(|permission| SCOPES.contains(&permission.scope())));
        assert!(SCOPES.iter().all(|scope| Permission::ALL.iter().any(|permission| permission.scope() == *scope)));
    }
}
