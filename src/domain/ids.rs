//! Ids: a prefix that tells the kind, and a ULID, so that ids sort by the time they were made.

use vault::{Entropy, VaultError};

/// Makes an id with `prefix` at `now` (milliseconds since 1970).
///
/// # Errors
/// [`VaultError`] where the system has no randomness to give.
pub fn mint(prefix: &str, now: i64, entropy: &Entropy) -> Result<String, VaultError> {
    let mut random = [0_u8; 16];
    entropy.fill(&mut random[6..])?;
    let ulid = ulid::Ulid::from_parts(u64::try_from(now).unwrap_or(0), u128::from_be_bytes(random));
    Ok(format!("{prefix}_{ulid}"))
}
