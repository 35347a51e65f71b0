//! One of several `serve` on a PostgreSQL database: it takes over what the others commit, and renews the lease for
//! which it may decide from memory.
//!
//! A renewal tells how far the sequence has come, and counts once all changes up to there are applied. Notifications
//! only make the next look come sooner. A renewal is a write and may wait for the database's disk: it has a line of its own,
//! so that changes are read meanwhile.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use store::{
    Line,
    changes::{self, Change},
    replicas::{self, Renewal},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Core, agent_secrets, keyring_watch::KeyringWatch, lease};
use crate::error::{Code, Error, Result};

/// How often a lease is renewed, and looked for changes where no notification comes.
const EVERY: Duration = Duration::from_millis(400);
/// How long a statement on the line, or its opening, may take.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// The breath after a notification, in which others may come.
const BREATH: Duration = Duration::from_millis(3);
/// How many changes are read at a time.
const BATCH: i64 = 500;

/// This process among the replicas.
pub struct Replica {
    /// Changes are read over it.
    line: Option<Line>,
    /// Renewals are sent over it.
    renewals: Option<Line>,
    epoch: i64,
    /// The count of what others than Keyward wrote when it was last taken over.
    foreign: i64,
    keys: KeyringWatch,
    wake: Arc<Notify>,
}

impl Replica {
    /// Joins: from now on nothing is decided without a lease. To be called before the catalog is read for the first
    /// time, so that nothing committed meanwhile is missed. `None` on SQLite, where nobody else serves.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`]; [`Code::Conflict`] where a command works on the database that must be alone.
    pub async fn join(core: &Core) -> Result<Option<Replica>> {
        if !core.store.db().is_shared() {
            return Ok(None);
        }
        core.lease.require();
        let mut replica = Replica {
            line: None,
            renewals: None,
            epoch: 0,
            foreign: 0,
            keys: KeyringWatch::default(),
            wake: Arc::default(),
        };
        let line = replica.line(core).await?;
        replicas::join(line, &core.replica_id, core.clock.now_ms()).await?;
        let foreign = line.foreign_writes().await?;
        let head = store::chain::head(line).await?;
        replica.epoch = store::restore::epoch(line).await?.epoch;
        replica.foreign = foreign;
        core.lease.applied.store(head.seq, Ordering::Release);
        Ok(Some(replica))
    }

    /// Renews the lease for the first time.
    ///
    /// # Errors
    /// As [`Replica::join`].
    pub async fn begin(&mut self, core: &Arc<Core>) -> Result<()> {
        let told = ask(Arc::clone(core), self.renewals.take()).await;
        self.take_over(core, told).await
    }

    /// Renews the lease and takes over changes until it is told to stop. Gives back what knows of this server's keys.
    pub async fn run(mut self, core: Arc<Core>, stop: CancellationToken) -> KeyringWatch {
        let (heard, wake) = (Arc::clone(&core), Arc::clone(&self.wake));
        let listening = tokio::spawn(async move { heard.store.db().listen(&wake).await });
        let mut is_failing = false;
        let mut next = tokio::time::Instant::now() + EVERY;
        let mut asked: Option<Pin<Box<dyn Future<Output = Told> + Send>>> = None;
        loop {
            let told = async {
                match asked.as_mut() {
                    Some(asked) => asked.await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => Event::Woken,
                told = told => Event::Told(told),
                () = tokio::time::sleep_until(next) => Event::Due,
            };
            let is_renewal = matches!(event, Event::Told(_));
            let done = match event {
                Event::Woken => {
                    tokio::time::sleep(BREATH).await;
                    self.catch_up(&core).await
                }
                Event::Due => {
                    next = tokio::time::Instant::now() + EVERY;
                    if asked.is_none() {
                        asked = Some(Box::pin(ask(Arc::clone(&core), self.renewals.take())));
                        continue;
                    }
                    // The last one waits still, and a notification may have been lost.
                    self.catch_up(&core).await
                }
                Event::Told(told) => {
                    asked = None;
                    self.take_over(&core, told).await
                }
            };
            match done {
                Ok(()) if is_failing && is_renewal => {
                    tracing::info!("the lease is renewed again");
                    is_failing = false;
                }
                Ok(()) => {}
                Err(error) => {
                    // Whatever is on its way over it is for nobody any more.
                    self.line = None;
                    core.lease.failures.fetch_add(1, Ordering::Relaxed);
                    // Once: it is tried again with every tick.
                    if !is_failing {
                        error.log("");
                        tracing::warn!(remaining_ms = core.lease.remaining_ms(), "the lease cannot be renewed");
                    }
                    is_failing = true;
                }
            }
        }
        listening.abort();
        // So that its connection is back before the pool is closed.
        let _ = listening.await;
        if let Ok(line) = self.line(&core).await
            && let Err(error) = replicas::leave(line, &core.replica_id).await
        {
            tracing::debug!(%error, "this replica could not be taken off the list");
        }
        self.keys
    }

    async fn line(&mut self, core: &Core) -> Result<&mut Line> {
        if self.line.is_none() {
            self.line = Some(open(core).await?);
        }
        self.line.as_mut().ok_or_else(|| Error::new(Code::Internal, "the line to the database was just opened"))
    }

    /// Takes over what a renewal was told: its changes are applied, and then it counts.
    async fn take_over(&mut self, core: &Arc<Core>, told: Told) -> Result<()> {
        let Told { sent, known, answer } = told;
        let (line, renewal, has_joined) = answer?;
        self.renewals = Some(line);
        if has_joined {
            self.keys.note_again();
        }
        core.lease.servers.store(u32::try_from(renewal.replicas.max(1)).unwrap_or(1), Ordering::Relaxed);
        core.lease.behind.store((renewal.seq - known).max(0), Ordering::Relaxed);
        if renewal.epoch != self.epoch || renewal.seq < known {
            core.lease.give_up();
            return Err(Error::new(
                Code::StorageUnavailable,
                format!(
                    "the database under this running process is another one than before (epoch {} and event {}, after \
                     epoch {} and event {known}); restart keyward serve once it is the right one",
                    renewal.epoch, renewal.seq, self.epoch
                ),
            ));
        }
        self.catch_up(core).await?;
        if core.lease.applied.load(Ordering::Acquire) < renewal.seq {
            return Err(Error::new(Code::StorageUnavailable, "changes that were committed cannot be read"));
        }
        core.lease.renewed(sent);
        Ok(())
    }

    /// Applies all changes that there are.
    async fn catch_up(&mut self, core: &Arc<Core>) -> Result<()> {
        // First: what was written may be made with keys that are new.
        self.line(core).await?;
        if let Some(line) = &mut self.line {
            self.keys.look_over(core, line).await?;
        }
        // What others wrote by hand leaves no change record.
        let foreign = self.line(core).await?.foreign_writes().await?;
        if foreign != self.foreign {
            core.reload_everything().await?;
            self.foreign = foreign;
        }
        if !core.catalog().is_read() {
            core.reload().await?;
        }
        loop {
            let known = core.lease.applied.load(Ordering::Acquire);
            let found = changes::after(self.line(core).await?, known, BATCH).await?;
            let Some(last) = found.last() else { return Ok(()) };
            let is_whole = (known + 1..).zip(&found).all(|(seq, change)| seq == change.seq);
            if is_whole {
                apply(core, &found).await?;
            } else {
                tracing::error!(after = known, "change records are missing: everything is read anew");
                core.lease.give_up();
                core.reload_everything().await?;
            }
            core.lease.applied.store(last.seq, Ordering::Release);
        }
    }
}

enum Event {
    Woken,
    Due,
    Told(Told),
}

/// What came of a renewal.
struct Told {
    /// When it was sent, by [`lease::now_ms`].
    sent: i64,
    /// The number up to which changes were applied then.
    known: i64,
    /// The line it went over, what it was told, and whether this replica had to be made known again.
    answer: Result<(Line, Renewal, bool)>,
}

/// Sends a renewal, over a line that is open or a new one.
async fn ask(core: Arc<Core>, line: Option<Line>) -> Told {
    let sent = lease::now_ms();
    let known = core.lease.applied.load(Ordering::Acquire);
    let answer = async {
        let mut line = match line {
            Some(line) => line,
            None => open(&core).await?,
        };
        // Or a set of keys that was replaced would be kept for as long as the line is.
        line.renew(&core.store);
        let now = core.clock.now_ms();
        if let Some(renewal) = replicas::renew(&mut line, &core.replica_id, known, now).await? {
            return Ok((line, renewal, false));
        }
        replicas::join(&mut line, &core.replica_id, now).await?;
        let again = replicas::renew(&mut line, &core.replica_id, known, now).await?;
        let renewal =
            again.ok_or_else(|| Error::new(Code::StorageUnavailable, "the list of replicas keeps no entries"))?;
        Ok((line, renewal, true))
    };
    Told { sent, known, answer: answer.await }
}

async fn open(core: &Core) -> Result<Line> {
    Line::open(&core.store, PATIENCE).await?.ok_or_else(|| {
        Error::new(
            Code::StorageUnavailable,
            "keyward restore works on this database and must be alone on it; start again when it is done",
        )
    })
}

/// Takes over changes: forgets keys, ends their streams, reads the catalog again.
async fn apply(core: &Arc<Core>, found: &[Change]) -> Result<()> {
    let mut touches_catalog = false;
    for change in found {
        match change.kind.as_str() {
            // A new key is in nobody's memory, unless it was used already: then it is there for good.
            "agent_key" if change.action == "agent_key.create" => {}
            "agent_key" if change.action == "agent_key.import" => {
                core.foreign_secrets.expect();
                core.keys.forget(&change.id, false);
            }
            "agent_key" if ["agent_key.rotate", "agent_key.retire"].contains(&change.action.as_str()) => {
                agent_secrets::take_over(core, &change.id).await?;
            }
            "agent_key" => {
                let revoked = ["agent_key.delete", "agent_key.disable", "agent_key.revoke_leaked"]
                    .contains(&change.action.as_str());
                core.keys.forget(&change.id, revoked);
            }
            "general_key" | "provider" | "model" | "policy" => {
                if change.action.starts_with("general_key.") {
                    core.health.forget(&change.id);
                }
                touches_catalog = true;
            }
            // These are read from the database whenever they count.
            "member" | "management_token" | "permission" | "rollback_mark" | "webhook" => {}
            _ => core.reload_everything().await?,
        }
    }
    if touches_catalog { core.reload().await } else { Ok(()) }
}
