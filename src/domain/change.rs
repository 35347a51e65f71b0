//! What every edit has in common: the version that was read, and a name that may be taken.

use store::StoreError;

use crate::error::{Code, Error, Result};

/// Refuses an edit of a version that is no longer there.
///
/// # Errors
/// [`Code::VersionMismatch`].
pub(super) fn check_version(current: i64, expected: Option<i64>) -> Result<()> {
    match expected {
        Some(expected) if expected != current => Err(Error::new(
            Code::VersionMismatch,
            format!("it was changed since you read it (now \"{current}\", not \"{expected}\"); read it again"),
        )),
        _ => Ok(()),
    }
}

/// A storage error of an insert or update, where a taken name is told as such.
pub(super) fn name_error(error: StoreError, name: &str) -> Error {
    match error {
        StoreError::Taken(_) => {
            let mut taken = Error::field("name", format!("{name:?} is taken, ignoring case; choose another name"));
            taken.code = Code::NameTaken;
            taken
        }
        other => other.into(),
    }
}
