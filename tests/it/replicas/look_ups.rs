//! What many callers bring at once is looked up once.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Alone;
use crate::harness::{in_time, until, well_formed};

const CALLERS: usize = 50;

/// A figure of `/metrics`.
async fn figure(alone: &Alone, name: &str) -> f64 {
    let api = alone.keyward.api();
    let text = api.send(api.outside(Method::GET, "/metrics")).await.expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("keyward_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// How many look-ups it takes until all callers have their answer, where they come while nobody can read the keys.
async fn look_ups_of(alone: &Alone, secret: &str, status: &str) -> f64 {
    let before = figure(alone, "agent_key_look_ups").await;
    let mut database = alone.keyward.database().await;
    database.execute("BEGIN; LOCK TABLE agent_keys, agent_secrets IN ACCESS EXCLUSIVE MODE").await;
    let address = alone.keyward.url().strip_prefix("http://").unwrap().to_owned();
    let request = format!("GET /auth/verify HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {secret}\r\n\r\n");
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let mut caller = tokio::net::TcpStream::connect(&address).await.unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        callers.push(caller);
    }
    until("a look-up under way", async || figure(alone, "agent_key_look_ups").await > before).await;
    database.release().await;
    for mut caller in callers {
        let mut head = [0; 12];
        in_time("an answer", caller.read_exact(&mut head)).await.unwrap();
        assert_eq!(std::str::from_utf8(&head).unwrap(), format!("HTTP/1.1 {status}"));
    }
    figure(alone, "agent_key_look_ups").await - before
}

#[tokio::test]
async fn a_good_key_that_many_bring_at_once_is_looked_up_once_and_the_hit_ratio_tells() {
    let alone = Alone::start("").await;
    let key = alone.keyward.api().agent_key("never used").await;
    assert_eq!(look_ups_of(&alone, key["secret"].as_str().unwrap(), "200").await, 1.0);
    // With the one call before, by another key.
    let (calls, ratio) = (CALLERS as f64 + 1.0, figure(&alone, "agent_key_cache_hit_ratio").await);
    assert!((ratio - (1.0 - 2.0 / calls)).abs() < 1e-9, "{ratio}");
}

#[tokio::test]
async fn an_unknown_key_that_many_bring_at_once_is_looked_up_a_few_times() {
    let alone = Alone::start("").await;
    // By the first of them, once more for those who came when that had begun, and for whoever comes later still.
    assert!(look_ups_of(&alone, &well_formed("kw_", 'u'), "401").await <= 10.0);
}
