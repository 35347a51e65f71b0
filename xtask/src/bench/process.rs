//! A process with all it started: what it costs.

use std::fs;
use std::process::{Child, Command, ExitStatus};

use crate::shell;

/// Running until dropped.
pub struct Running(Child);

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> Result<Self, String> {
        command.spawn().map(Self).map_err(|error| format!("{command:?}: {error}"))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// User and system time of the whole tree so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let ticks: u64 = self.tree().iter().map(|pid| ticks_of(*pid)).sum();
        ticks as f64 / ticks_per_second()
    }

    /// Resident memory of the whole tree.
    pub fn megabytes(&self) -> u64 {
        self.kilobytes().div_ceil(1024)
    }

    /// The same in kilobytes.
    pub fn kilobytes(&self) -> u64 {
        self.tree().iter().map(|pid| resident_kilobytes(*pid)).sum()
    }

    fn tree(&self) -> Vec<u32> {
        let parents = parents();
        let mut tree = vec![self.0.id()];
        let mut at = 0;
        while at < tree.len() {
            let parent = tree[at];
            tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        tree
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM, so that nginx's master takes its workers along.
        shell::succeeds("kill", &["-TERM", &self.0.id().to_string()]);
        let _ = self.0.wait();
    }
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat_of(pid)?.get(1)?.parse().ok()?))).collect()
}

/// The fields of `/proc/PID/stat` from the state on, which follows the name in brackets.
fn stat_of(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn ticks_of(pid: u32) -> u64 {
    let field = |fields: &[String], at: usize| fields.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
    stat_of(pid).map_or(0, |fields| field(&fields, 11) + field(&fields, 12))
}

fn resident_kilobytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn ticks_per_second() -> f64 {
    shell::output("getconf", &["CLK_TCK"]).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(100.0)
}
