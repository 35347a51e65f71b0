//! Who does something, as the audit log remembers them, and what they may.

use super::access::Authority;

/// What kind of actor it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A signed-in member.
    Member,
    /// A management token.
    Token,
    /// Somebody with a shell on the machine.
    Command,
    /// Somebody who is not signed in.
    Nobody,
}

impl ActorKind {
    /// The word in audit events.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorKind::Member => "member",
            ActorKind::Token => "token",
            ActorKind::Command => "command",
            ActorKind::Nobody => "nobody",
        }
    }
}

/// Who does something. Built by [`crate::auth`] and by commands, never from fields of a request.
#[derive(Debug, Clone)]
pub struct Actor {
    /// What kind of actor it is.
    pub kind: ActorKind,
    /// The member's or the token's id.
    pub id: String,
    /// The member's name, or the token's name and its owner's.
    pub name: String,
    /// The member behind it.
    pub member_id: String,
    /// The caller's address; empty for commands.
    pub address: String,
    /// The request; empty for commands.
    pub request_id: String,
    /// What they may do.
    pub authority: Authority,
}

impl Actor {
    /// Somebody who is not signed in.
    pub fn nobody(address: &str, request_id: &str) -> Actor {
        Actor {
            kind: ActorKind::Nobody,
            id: String::new(),
            name: String::from("not signed in"),
            member_id: String::new(),
            address: address.to_owned(),
            request_id: request_id.to_owned(),
            authority: Authority::NOTHING,
        }
    }

    /// A command on the machine itself.
    pub fn command(name: &str) -> Actor {
        Actor {
            kind: ActorKind::Command,
            id: String::new(),
            name: format!("keyward {name}"),
            member_id: String::new(),
            address: String::new(),
            request_id: String::new(),
            authority: Authority::EVERYTHING,
        }
    }
}
