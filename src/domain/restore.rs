//! A restored database: accepted as it is, with what was revoked since taken away again.

use serde_json::Value;
use store::{Write, chain};

use super::{
    Core,
    actor::Actor,
    audit::{ChangeTarget, Changes, record},
    links,
    mark::{self, Mark, Verdict},
    mark_keeper,
    revocations::{self, Line},
};
use crate::error::{Code, Error, Result};

/// How many agent keys are read at a time.
const BATCH: i64 = 500;
const ACCEPT: &str = "restore.accept";

/// What an acceptance did.
#[derive(Debug)]
pub struct Accepted {
    /// The epoch that begins with it.
    pub epoch: i64,
    /// What was taken away again.
    pub replayed: Vec<String>,
    /// What was done after the copy was made, and has to be done again by hand.
    pub by_hand: Vec<String>,
    /// Why the journal of revocations cannot be relied on; `None` where it can.
    pub unproven: Option<String>,
    /// How many agent keys are disabled until [`confirm`].
    pub held: usize,
}

/// Accepts a database that went back: a new epoch begins. What the journal says was deleted or disabled since is so
/// again, every session ends, and, where the journal cannot be relied on, agent keys are disabled until somebody
/// confirms them, unless `keep_agent_keys`.
///
/// # Errors
/// [`Code::ValidationFailed`] where the database did not go back; a storage failure.
pub async fn accept(core: &Core, keep_agent_keys: bool) -> Result<Accepted> {
    let Verdict::Behind(old, _) = mark::examine(core).await? else {
        return Err(Error::new(
            Code::ValidationFailed,
            "there is nothing to accept: the database is not behind its rollback mark",
        ));
    };
    core.clock.raise_to(old.clock);
    let now = core.clock.now_ms();
    let actor = Actor::command("restore accept");
    let mut db = core.store.read().await?;
    let (epoch, head) = (store::restore::epoch(&mut db).await?, chain::head(&mut db).await?);
    drop(db);
    let read = revocations::read(&core.state_dir, &core.store.keyring());
    let unproven = match &read {
        Err(why) => Some(format!("the journal of revocations {why}")),
        Ok(lines) if !revocations::leads_to(lines, &old.journal) => {
            Some(String::from("the journal of revocations is not whole: lines are missing at its end"))
        }
        Ok(_) if (epoch.epoch, head.seq) < old.journal_from => {
            Some(String::from("the journal of revocations was begun after this copy was made"))
        }
        Ok(_) => None,
    };
    let since = read.unwrap_or_default().into_iter().filter(|line| (line.epoch, line.seq) > (epoch.epoch, head.seq));

    let mut tx = core.store.write().await?;
    let mut done = Accepted { epoch: old.epoch + 1, replayed: Vec::new(), by_hand: Vec::new(), unproven, held: 0 };
    for line in newest_of_each(since.collect()) {
        let what_to_do = if is_of_secret(&line) { "; disabled: enable it, and rotate it with no overlap" } else { "" };
        let said = format!("{} {} ({}){what_to_do}", line.action, line.name, line.id);
        match replay(&mut tx, &actor, &line, now).await? {
            Replay::Done => done.replayed.push(said),
            Replay::ByHand => done.by_hand.push(said),
            Replay::Needless => {}
        }
    }
    store::restore::end_sessions(&mut tx).await?;
    if done.unproven.is_some() && !keep_agent_keys {
        done.held = set_all(&mut tx, 0, now).await?;
    }
    store::restore::set_epoch(&mut tx, done.epoch).await?;
    let target = ChangeTarget { kind: "installation", id: &epoch.id, name: "" };
    let changes = Changes::default()
        .field("epoch", epoch.epoch, done.epoch)
        .field("event", old.seq, head.seq)
        .field("replayed", 0, done.replayed.len())
        .field("held_agent_keys", 0, done.held)
        .field("held_at", 0, if done.held > 0 { now } else { 0 });
    record(&mut tx, &actor, now, ACCEPT, target, changes).await?;
    tx.commit().await?;

    // From where the copy ended, so that what was replayed just now is in the journal as well.
    let journal_from = if done.unproven.is_some() { (done.epoch, head.seq) } else { old.journal_from };
    let next = Mark::new(&epoch.id, done.epoch, head, old.clock);
    *core.mark.0.lock().await = Some(Mark { journal_from, journal: old.journal, ..next });
    mark_keeper::advance(core).await?;
    Ok(done)
}

/// Enables the agent keys again that the newest acceptance disabled; gives their number.
///
/// # Errors
/// [`Code::ValidationFailed`] where there are none; a storage failure.
pub async fn confirm(core: &Core, actor: &Actor) -> Result<usize> {
    let filter = store::audit::EventFilter { action: ACCEPT.to_owned(), limit: 1, ..Default::default() };
    let mut tx = core.store.write().await?;
    let newest = store::audit::list(&mut tx, &filter).await?.into_iter().next().filter(|event| !event.is_damaged);
    let changes: Value = newest.and_then(|event| serde_json::from_str(&event.row.changes).ok()).unwrap_or_default();
    let held_at = changes["held_at"]["after"].as_i64().unwrap_or(0);
    let enabled = if held_at > 0 { set_all(&mut tx, held_at, 0).await? } else { 0 };
    if enabled == 0 {
        return Err(Error::new(
            Code::ValidationFailed,
            "there is nothing to confirm: no agent key is disabled by keyward restore accept",
        ));
    }
    let epoch = store::restore::epoch(&mut tx).await?;
    let target = ChangeTarget { kind: "installation", id: &epoch.id, name: "" };
    let changes = Changes::default().field("held_agent_keys", enabled, 0);
    record(&mut tx, actor, core.clock.now_ms(), "restore.confirm", target, changes).await?;
    tx.commit().await?;
    core.keys.clear();
    Ok(enabled)
}

/// Takes the system's time for the latest that Keyward has seen, after a clock that ran ahead was set right.
///
/// # Errors
/// A database that went back; a storage failure.
pub async fn reset_clock(core: &Core) -> Result<()> {
    let mark = match mark::examine(core).await? {
        Verdict::Good(mark) => mark,
        Verdict::Unmarked => return Ok(()),
        Verdict::Behind(_, why) => return Err(Error::new(Code::Damaged, why)),
    };
    let (before, now) = (mark.clock, core.clock.wall_ms());
    *core.mark.0.lock().await = Some(Mark { clock: now, ..mark });
    let mut tx = core.store.write().await?;
    let epoch = store::restore::epoch(&mut tx).await?;
    let target = ChangeTarget { kind: "installation", id: &epoch.id, name: "" };
    let changes = Changes::default().field("clock_at", super::clock::rfc3339(before), super::clock::rfc3339(now));
    record(&mut tx, &Actor::command("restore clock"), now, "restore.clock", target, changes).await?;
    tx.commit().await?;
    mark_keeper::advance(core).await
}

/// The last that was done to each thing, in the order it was done; what was done to its secrets counts apart, since an
/// enabled key's old secret stays retired.
fn newest_of_each(lines: Vec<Line>) -> Vec<Line> {
    let is_later = |line: &Line, later: &Line| later.id == line.id && matter_of(later) == matter_of(line);
    let is_last = |(at, line): (usize, &Line)| !lines[at + 1..].iter().any(|later| is_later(line, later));
    let last: Vec<bool> = lines.iter().enumerate().map(is_last).collect();
    lines.into_iter().zip(last).filter_map(|(line, is_last)| is_last.then_some(line)).collect()
}

/// What a line is about: one of these says nothing of another.
fn matter_of(line: &Line) -> (bool, bool) {
    (is_of_secret(line), line.action.ends_with(".revoke_leaked"))
}

fn is_of_secret(line: &Line) -> bool {
    matches!(line.action.as_str(), "agent_key.rotate" | "agent_key.retire")
}

enum Replay {
    /// It is so again.
    Done,
    /// Nobody but a person can do it again.
    ByHand,
    /// It is so already, or was taken back.
    Needless,
}

async fn replay(tx: &mut Write, actor: &Actor, line: &Line, now: i64) -> Result<Replay> {
    let (kind, verb) = line.action.split_once('.').unwrap_or_default();
    let is_done = match (kind, verb) {
        (_, "enable") => return Ok(Replay::Needless),
        ("agent_key", "delete") => {
            let found = store::agent_keys::get_standing(tx, &line.id).await?.is_some();
            store::agent_keys::delete(tx, &line.id, now).await?;
            store::callers::delete_of_key(tx, &line.id).await?;
            found
        }
        // The copy may know none but a secret that was replaced, so the key waits until somebody rotates it again.
        ("agent_key", "disable" | "rotate" | "retire") => match store::agent_keys::get(tx, &line.id).await? {
            Some(mut key) if key.disabled_at == 0 => {
                (key.disabled_at, key.version) = (now, key.version + 1);
                store::agent_keys::update(tx, &key).await?;
                true
            }
            _ => false,
        },
        ("agent_key", "revoke_leaked") => match store::agent_keys::get(tx, &line.id).await? {
            Some(mut key) if key.leaked_at == 0 => {
                (key.leaked_at, key.expires_at, key.version) = (now, key.expires_at.min(now), key.version + 1);
                store::agent_keys::update(tx, &key).await?;
                true
            }
            _ => false,
        },
        ("general_key", "delete") => {
            let linked_to = links::linked_to(tx, &line.id).await?;
            let found = store::general_keys::get_standing(tx, &line.id).await?.is_some();
            store::links::delete_of_general_key(tx, &line.id).await?;
            for link in linked_to {
                links::tell(tx, &link.kind, &link.id, now).await?;
            }
            store::general_keys::delete(tx, &line.id).await?;
            found
        }
        ("management_token", "delete" | "revoke" | "revoke_leaked") => {
            store::restore::delete_token(tx, &line.id).await?
        }
        ("member", "delete") => store::restore::delete_member(tx, &line.id).await?,
        _ => return Ok(Replay::ByHand),
    };
    if !is_done {
        return Ok(Replay::Needless);
    }
    let target = ChangeTarget { kind, id: &line.id, name: &line.name };
    let action = if is_of_secret(line) { "agent_key.disable" } else { line.action.as_str() };
    record(tx, actor, now, action, target, Changes::default()).await?;
    Ok(Replay::Done)
}

/// Sets when the untouched keys that were disabled at `from` are disabled to `to`; 0 is not at all. Gives their number.
async fn set_all(tx: &mut Write, from: i64, to: i64) -> Result<usize> {
    let (mut after, mut changed) = (String::new(), 0);
    loop {
        let keys = store::agent_keys::disabled_at(tx, from, &after, BATCH).await?;
        let Some(last) = keys.last() else { return Ok(changed) };
        after.clone_from(&last.row.id);
        for mut key in keys.into_iter().filter(|key| !key.is_damaged).map(|key| key.row) {
            (key.disabled_at, key.version) = (to, key.version + 1);
            store::agent_keys::update(tx, &key).await?;
            changed += 1;
        }
    }
}
