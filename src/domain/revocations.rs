//! The journal of revocations: what was deleted or disabled, line by line in a file beside the rollback mark, so that a
//! restored database does not bring it back. Each line's MAC covers the one before it.

use std::{fs, io, io::Write as _, path::Path};

use serde::{Deserialize, Serialize};
use store::audit::Event;
use vault::Keyring;

use crate::error::{Code, Error, Result};

/// The journal's file in the state directory.
pub const FILE: &str = "revocations.journal";

/// One line: something that was taken away, or given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The epoch of its event.
    pub epoch: i64,
    /// The event's number.
    pub seq: i64,
    /// What was done, for example `agent_key.disable`.
    pub action: String,
    /// To what, by id.
    pub id: String,
    /// Its name at the time.
    pub name: String,
    mac: String,
}

impl Line {
    /// The line for an event; `None` where it took nothing away.
    pub fn of(epoch: i64, event: &Event) -> Option<Line> {
        let (_, verb) = event.action.split_once('.')?;
        let counts = ["delete", "disable", "enable", "revoke", "revoke_leaked", "rotate", "retire"].contains(&verb)
            || (event.action == "general_key.edit" && event.changes.contains("\"value\":\"changed\""));
        counts.then(|| Line {
            epoch,
            seq: event.seq,
            action: event.action.clone(),
            id: event.target_id.clone(),
            name: event.target_name.clone(),
            mac: String::new(),
        })
    }

    fn previous(mac: &str) -> String {
        format!("keyward/revocations/v1 {mac}")
    }

    fn bytes(&self) -> Vec<u8> {
        // JSON, since names may hold anything.
        serde_json::json!([self.epoch, self.seq, self.action, self.id, self.name]).to_string().into_bytes()
    }
}

/// Reads the journal, and proves that no line of it was changed, removed or put in. Half a line at its end, from a
/// power failure, is left out.
///
/// # Errors
/// Why it cannot be relied on.
pub fn read(dir: &Path, keyring: &Keyring) -> std::result::Result<Vec<Line>, String> {
    let text = match fs::read_to_string(dir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines: Vec<Line> = Vec::new();
    for (number, text) in (1..).zip(whole.lines()) {
        let previous = lines.last().map(|line| line.mac.as_str()).unwrap_or_default();
        let line = serde_json::from_str::<Line>(text)
            .ok()
            .filter(|line| keyring.verify_audit_mac(&Line::previous(previous), &line.bytes(), &line.mac).is_ok());
        lines.push(line.ok_or_else(|| format!("was changed outside Keyward at line {number}"))?);
    }
    Ok(lines)
}

/// Whether the journal holds the line with this MAC; before the first one, there is none to hold.
pub fn leads_to(lines: &[Line], mac: &str) -> bool {
    mac.is_empty() || lines.iter().any(|line| line.mac == mac)
}

/// Adds lines and makes them durable; gives the last one's MAC. A journal that cannot be relied on is set aside, and a
/// new one begun: the second value says so.
///
/// # Errors
/// [`Code::StorageUnavailable`].
pub fn append(dir: &Path, keyring: &Keyring, new: Vec<Line>) -> Result<(String, bool)> {
    let path = dir.join(FILE);
    let failed = |error: io::Error| {
        Error::new(Code::StorageUnavailable, format!("the journal {} cannot be written: {error}", path.display()))
    };
    let (lines, is_new) = match read(dir, keyring) {
        Ok(lines) => (lines, false),
        Err(why) => {
            tracing::error!(journal = %path.display(), %why, "the journal of revocations cannot be relied on; a new one is begun");
            fs::rename(&path, dir.join(format!("{FILE}.refused"))).map_err(failed)?;
            (Vec::new(), true)
        }
    };
    let mut last = lines.last().map(|line| line.mac.clone()).unwrap_or_default();
    let mut text = String::new();
    for mut line in new {
        line.mac = keyring.audit_mac(&Line::previous(&last), &line.bytes());
        text.push_str(&serde_json::to_string(&line).map_err(|error| failed(error.into()))?);
        text.push('\n');
        last = line.mac;
    }
    let write = || {
        let mut file = fs::File::options().create(true).append(true).open(&path)?;
        // Half a line from a power failure would spoil the next one.
        let whole = fs::read(&path)?.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(failed)?;
    Ok((last, is_new))
}
