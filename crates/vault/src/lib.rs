//! Secrets and their cryptography: what Keyward keeps, in types that cannot leak it by accident.
//!
//! Nothing in this crate knows HTTP, SQL, files, the clock or an async runtime; randomness comes in as an [`Entropy`].
//!
//! | where | what |
//! | --- | --- |
//! | `master_key`, `purpose_key`, `wrapped_key`, `keyring` | the master key, the keys that do the work (one [`Purpose`] each), how the one wraps the others, the opened set |
//! | `provider_value`, `binding`, `provider_secret`, `seal` | a general key: as entered, where it may go, opened, at rest |
//! | `token`, `agent_secret`, `one_time_token` | agent keys, management tokens, setup links and sessions |
//! | `totp`, `recovery_code` | a member's second factor |
//! | `mac` | digests of secrets, row MACs, the audit chain |
//! | `aead`, `envelope`, `framing`, `entropy`, `opaque` | the parts the others are made of |
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there"))]

#[macro_use]
mod opaque;

mod aead;
mod agent_secret;
mod binding;
mod entropy;
mod envelope;
mod error;
mod framing;
mod keyring;
mod mac;
mod master_key;
mod one_time_token;
mod provider_secret;
mod provider_value;
mod purpose_key;
mod recovery_code;
mod seal;
mod token;
mod totp;
mod webhook_secret;
mod wrapped_key;
#[cfg(test)]
mod wycheproof;

pub use agent_secret::AgentSecret;
pub use binding::Binding;
pub use entropy::Entropy;
pub use envelope::key_id_of;
pub use error::VaultError;
pub use keyring::{Keyring, LiveKey, MissingKey};
pub use mac::{Digest, MacError, MacField};
pub use master_key::{MasterKey, MasterKeyError};
pub use one_time_token::OneTimeToken;
pub use provider_secret::ProviderSecret;
pub use provider_value::{ProviderValue, ValueError};
pub use purpose_key::{KeyPlace, Purpose, PurposeKey};
pub use recovery_code::RecoveryCode;
pub use seal::{Place, ResealError, Resealed, SealError};
pub use token::{FoundToken, MAX_TOKEN_LEN, Token, TokenError, TokenKind, can_be_foreign, contains_token, find_tokens};
pub use totp::TotpSecret;
pub use webhook_secret::WebhookSecret;
pub use wrapped_key::{CHECK_TEXT, check_associated_data};
