//! How Keyward goes, once it is told to.

use std::time::Duration;

use super::{ConfigError, Source};

/// How long a stop takes its time, and for what.
#[derive(Debug, Clone)]
pub struct StopConfig {
    /// How long it goes on answering while `/readyz` says that it leaves, so that load balancers look elsewhere.
    pub drain: Duration,
    /// How long open calls may go on after that.
    pub timeout: Duration,
}

impl StopConfig {
    /// Reads both settings.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(source: &Source) -> Result<StopConfig, ConfigError> {
        let seconds = |text: &str| {
            let seconds = text.parse().ok().filter(|seconds| *seconds <= 86_400);
            seconds.map(Duration::from_secs).ok_or_else(|| String::from("a number of seconds from 0 to 86400"))
        };
        Ok(StopConfig {
            drain: source.parsed("drain_seconds", "0", seconds)?,
            timeout: source.parsed("stop_timeout_seconds", "9", seconds)?,
        })
    }
}
