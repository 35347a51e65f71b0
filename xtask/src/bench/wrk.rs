//! Load by wrk, with one thread.

use std::fs;
use std::path::{Path, PathBuf};

use super::sites::Site;
use crate::shell;

/// What wrk sends.
pub struct Load {
    script: PathBuf,
    seconds: u32,
}

/// One run.
pub struct Measured {
    /// Calls answered.
    pub calls: u64,
    /// A second.
    pub per_second: f64,
    /// Half of the calls were quicker.
    pub p50_ms: f64,
    /// One in a hundred was slower.
    pub p99_ms: f64,
    cpu_seconds: f64,
}

impl Measured {
    /// The proxy's user and system time for one call.
    pub fn cpu_micros(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.calls as f64
    }
}

/// A chat call of 230 bytes.
pub fn chat_body() -> String {
    let body = |padding: usize| {
        format!(
            "{{\"model\":\"small\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"}},\
             {{\"role\":\"user\",\"content\":\"{}\"}}],\"temperature\":0.7}}",
            "x".repeat(padding)
        )
    };
    body(230 - body(0).len())
}

impl Load {
    /// Chat calls.
    pub fn chat(folder: &Path, secret: &str, seconds: u32) -> Result<Self, String> {
        Self::chat_as(folder.join("chat.lua"), secret, seconds)
    }

    /// The same, by a script of this name.
    pub fn chat_as(script_path: PathBuf, secret: &str, seconds: u32) -> Result<Self, String> {
        let script = format!(
            "wrk.method = 'POST'\nwrk.path = '/v1/chat/completions'\nwrk.body = '{}'\n\
             wrk.headers['Content-Type'] = 'application/json'\nwrk.headers['Authorization'] = 'Bearer {secret}'\n",
            chat_body()
        );
        Self::with(script_path, &script, seconds)
    }

    /// Chat calls with one key after the other.
    pub fn chat_by(path: &Path, secrets: &[String], seconds: u32) -> Result<Self, String> {
        let list: Vec<_> = secrets.iter().map(|secret| format!("'Bearer {secret}'")).collect();
        let script = format!(
            "local keys = {{ {} }}\nlocal at = 0\nlocal body = '{}'\n\
             function request()\n at = at % #keys + 1\n return wrk.format('POST', '/v1/chat/completions', \
             {{ ['Content-Type'] = 'application/json', ['Authorization'] = keys[at] }}, body)\nend\n",
            list.join(", "),
            chat_body()
        );
        Self::with(path.to_owned(), &script, seconds)
    }

    /// Questions whether a key is good.
    pub fn check(folder: &Path, secret: &str, seconds: u32) -> Result<Self, String> {
        let script = format!("wrk.path = '/auth/verify'\nwrk.headers['Authorization'] = 'Bearer {secret}'\n");
        Self::with(folder.join("check.lua"), &script, seconds)
    }

    fn with(path: PathBuf, script: &str, seconds: u32) -> Result<Self, String> {
        fs::write(&path, script).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { script: path, seconds })
    }

    /// One run against one site.
    pub fn drive(&self, site: &Site, connections: u32) -> Result<Measured, String> {
        let before = site.process.cpu_seconds();
        let script = self.script.to_string_lossy();
        let printed = shell::output(
            "wrk",
            &[
                "-t1",
                &format!("-c{connections}"),
                &format!("-d{}s", self.seconds),
                "--latency",
                "-s",
                &script,
                &format!("http://127.0.0.1:{}/", site.port),
            ],
        )?;
        let cpu_seconds = site.process.cpu_seconds() - before;
        if printed.contains("Non-2xx") || printed.contains("Socket errors") {
            return Err(format!("{} did not answer every call:\n{printed}", site.name));
        }
        read(&printed, cpu_seconds).ok_or(format!("wrk printed something else:\n{printed}"))
    }
}

fn read(printed: &str, cpu_seconds: f64) -> Option<Measured> {
    let line = |mark: &str| printed.lines().map(str::trim).find(|line| line.contains(mark));
    let after = |mark: &str| printed.lines().find_map(|line| line.trim().strip_prefix(mark)).map(str::trim);
    Some(Measured {
        calls: line(" requests in ")?.split(' ').next()?.parse().ok()?,
        per_second: after("Requests/sec:")?.parse().ok()?,
        p50_ms: milliseconds(after("50%")?)?,
        p99_ms: milliseconds(after("99%")?)?,
        cpu_seconds,
    })
}

/// wrk's `87.00us`, `1.20ms`, `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = match text {
        _ if text.ends_with("us") => (text.strip_suffix("us")?, 0.001),
        _ if text.ends_with("ms") => (text.strip_suffix("ms")?, 1.0),
        _ => (text.strip_suffix('s')?, 1000.0),
    };
    Some(number.parse::<f64>().ok()? * factor)
}
