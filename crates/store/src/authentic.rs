//! Row MACs: every row that grants or limits authority is stamped when written and checked when read.

use vault::{Keyring, MacField};

use crate::StoreError;

/// A row with a MAC over every column that a decision or a page reads.
pub trait Authentic {
    /// The table it stands in.
    const TABLE: &'static str;
    /// Its id.
    fn id(&self) -> &str;
    /// The columns under the MAC, in a fixed order, the id left out (it is always under it).
    fn fields(&self) -> Vec<MacField<'_>>;
    /// The stored MAC.
    fn mac(&self) -> &str;
}

/// The MAC for a row about to be written.
pub(crate) fn stamp<R: Authentic>(keyring: &Keyring, row: &R) -> String {
    keyring.row_mac(R::TABLE, row.id(), &row.fields())
}

/// Lets an untouched row through.
///
/// # Errors
/// [`StoreError::Tampered`], logged here once with its reason.
pub(crate) fn checked<R: Authentic>(keyring: &Keyring, row: R) -> Result<R, StoreError> {
    match is_untouched(keyring, &row) {
        true => Ok(row),
        false => Err(StoreError::Tampered { table: R::TABLE, id: row.id().to_owned() }),
    }
}

/// Whether a row is as Keyward wrote it; one that is not is logged here, once, with the reason.
pub(crate) fn is_untouched<R: Authentic>(keyring: &Keyring, row: &R) -> bool {
    let verdict = keyring.verify_row_mac(R::TABLE, row.id(), &row.fields(), row.mac());
    if let Err(reason) = &verdict {
        tracing::error!(table = R::TABLE, row = row.id(), %reason, "row refused: it was changed outside Keyward");
    }
    verdict.is_ok()
}

/// Hands the row types with a MAC and their tables to the macro `then`: `all` of them, or those of which nothing but the
/// MAC is `renewed` under another key. A general key and its sealed copies hold more that has to be.
macro_rules! rows_with_mac {
    (all => $then:ident) => {
        $crate::authentic::rows_with_mac! {
            renewed => $then,
            $crate::general_keys::GeneralKey => "general_keys",
            $crate::general_keys::SealedCopy => "general_key_secrets",
        }
    };
    (renewed => $then:ident $(, $row:ty => $table:literal)* $(,)?) => {
        $then! {
            $crate::members::Member => "members",
            $crate::sessions::Session => "sessions",
            $crate::sessions::SetupToken => "setup_tokens",
            $crate::invitations::Invitation => "invitations",
            $crate::identities::Identity => "identities",
            $crate::second_factors::SecondFactor => "second_factors",
            $crate::second_factors::RecoveryCodeRow => "recovery_codes",
            $crate::pending_sign_ins::PendingSignIn => "pending_sign_ins",
            $crate::management_tokens::ManagementToken => "management_tokens",
            $crate::agent_keys::AgentKey => "agent_keys",
            $crate::agent_keys::AgentSecretRow => "agent_secrets",
            $crate::agent_key_defaults::AgentKeyDefaults => "agent_key_defaults",
            $crate::policies::Policy => "policies",
            $crate::webhooks::Webhook => "webhooks",
            $crate::providers::Provider => "providers",
            $crate::models::Model => "models",
            $crate::links::Link => "links",
            $($row => $table,)*
        }
    };
}
pub(crate) use rows_with_mac;

/// What stands in a column that came after its row was written: not under the row's MAC.
pub(crate) const UNTOLD: &str = "?";

/// Rows of a whole table, sorted by whether they are as Keyward wrote them.
#[derive(Debug)]
pub struct Sorted<R> {
    /// Those that are.
    pub untouched: Vec<R>,
    /// Those that were changed outside Keyward: to be refused, never to be taken for absent.
    pub damaged: Vec<R>,
}

/// Sorts rows; the damaged ones are logged.
pub(crate) fn sorted<R: Authentic>(keyring: &Keyring, rows: Vec<R>) -> Sorted<R> {
    let mut sorted = Sorted { untouched: Vec::with_capacity(rows.len()), damaged: Vec::new() };
    for row in rows {
        match is_untouched(keyring, &row) {
            true => sorted.untouched.push(row),
            false => sorted.damaged.push(row),
        }
    }
    sorted
}

/// A row as it stands, for people to look at and to delete. One that is damaged is good for nothing else.
#[derive(Debug, Clone)]
pub struct Standing<R> {
    /// The row. Where it is damaged, nothing in it can be relied on.
    pub row: R,
    /// It was changed outside Keyward.
    pub is_damaged: bool,
}

/// Every row of a list, the damaged ones marked as such; each of those is logged.
pub(crate) fn standing<R: Authentic>(keyring: &Keyring, rows: Vec<R>) -> Vec<Standing<R>> {
    let judge = |row: R| Standing { is_damaged: !is_untouched(keyring, &row), row };
    rows.into_iter().map(judge).collect()
}

/// The untouched rows of a list; the others are logged and left out.
pub(crate) fn untouched<R: Authentic>(keyring: &Keyring, rows: Vec<R>) -> Vec<R> {
    rows.into_iter().filter_map(|row| checked(keyring, row).ok()).collect()
}
