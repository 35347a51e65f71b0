//! Row MACs made anew with the newest key. Each row's old MAC is checked first: one that fails stays as it is, refused.

use vault::Purpose;

use crate::{
    Authentic, Handle, StoreError, Write,
    authentic::{is_untouched, rows_with_mac, stamp},
    db::{execute, query},
    general_keys::{GeneralKey, SealedCopy},
    listing::Count,
};

/// Every table whose rows have nothing but their MAC made anew; general keys and their copies hold more.
pub const TABLES: &[&str] = {
    macro_rules! tables {
        ($($row:ty => $name:literal),+ $(,)?) => { &[$(<$row>::TABLE),+] };
    }
    rows_with_mac!(renewed => tables)
};

/// What was done to a part of a table.
#[derive(Debug, Default, Clone, Copy)]
pub struct Done {
    /// Rows that have a new MAC.
    pub renewed: usize,
    /// Rows that fail, and stay as they are.
    pub refused: usize,
}

/// What stands before the tag of a MAC or the bytes of a sealed value that the newest key of its purpose made.
pub(crate) fn newest_prefix(db: &impl Handle, purpose: Purpose) -> String {
    format!("v1.{}.", db.keyring().newest(purpose))
}

/// Makes the MACs anew of the next rows of one of [`TABLES`] that an older key made, in the order of their ids after
/// `after`. Gives the last row's id as well, `None` at the table's end.
///
/// # Errors
/// [`StoreError`].
pub async fn part(tx: &mut Write, table: &str, after: &str, limit: i64) -> Result<(Done, Option<String>), StoreError> {
    macro_rules! renew {
        ($($row:ty => $name:literal),+ $(,)?) => {
            match table {
                $(<$row>::TABLE => {
                    let select = concat!(
                        "SELECT * FROM ", $name,
                        " WHERE id > $1 AND substr(mac, 1, length($3)) <> $3 ORDER BY id LIMIT $2"
                    );
                    let prefix = newest_prefix(tx, Purpose::RowMac);
                    let rows = query!(fetch_all, tx, $row, select, after, limit, prefix.as_str())?;
                    let is_last = i64::try_from(rows.len()).unwrap_or(i64::MAX) < limit;
                    let last = rows.last().filter(|_| !is_last).map(|row| row.id().to_owned());
                    let mut done = Done::default();
                    for row in rows {
                        if !is_untouched(tx.keyring(), &row) {
                            done.refused += 1;
                            continue;
                        }
                        let mac = stamp(tx.keyring(), &row);
                        let update = concat!("UPDATE ", $name, " SET mac = $1 WHERE id = $2 AND mac = $3");
                        execute!(tx, update, mac, row.id(), row.mac())?;
                        done.renewed += 1;
                    }
                    Ok((done, last))
                })+
                _ => Ok((Done::default(), None)),
            }
        };
    }
    rows_with_mac!(renewed => renew)
}

/// The next general keys whose MAC, or whose value's mark, an older key made.
///
/// # Errors
/// [`StoreError`].
pub async fn general_keys(tx: &mut Write, after: &str, limit: i64) -> Result<Vec<GeneralKey>, StoreError> {
    let prefix = newest_prefix(tx, Purpose::RowMac);
    query!(
        fetch_all,
        tx,
        GeneralKey,
        "SELECT * FROM general_keys WHERE id > $1 AND (substr(mac, 1, length($3)) <> $3 \
         OR (value_mark <> '' AND substr(value_mark, 1, length($3)) <> $3)) ORDER BY id LIMIT $2",
        after,
        limit,
        prefix.as_str()
    )
}

/// Makes the MAC of a general key anew, and puts `value_mark` there; `false` where the row fails, and stays as it is.
///
/// # Errors
/// [`StoreError`].
pub async fn general_key(tx: &mut Write, key: &GeneralKey, value_mark: &str) -> Result<bool, StoreError> {
    if !is_untouched(tx.keyring(), key) {
        return Ok(false);
    }
    let next = GeneralKey { value_mark: value_mark.to_owned(), ..key.clone() };
    let mac = stamp(tx.keyring(), &next);
    let update = "UPDATE general_keys SET value_mark = $1, mac = $2 WHERE id = $3 AND mac = $4";
    execute!(tx, update, value_mark, mac, key.id.as_str(), key.mac.as_str())?;
    Ok(true)
}

/// The next sealed copies that an older key sealed, or made the MAC of.
///
/// # Errors
/// [`StoreError`].
pub async fn copies(tx: &mut Write, after: &str, limit: i64) -> Result<Vec<SealedCopy>, StoreError> {
    let (mac, sealed) = (newest_prefix(tx, Purpose::RowMac), newest_prefix(tx, Purpose::Data));
    query!(
        fetch_all,
        tx,
        SealedCopy,
        "SELECT * FROM general_key_secrets WHERE id > $1 AND (substr(mac, 1, length($3)) <> $3 \
         OR substr(sealed, 1, length($4)) <> $4) ORDER BY id LIMIT $2",
        after,
        limit,
        mac.as_str(),
        sealed.as_str()
    )
}

/// Whether a sealed copy is as Keyward wrote it; one that is not is logged.
pub fn is_copy_untouched(db: &impl Handle, copy: &SealedCopy) -> bool {
    is_untouched(db.keyring(), copy)
}

/// Puts the value of a copy there as it is sealed now; `before` was found untouched.
///
/// # Errors
/// [`StoreError`].
pub async fn copy(tx: &mut Write, before: &SealedCopy, sealed: String) -> Result<(), StoreError> {
    let next = SealedCopy { sealed, ..before.clone() };
    let mac = stamp(tx.keyring(), &next);
    let update = "UPDATE general_key_secrets SET sealed = $1, mac = $2 WHERE id = $3 AND mac = $4";
    execute!(tx, update, next.sealed.as_str(), mac, before.id.as_str(), before.mac.as_str())?;
    Ok(())
}

/// How many rows there are, and how many of them an older key sealed or made the MAC of.
///
/// # Errors
/// [`StoreError`].
pub async fn left(db: &mut impl Handle) -> Result<(i64, i64), StoreError> {
    let (mac, sealed) = (newest_prefix(db, Purpose::RowMac), newest_prefix(db, Purpose::Data));
    let (mut all, mut left) = (0, 0);
    macro_rules! count {
        ($($row:ty => $name:literal),+ $(,)?) => {
            $(
                let sql = concat!("SELECT count(*) AS n FROM ", $name);
                all += query!(fetch_one, db, Count, sql)?.n;
                let sql = concat!("SELECT count(*) AS n FROM ", $name, " WHERE substr(mac, 1, length($1)) <> $1");
                left += query!(fetch_one, db, Count, sql, mac.as_str())?.n;
            )+
        };
    }
    rows_with_mac!(renewed => count);
    let sql = "SELECT count(*) AS n FROM general_keys";
    all += query!(fetch_one, db, Count, sql)?.n;
    let sql = "SELECT count(*) AS n FROM general_keys WHERE substr(mac, 1, length($1)) <> $1";
    left += query!(fetch_one, db, Count, sql, mac.as_str())?.n;
    all += query!(fetch_one, db, Count, "SELECT count(*) AS n FROM general_key_secrets")?.n;
    left += query!(
        fetch_one,
        db,
        Count,
        "SELECT count(*) AS n FROM general_key_secrets WHERE substr(mac, 1, length($1)) <> $1 \
         OR substr(sealed, 1, length($2)) <> $2",
        mac.as_str(),
        sealed.as_str()
    )?
    .n;
    Ok((all, left))
}
