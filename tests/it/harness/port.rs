//! A port of one's own: below the ephemeral range, claimed by a file lock, so that tests in parallel processes,
//! and a restart on the same port, never meet.

use std::fs::File;
use std::net::TcpListener;

const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// A port that nobody else in these tests has while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: File,
}

impl Port {
    /// Claims one.
    pub fn claim() -> Self {
        let folder = std::env::temp_dir().join("keyward-it-ports");
        std::fs::create_dir_all(&folder).unwrap();
        let span = u32::from(RANGE.end - RANGE.start);
        let first = std::process::id().wrapping_mul(7919) % span;
        for step in 0..span {
            let number = RANGE.start + u16::try_from((first + step) % span).unwrap();
            let claim = File::create(folder.join(number.to_string())).unwrap();
            if claim.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _claim: claim };
            }
        }
        panic!("no free port in {RANGE:?}");
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Where a server on it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    /// The URL of a server on it; nobody answers there until one is started.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}
