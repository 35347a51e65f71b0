//! Roles and permissions: the one table that says what a member may do. [`super::access`] asks it, for the management
//! API and the console alike.

/// What a member is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// May do everything.
    Owner,
    /// Looks after keys, providers, models, and members other than owners.
    Admin,
    /// Reads and edits keys.
    Operator,
    /// Has agent keys of their own.
    Member,
    /// Reads.
    Auditor,
}

impl Role {
    /// Every role, in the table's order.
    pub const ALL: [Role; 5] = [Role::Owner, Role::Admin, Role::Operator, Role::Member, Role::Auditor];

    /// The word in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Operator => "operator",
            Role::Member => "member",
            Role::Auditor => "auditor",
        }
    }

    /// Parses the word.
    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// How far this role may go.
    pub fn reach(self, permission: Permission) -> Reach {
        permission.facts().reach[self as usize]
    }
}

/// How far a permission goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Not at all.
    Nothing,
    /// One's own things.
    Own,
    /// Everybody's.
    All,
}

/// What is said of a permission.
struct Facts {
    /// The scope a management token needs for it.
    scope: &'static str,
    /// What it lets one do, in words.
    words: &'static str,
    /// By role, in the order of [`Role::ALL`].
    reach: [Reach; 5],
}

macro_rules! permissions {
    ($($name:ident $scope:literal $words:literal [$owner:ident $admin:ident $operator:ident $member:ident $auditor:ident];)+) => {
        /// Something that one may do or not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Permission { $(#[doc = $words] $name),+ }

        impl Permission {
            /// Every permission.
            pub const ALL: &[Permission] = &[$(Permission::$name),+];

            const fn facts(self) -> Facts {
                match self {
                    $(Permission::$name => Facts {
                        scope: $scope,
                        words: $words,
                        reach: [Reach::$owner, Reach::$admin, Reach::$operator, Reach::$member, Reach::$auditor],
                    }),+
                }
            }
        }
    };
}

permissions! {
    //                scope                     words                        owner  admin operator member  auditor
    ReadGeneralKeys   "general-keys:read"       "read general keys"          [All   All   All      Nothing All];
    CreateGeneralKeys "general-keys:write"      "create general keys"        [All   All   Nothing  Nothing Nothing];
    EditGeneralKeys   "general-keys:write"      "edit and test general keys" [All   All   All      Nothing Nothing];
    DeleteGeneralKeys "general-keys:write"      "delete general keys"        [All   All   Nothing  Nothing Nothing];
    ReadAgentKeys     "agent-keys:read"         "read agent keys"            [All   All   All      Own     All];
    CreateAgentKeys   "agent-keys:write"        "create agent keys"          [All   All   Nothing  Own     Nothing];
    EditAgentKeys     "agent-keys:write"        "edit agent keys"            [All   All   All      Own     Nothing];
    DeleteAgentKeys   "agent-keys:write"        "delete agent keys"          [All   All   Nothing  Own     Nothing];
    ReadProviders     "providers:read"          "read providers"             [All   All   All      Nothing All];
    WriteProviders    "providers:write"         "change providers"           [All   All   Nothing  Nothing Nothing];
    ReadModels        "models:read"             "read models"                [All   All   All      All     All];
    WriteModels       "models:write"            "change models"              [All   All   Nothing  Nothing Nothing];
    ReadPolicies      "policies:read"           "read limits and policies"   [All   All   All      Nothing All];
    WritePolicies     "policies:write"          "change default limits and policies" [All All Nothing Nothing Nothing];
    ReadWebhooks      "webhooks:read"           "read webhooks"              [All   All   Nothing  Nothing All];
    WriteWebhooks     "webhooks:write"          "change webhooks"            [All   All   Nothing  Nothing Nothing];
    ReadMembers       "members:read"            "read members"               [All   All   Nothing  Nothing All];
    WriteMembers      "members:write"           "invite and change members"  [All   All   Nothing  Nothing Nothing];
    ReadTokens        "management-tokens:read"  "read management tokens"     [All   All   Own      Own     All];
    WriteTokens       "management-tokens:write" "change management tokens"   [All   Own   Own      Own     Nothing];
    ReadAudit         "audit:read"              "read the audit log"         [All   All   Nothing  Nothing All];
    ReadUsage         "usage:read"              "read usage"                 [All   All   All      Nothing All];
    ReadMetrics       "metrics:read"            "read metrics"               [All   All   All      Nothing All];
    Introspect        "introspect"              "introspect agent keys"      [All   All   Nothing  Nothing Nothing];
}

impl Permission {
    /// The scope a management token needs for it.
    pub fn scope(self) -> &'static str {
        self.facts().scope
    }

    /// What it lets one do, in words that go on after 'may'.
    pub fn words(self) -> &'static str {
        self.facts().words
    }

    /// The roles that may, at least with their own things.
    pub fn roles(self) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| role.reach(self) > Reach::Nothing).collect()
    }
}

/// Roles as words: 'owner', 'owner or admin', 'owner, admin or operator'.
pub fn any_of(roles: &[Role]) -> String {
    let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::from("nobody"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_may_everything_and_an_auditor_changes_nothing() {
        for permission in Permission::ALL {
            assert_eq!(Role::Owner.reach(*permission), Reach::All, "{permission:?}");
            let reads = permission.scope().ends_with(":read");
            assert_eq!(Role::Auditor.reach(*permission) == Reach::All, reads, "{permission:?}");
            assert!(Role::Auditor.reach(*permission) == Reach::Nothing || reads, "{permission:?}");
        }
    }

    #[test]
    fn whoever_may_change_something_may_read_it() {
        for (change, read) in [
            (Permission::EditGeneralKeys, Permission::ReadGeneralKeys),
            (Permission::EditAgentKeys, Permission::ReadAgentKeys),
            (Permission::WriteProviders, Permission::ReadProviders),
            (Permission::WriteModels, Permission::ReadModels),
            (Permission::WriteMembers, Permission::ReadMembers),
            (Permission::WriteTokens, Permission::ReadTokens),
        ] {
            assert!(Role::ALL.into_iter().all(|role| role.reach(change) <= role.reach(read)), "{change:?}");
        }
    }

    #[test]
    fn roles_are_told_in_words() {
        assert_eq!(any_of(&Permission::WriteProviders.roles()), "owner or admin");
        assert_eq!(any_of(&Permission::EditGeneralKeys.roles()), "owner, admin or operator");
        assert_eq!(any_of(&[Role::Owner]), "owner");
        assert!(Role::ALL.into_iter().all(|role| Role::parse(role.as_str()) == Some(role)));
        assert_eq!(Role::parse("root"), None);
    }
}
