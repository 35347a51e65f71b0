//! A change of what wraps the keys: while it is under way, every key stands there wrapped by either.

use crate::{StoreError, Write, db::execute, installation::StoredKey};

/// Puts the keys there as the next one wraps them (`next_wrapped`), beside what is there. They are all keys of the set with
/// the number `keyring`.
///
/// # Errors
/// [`StoreError::Stale`] where the set of keys changed meanwhile.
pub async fn begin(tx: &mut Write, keyring: i64, check: &str, keys: &[StoredKey]) -> Result<(), StoreError> {
    let sql = "UPDATE installation SET next_check_value = $1 WHERE keyring_version = $2";
    if execute!(tx, sql, check, keyring)? == 0 {
        return Err(StoreError::Stale { table: "installation", id: String::from("keyring") });
    }
    for key in keys {
        let sql = "UPDATE purpose_keys SET next_wrapped = $1 WHERE id = $2";
        if execute!(tx, sql, key.next_wrapped.as_str(), key.id.as_str())? == 0 {
            return Err(StoreError::Stale { table: "purpose_keys", id: key.id.clone() });
        }
    }
    Ok(())
}

/// Leaves only the next master key good. `check` is its check value, so that no other change is finished instead.
///
/// # Errors
/// [`StoreError::Stale`] where it is no longer the next one, or a key is not wrapped by it.
pub async fn finish(tx: &mut Write, check: &str, keys: &[StoredKey]) -> Result<(), StoreError> {
    let stale = |id: &str| StoreError::Stale { table: "purpose_keys", id: id.to_owned() };
    let moved = execute!(
        tx,
        "UPDATE installation SET check_value = next_check_value, next_check_value = '' WHERE next_check_value = $1",
        check
    )?;
    if moved == 0 {
        return Err(stale("check"));
    }
    for key in keys {
        let moved = execute!(
            tx,
            "UPDATE purpose_keys SET wrapped = next_wrapped, next_wrapped = '' WHERE id = $1 AND next_wrapped <> ''",
            key.id.as_str()
        )?;
        if moved == 0 {
            return Err(stale(&key.id));
        }
    }
    Ok(())
}

/// Leaves only the present master key good.
///
/// # Errors
/// [`StoreError`].
pub async fn abort(tx: &mut Write) -> Result<(), StoreError> {
    execute!(tx, "UPDATE installation SET next_check_value = ''")?;
    execute!(tx, "UPDATE purpose_keys SET next_wrapped = ''")?;
    Ok(())
}

/// Puts the keys there as the same service wraps them now, in place of what is there (`wrapped`).
///
/// # Errors
/// [`StoreError::Stale`] where the check value is not `before` any more, or the set of keys changed meanwhile.
pub async fn replace(
    tx: &mut Write,
    keyring: i64,
    before: &str,
    check: &str,
    keys: &[StoredKey],
) -> Result<(), StoreError> {
    let stale = |id: &str| StoreError::Stale { table: "purpose_keys", id: id.to_owned() };
    let sql = "UPDATE installation SET check_value = $1 WHERE check_value = $2 AND next_check_value = '' \
               AND keyring_version = $3";
    if execute!(tx, sql, check, before, keyring)? == 0 {
        return Err(stale("check"));
    }
    for key in keys {
        let sql = "UPDATE purpose_keys SET wrapped = $1 WHERE id = $2 AND next_wrapped = ''";
        if execute!(tx, sql, key.wrapped.as_str(), key.id.as_str())? == 0 {
            return Err(stale(&key.id));
        }
    }
    Ok(())
}
