//! What stands around every page of a signed-in member.

use super::{session::Session, steps::Step};
use crate::domain::roles::Permission;

/// What stands around every page of a signed-in member. Sign out is `POST /sign-out`, without fields.
#[derive(Clone, Debug, Default)]
pub struct Shell {
    /// The signed-in member's name.
    pub member_name: String,
    /// Which entries of the navigation their role lets them see.
    pub sees: Sees,
    /// The entry of the navigation that is marked.
    pub current: Nav,
    /// What the last action did, from `?done=`.
    pub flash: Option<Flash>,
    /// Of the first steps the one that comes next, told behind what the last action made.
    pub next: Option<Step>,
}

impl Shell {
    /// The shell of a page under `current`.
    pub fn new(session: &Session, current: Nav) -> Shell {
        let may = |permission| session.actor().authority.may(permission);
        let sees = Sees {
            usage: may(Permission::ReadUsage),
            general_keys: may(Permission::ReadGeneralKeys),
            catalog: may(Permission::ReadProviders),
            audit: may(Permission::ReadAudit),
            members: may(Permission::ReadMembers),
            policies: may(Permission::ReadPolicies),
            webhooks: may(Permission::ReadWebhooks),
        };
        Shell { member_name: session.actor().name.clone(), sees, current, flash: None, next: None }
    }

    /// With what the last action did, by the code of a `?done=`.
    pub fn saying(self, done: &str) -> Shell {
        Shell { flash: Flash::from_code(done), ..self }
    }

    /// With the step that comes next.
    pub fn leading_to(self, next: Option<Step>) -> Shell {
        Shell { next, ..self }
    }
}

/// Which parts of the console a role sees. Its own agent keys and its account everybody does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sees {
    /// Overview and usage
    pub usage: bool,
    /// General keys
    pub general_keys: bool,
    /// Providers & models
    pub catalog: bool,
    /// Audit log
    pub audit: bool,
    /// Members
    pub members: bool,
    /// Default limits and policies
    pub policies: bool,
    /// Webhooks
    pub webhooks: bool,
}

/// The navigation's entries; it shows only what exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nav {
    /// `/overview`
    Overview,
    /// `/keys/general`, `/keys/agent`
    Keys,
    /// `/catalog`
    Providers,
    /// `/usage`
    Usage,
    /// `/audit`
    Audit,
    /// `/members`
    Members,
    /// `/settings/…`
    Settings,
    /// A page outside of these.
    #[default]
    None,
}
macro_rules! flashes {
    ($($name:ident = $code:literal),+ $(,)?) => {
        /// What was just done. The closed list behind `?done=CODE`, so that no link can put words on a page.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Flash { $(#[doc = concat!("`?done=", $code, "`")] $name),+ }

        impl Flash {
            /// Reads the code of a `?done=`; an unknown one shows nothing.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$name),)+ _ => None }
            }

            /// The code to redirect with: `/keys/general?done=…`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }
        }
    };
}

flashes! {
    Welcome = "welcome",
    GeneralKeyCreated = "general-key-created",
    GeneralKeySaved = "general-key-saved",
    GeneralKeyDeleted = "general-key-deleted",
    GeneralKeysImported = "general-keys-imported",
    AgentKeysImported = "agent-keys-imported",
    NothingImported = "nothing-imported",
    AgentKeySaved = "agent-key-saved",
    AgentKeyDisabled = "agent-key-disabled",
    AgentKeyEnabled = "agent-key-enabled",
    AgentSecretRetired = "agent-secret-retired",
    AgentKeyDeleted = "agent-key-deleted",
    AgentKeysDisabled = "agent-keys-disabled",
    WebhookTested = "webhook-tested",
    WebhookSaved = "webhook-saved",
    WebhookDeleted = "webhook-deleted",
    MailTested = "mail-tested",
    MailChosen = "mail-chosen",
    DefaultLimitsSaved = "default-limits-saved",
    PolicyCreated = "policy-created",
    PolicySaved = "policy-saved",
    PolicyDeleted = "policy-deleted",
    AgentKeysDeleted = "agent-keys-deleted",
    ProviderCreated = "provider-created",
    ProviderSaved = "provider-saved",
    ProviderDeleted = "provider-deleted",
    ModelCreated = "model-created",
    ModelSaved = "model-saved",
    ModelDeleted = "model-deleted",
    ModelsImported = "models-imported",
    Joined = "joined",
    MemberSaved = "member-saved",
    MemberRemoved = "member-removed",
    TokenSaved = "token-saved",
    TokenDeleted = "token-deleted",
    PasswordChanged = "password-changed",
    IdentityLinked = "identity-linked",
    IdentityUnlinked = "identity-unlinked",
    SecondFactorOff = "second-factor-off",
    SecondFactorRemoved = "second-factor-removed",
}
