//! The rollback mark: how far the audit chain had come, kept in a file beside the database, so that a database that is
//! put back to an earlier state is noticed. Its MAC keeps others from writing one.
//!
//! The mark is written after a commit, so it may be behind the database and never ahead of it, unless the database
//! itself went back.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use store::chain;
use vault::Keyring;

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
};
use crate::error::{Code, Error, Result};

/// The mark's file in the state directory.
pub const FILE: &str = "rollback.mark";
/// What stands before the MAC of a mark instead of an event's predecessor.
const MARKS: &str = "keyward/rollback-mark/v1";

/// How far this installation had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The installation.
    pub installation: String,
    /// Its epoch.
    pub epoch: i64,
    /// The newest event's number.
    pub seq: i64,
    /// Its MAC.
    pub head: String,
    /// The latest time Keyward has seen, in milliseconds since 1970.
    pub clock: i64,
    /// Epoch and number of the event from which on the journal of revocations is complete.
    pub journal_from: (i64, i64),
    /// The MAC of the journal's last line; empty before the first one.
    pub journal: String,
    /// The MAC over all of it; made when it is written.
    pub mac: String,
}

impl Mark {
    /// A mark, to be written.
    pub fn new(installation: &str, epoch: i64, head: chain::Head, clock: i64) -> Mark {
        Mark {
            installation: installation.to_owned(),
            epoch,
            journal_from: (epoch, head.seq),
            seq: head.seq,
            head: head.head,
            clock,
            journal: String::new(),
            mac: String::new(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Mark { epoch, seq, head, clock, journal_from: (from_epoch, from_seq), journal, .. } = self;
        format!("{epoch}\n{seq}\n{head}\n{clock}\n{from_epoch}\n{from_seq}\n{journal}").into_bytes()
    }

    /// Reads the mark of a state directory.
    ///
    /// # Errors
    /// [`Code::Damaged`] where it is not one that Keyward wrote for this installation.
    pub fn read(dir: &Path, keyring: &Keyring) -> Result<Option<Mark>> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(&path, &format!("cannot be read: {error}"))),
        };
        let mark: Mark = serde_json::from_str(&text).map_err(|_| {
            refused(&path, "is not one that Keyward wrote, or was damaged; put it back from where it is kept")
        })?;
        if mark.installation != keyring.installation() {
            return Err(refused(
                &path,
                "belongs to another installation; point KEYWARD_STATE_DIR at this one's own directory",
            ));
        }
        keyring
            .verify_audit_mac(MARKS, &mark.bytes(), &mark.mac)
            .map_err(|_| refused(&path, "was changed outside Keyward; put it back from where it is kept"))?;
        Ok(Some(mark))
    }

    /// Writes the mark whole or not at all, and makes it durable.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`].
    pub fn write(mut self, dir: &Path, keyring: &Keyring) -> Result<()> {
        self.mac = keyring.audit_mac(MARKS, &self.bytes());
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(serde_json::to_string(&self)?.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(dir.join(FILE)).map_err(|error| error.error)?;
            fs::File::open(dir)?.sync_all()
        };
        write().map_err(|error: io::Error| {
            let path = dir.join(FILE);
            Error::new(
                Code::StorageUnavailable,
                format!("the rollback mark {} cannot be written: {error}", path.display()),
            )
        })
    }
}

fn refused(path: &Path, why: &str) -> Error {
    Error::new(
        Code::Damaged,
        format!(
            "the rollback mark {} {why} (to go without what it knows, remove it: a new one is made, and an earlier state \
             of the database is not noticed this once)",
            path.display()
        ),
    )
}

/// What a database is, held against its mark.
pub enum Verdict {
    /// As far as the mark, or further.
    Good(Mark),
    /// There is no mark.
    Unmarked,
    /// It went back: what the mark knows of is not in it. Says what happened and what to do.
    Behind(Mark, String),
}

/// Holds the database against its mark.
///
/// # Errors
/// A mark or an epoch that was changed outside Keyward; a storage failure.
pub async fn examine(core: &Core) -> Result<Verdict> {
    let mut db = core.store.read().await?;
    let (epoch, head) = (store::restore::epoch(&mut db).await?, chain::head(&mut db).await?);
    let keyring = &core.store.keyring();
    let Some(mark) = Mark::read(&core.state_dir, keyring)? else { return Ok(Verdict::Unmarked) };
    if epoch.epoch > mark.epoch {
        tracing::warn!(epoch = epoch.epoch, mark = mark.epoch, "a restored database was accepted meanwhile");
        let newer = Mark::new(&epoch.id, epoch.epoch, head, mark.clock);
        return Ok(Verdict::Good(Mark { journal: mark.journal, ..newer }));
    }
    let why = if epoch.epoch < mark.epoch {
        Some(format!("is of epoch {}, and epoch {} has begun since", epoch.epoch, mark.epoch))
    } else if head.seq < mark.seq {
        Some(format!("ends at event {}, and had come to event {}", head.seq, mark.seq))
    } else if mark.seq > 0 && chain::mac_at(&mut db, mark.seq).await?.as_deref() != Some(mark.head.as_str()) {
        Some(format!("has another event {} than before", mark.seq))
    } else {
        None
    };
    Ok(match why {
        None => Verdict::Good(mark),
        Some(why) => {
            let path = core.state_dir.join(FILE);
            let text = format!(
                "the database went back to an earlier state: it {why} (told by the rollback mark {}); put back the newest \
                 copy of it, or, if this state is meant, run: keyward restore accept",
                path.display()
            );
            Verdict::Behind(mark, text)
        }
    })
}

/// What the process knows of its mark.
#[derive(Debug, Default)]
pub struct Keeper(pub(super) tokio::sync::Mutex<Option<Mark>>);

/// Holds the database against its mark, and takes the mark up. Where there is none, makes one: of an installation that
/// was used before, that is an audit event, since nobody can tell any more whether it went back.
///
/// # Errors
/// A database that went back, with what to do; as [`examine`].
pub async fn take_up(core: &Core) -> Result<()> {
    let mark = match examine(core).await? {
        Verdict::Good(mark) => mark,
        Verdict::Behind(_, why) => return Err(Error::new(Code::Damaged, why)),
        Verdict::Unmarked => make(core).await?,
    };
    let wall = core.clock.wall_ms();
    if mark.clock > wall + CLOCK_TOLERANCE_MS {
        tracing::warn!(
            behind_seconds = (mark.clock - wall) / 1000,
            "the system's clock is behind the latest time Keyward has seen, which goes on to decide what has expired; \
             set the clock, or, if it had run ahead before, run: keyward restore clock"
        );
    }
    core.clock.raise_to(mark.clock);
    *core.mark.0.lock().await = Some(mark);
    Ok(())
}

/// How far the clock may be behind before it is told.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

async fn make(core: &Core) -> Result<Mark> {
    let mut db = core.store.read().await?;
    let (epoch, head) = (store::restore::epoch(&mut db).await?, chain::head(&mut db).await?);
    drop(db);
    if head.seq > 0 {
        let path = core.state_dir.join(FILE);
        tracing::warn!(mark = %path.display(), "no rollback mark was there: a new one is made, and whether the database \
            went back before cannot be told");
        let mut tx = core.store.write().await?;
        let target = ChangeTarget { kind: "rollback_mark", id: &epoch.id, name: FILE };
        let actor = Actor::command("serve");
        record(&mut tx, &actor, core.clock.now_ms(), "rollback_mark.create", target, Changes::default()).await?;
        tx.commit().await?;
    }
    Ok(Mark::new(&epoch.id, epoch.epoch, head, 0))
}

/// Whether a state directory has a mark, before there is an installation: it is another one's, or this one's, lost.
pub fn find(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(FILE)).filter(|path| path.exists())
}
