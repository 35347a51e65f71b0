//! What the stories in this crate are told with: a server, a provider, an administrator, an agent.
//!
//! Nothing here knows how Keyward works inside; it knows the contract.

mod agent;
mod answer;
mod api;
mod authenticator;
mod backend;
mod database;
mod guide;
mod home;
mod issuer;
mod mail;
mod nginx;
mod people;
mod port;
#[path = "../../../xtask/src/postgres.rs"]
#[allow(dead_code, reason = "shared with the proofs")]
mod postgres;
mod provider;
#[path = "../../../xtask/src/proxy.rs"]
mod proxy;
mod raw;
mod redis;
mod server;
mod socket;
mod tls;
mod transit;
mod world;

use std::time::{Duration, Instant};

pub use agent::{Agent, EventStream, http};
pub use answer::{Answer, Transcript};
pub use api::Api;
pub use authenticator::{Authenticator, SECOND_FACTOR, recovery_codes_of, sealed_of};
pub use backend::{Cluster, PostgresDatabase, shared_cluster};
pub use database::{Cell, Database};
pub use guide::{Proxied, text_of};
pub use home::{Home, Start};
pub use issuer::{FakeIssuer, Signed, query_of};
pub use mail::MailServer;
pub use nginx::Nginx;
pub use people::{Person, token_of};
pub use port::Port;
pub use provider::{Call, FakeProvider, Reply, Stage};
pub use proxy::Proxy;
pub use raw::exchange;
pub use redis::Redis;
pub use server::TestServer;
pub use socket::{AgentSocket, ProviderSocket};
pub use tls::{Certificate, TlsCaller};
pub use transit::FakeTransit;
pub use world::World;

/// Long enough that only a failure reaches it; nothing is measured against it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `probe` has something to show.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        pause().await;
    }
}

/// `eventually` for a plain condition.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}

/// Fails instead of hanging when something that must happen does not.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}

/// The breath between two looks at a condition; the only sleep in this crate.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// A file that belongs to this repository.
pub fn in_repository(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A key of the right form, checksum included, that no server has minted.
pub fn well_formed(prefix: &str, filler: char) -> String {
    with_checksum(&format!("{prefix}{}", filler.to_string().repeat(43)))
}

/// A key's stem and the checksum that belongs behind it.
pub fn with_checksum(stem: &str) -> String {
    format!("{stem}{}", base62_of_crc(crc32(stem.as_bytes())))
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn base62_of_crc(mut number: u32) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[test]
fn a_well_formed_key_is_the_contract_s_test_vector() {
    assert_eq!(well_formed("kw_", '0'), format!("kw_{}4RAm10", "0".repeat(43)));
}
