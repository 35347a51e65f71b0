//! Files that hold a secret: read only where nobody else may read them.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use rustix::process::{getegid, getgroups};
use zeroize::Zeroizing;

/// Who put the file there, which says how it may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutBy {
    /// Keyward itself: only its own user may read it.
    Keyward,
    /// The operator: the same, or root handed it to a group of ours.
    Operator,
    /// systemd, as a credential.
    Systemd,
}

/// Why such a file is not read.
#[derive(Debug)]
pub enum Unreadable {
    /// What the system says.
    Io(io::Error),
    /// Others may read it; the text goes on from the file's name, and says what to do.
    Open(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Unreadable {
        Unreadable::Io(error)
    }
}

/// The text in it.
///
/// # Errors
/// [`Unreadable`].
pub fn read(path: &Path, put_by: PutBy) -> Result<Zeroizing<String>, Unreadable> {
    let access = Access::of(&fs::metadata(path)?);
    match put_by {
        PutBy::Systemd => {
            let directory = path.parent().map(fs::metadata).transpose()?;
            let directory_is_private = directory.is_none_or(|metadata| Access::of(&metadata).is_credential(0o700));
            if !access.is_credential(0o600) || !directory_is_private {
                return Err(Unreadable::Open(format!(
                    "can be read or changed by others (mode {:o}), which systemd's credentials cannot; have it put there \
                     by LoadCredentialEncrypted= or LoadCredential=, or name a file with KEYWARD_MASTER_KEY_FILE",
                    access.mode
                )));
            }
        }
        PutBy::Operator if access.is_handed_over(&own_groups()?) => {}
        PutBy::Operator | PutBy::Keyward if access.mode & 0o077 != 0 => {
            let (shown, mode) = (path.display(), access.mode);
            return Err(Unreadable::Open(format!("can be read by others (mode {mode:o}); run: chmod 600 {shown}")));
        }
        PutBy::Operator | PutBy::Keyward => {}
    }
    Ok(Zeroizing::new(fs::read_to_string(path)?))
}

/// The groups that this process is in.
fn own_groups() -> io::Result<Vec<u32>> {
    let groups = getgroups()?;
    Ok(groups.into_iter().chain([getegid()]).map(rustix::process::Gid::as_raw).collect())
}

/// Who may do what to a file.
#[derive(Debug, Clone, Copy)]
struct Access {
    owner: u32,
    group: u32,
    mode: u32,
}

impl Access {
    fn of(metadata: &fs::Metadata) -> Access {
        Access { owner: metadata.uid(), group: metadata.gid(), mode: metadata.mode() & 0o777 }
    }

    /// Whether only this service can use it. systemd gives a credential to the service's user: either as its owner, or by
    /// an access control list, whose mask shows as the bits of the group root.
    fn is_credential(self, owner_may: u32) -> bool {
        let by_list = self.owner == 0 && self.group == 0;
        let group_may = if by_list { (owner_may & 0o500) >> 3 } else { 0 };
        self.mode & !(owner_may | group_may) == 0
    }

    /// Whether root handed it to a group of ours to read, as Kubernetes does with a secret for a container whose user is
    /// not root: nobody else is in that group there, and root reads everything in any case.
    fn is_handed_over(self, own_groups: &[u32]) -> bool {
        self.owner == 0 && self.group != 0 && own_groups.contains(&self.group) && self.mode & 0o037 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_may_hand_a_file_to_a_group_of_ours_to_read_and_nobody_else_may() {
        let handed_over = |owner, group, mode| Access { owner, group, mode }.is_handed_over(&[65_532]);
        assert!(handed_over(0, 65_532, 0o440));
        assert!(handed_over(0, 65_532, 0o640));
        for (owner, group, mode) in [
            (65_532, 65_532, 0o440),
            (0, 65_533, 0o440),
            (0, 0, 0o440),
            (0, 65_532, 0o460),
            (0, 65_532, 0o450),
            (0, 65_532, 0o444),
        ] {
            assert!(!handed_over(owner, group, mode), "{owner} {group} {mode:o}");
        }
    }
}
