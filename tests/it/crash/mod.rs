//! Killed at any moment, while it is written to and called: whatever was answered holds afterwards.
//!
//! Twenty rounds here; `cargo xtask prove crash` runs the same with a thousand.

mod keyward;
mod postgres;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{Agent, Api, FakeProvider, TestServer, World, in_time};

/// Who makes and changes keys at once.
const WRITERS: usize = 4;
/// Who calls models at once.
const CALLERS: usize = 2;
/// A round ends with an answered change: this one at the latest.
const MOST_CHANGES: u64 = 60;
/// Keys of earlier rounds that each round looks at again.
const LOOKED_AT_AGAIN: usize = 20;

/// How many rounds there are, and whether somebody asked for them.
fn rounds() -> (usize, bool) {
    match std::env::var("KEYWARD_CRASH_ROUNDS") {
        Ok(text) => (text.parse().expect("KEYWARD_CRASH_ROUNDS is a number"), true),
        Err(_) => (20, false),
    }
}

fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

/// A secret of an agent key, and whether it is good; `None` where a change of it was never answered.
struct Known {
    secret: String,
    good: Option<bool>,
}

/// What was answered, and what is in doubt.
#[derive(Default)]
struct Ledger {
    secrets: Mutex<Vec<Known>>,
    /// The general key's value as answered, and the one that was sent and not answered.
    value: Mutex<(String, Option<String>)>,
    /// Changes to be answered until the kill.
    left: AtomicI64,
    enough: Notify,
    /// Calls of models that were sent.
    sent: AtomicUsize,
    /// When those that were answered were.
    answered: Mutex<Vec<Instant>>,
    /// The most that the usage has shown.
    shown: AtomicUsize,
    is_over: AtomicBool,
}

impl Ledger {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn note(&self, secret: &Value, good: Option<bool>) -> usize {
        let mut secrets = self.secrets.lock().unwrap();
        secrets.push(Known { secret: secret.as_str().unwrap().to_owned(), good });
        secrets.len() - 1
    }

    /// Sends a change of a secret, which is good afterwards or not. Whether it was answered.
    async fn change(&self, at: usize, request: RequestBuilder, good: bool) -> Option<Value> {
        self.secrets.lock().unwrap()[at].good = None;
        let answer = self.answered(request).await?;
        self.secrets.lock().unwrap()[at].good = Some(good);
        Some(answer)
    }

    /// The answer of a change; `None` where it may have been done or not.
    async fn answered(&self, request: RequestBuilder) -> Option<Value> {
        let response = request.send().await.ok().filter(|response| response.status().is_success())?;
        let text = response.text().await.ok()?;
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Now, with this answer just given and others under way.
            self.enough.notify_one();
        }
        Some(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Makes keys, and changes them, until an answer fails to come.
    async fn write(&self, api: &Api, name: &str) -> Option<()> {
        for number in 0.. {
            if !self.goes_on() {
                break;
            }
            let made = api.request(Method::POST, "/agent-keys").json(&json!({ "name": format!("{name}-{number}") }));
            let key = self.answered(made).await?;
            let at = self.note(&key["secret"], Some(true));
            let path = format!("/agent-keys/{}", key["id"].as_str().unwrap());
            let act = |verb: &str| api.request(Method::POST, &format!("{path}/{verb}"));
            match number % 5 {
                0 => {}
                1 => drop(self.change(at, api.request(Method::DELETE, &path), false).await?),
                2 => drop(self.change(at, act("disable"), false).await?),
                3 => {
                    let rotated = act("rotate").json(&json!({ "overlap_seconds": 0 }));
                    let rotated = self.change(at, rotated, false).await?;
                    self.note(&rotated["secret"], Some(true));
                }
                _ => {
                    self.change(at, act("disable"), false).await?;
                    self.change(at, act("enable"), true).await?;
                }
            }
        }
        Some(())
    }

    /// Replaces the general key's value, again and again.
    async fn replace(&self, api: &Api, path: &str, name: &str) -> Option<()> {
        for number in 0.. {
            if !self.goes_on() {
                break;
            }
            let value = format!("sk-test-value-{name}-{number}-of-the-general-key");
            self.value.lock().unwrap().1 = Some(value.clone());
            self.answered(api.request(Method::PATCH, path).json(&json!({ "value": value }))).await?;
            *self.value.lock().unwrap() = (value, None);
        }
        Some(())
    }

    /// Calls the model, again and again.
    async fn call(&self, agent: &Agent) -> Option<()> {
        while self.goes_on() {
            let body = json!({ "model": World::MODEL, "messages": [] });
            self.sent.fetch_add(1, Ordering::Relaxed);
            let response = agent.request(Method::POST, "/v1/chat/completions").json(&body).send().await.ok()?;
            let response = response.error_for_status().ok()?;
            response.bytes().await.ok()?;
            self.answered.lock().unwrap().push(Instant::now());
        }
        Some(())
    }

    /// Looks at the usage, again and again.
    async fn look(&self, api: &Api) -> Option<()> {
        while self.goes_on() {
            let response = api.request(Method::GET, "/usage?group_by=agent_key").send().await.ok()?;
            let usage: Value = serde_json::from_str(&response.error_for_status().ok()?.text().await.ok()?).ok()?;
            self.shown.fetch_max(requests(&usage), Ordering::Relaxed);
        }
        Some(())
    }

    /// Runs everybody until `kill`, which begins after so many answered changes, is over.
    async fn round<T>(
        self: &Arc<Self>,
        server: &TestServer,
        world: &World,
        name: &str,
        kill: impl Future<Output = T>,
    ) -> T {
        self.is_over.store(false, Ordering::Relaxed);
        self.left.store(1 + i64::try_from(random(MOST_CHANGES)).unwrap(), Ordering::Relaxed);
        let mut everybody = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let (ledger, api, name) = (Arc::clone(self), server.api(), format!("{name}-{writer}"));
            everybody.spawn(async move { ledger.write(&api, &name).await });
        }
        for _ in 0..CALLERS {
            let (ledger, agent) = (Arc::clone(self), world.agent.clone());
            everybody.spawn(async move { ledger.call(&agent).await });
        }
        let (ledger, api, path, own) = (Arc::clone(self), server.api(), world.general_key_path(), name.to_owned());
        everybody.spawn(async move { ledger.replace(&api, &path, &own).await });
        let (ledger, api) = (Arc::clone(self), server.api());
        everybody.spawn(async move { ledger.look(&api).await });
        in_time("answered changes", self.enough.notified()).await;
        let killed = kill.await;
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(done) = everybody.join_next().await {
            done.unwrap();
        }
        killed
    }

    /// Looks whether what was answered holds: the secrets of `since`, and some of those before.
    async fn check(&self, server: &TestServer, world: &World, provider: &FakeProvider, since: usize) {
        let looked_at: Vec<(String, bool)> = {
            let secrets = self.secrets.lock().unwrap();
            let again = (0..LOOKED_AT_AGAIN.min(since)).map(|_| usize::try_from(random(since as u64)).unwrap());
            let again: Vec<usize> = again.collect();
            let these = again.into_iter().chain(since..secrets.len()).map(|at| &secrets[at]);
            these.filter_map(|known| Some((known.secret.clone(), known.good?))).collect()
        };
        for (secret, good) in looked_at {
            let answer = server.agent(&secret).get("/auth/verify").await;
            assert_eq!(answer.status, if good { 200 } else { 401 }, "what was answered does not hold: {answer}");
        }
        // The general key opens, and is what was answered last, or what was sent after that.
        self.sent.fetch_add(1, Ordering::Relaxed);
        server.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
        self.answered.lock().unwrap().push(Instant::now());
        let used = provider.last_call().header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let mut value = self.value.lock().unwrap();
        assert!(used == value.0 || Some(&used) == value.1.as_ref(), "the general key has a value from before");
        *value = (used, None);
    }
}

/// How much of the usage each crash cost.
#[derive(Default)]
struct Losses {
    before: usize,
    most: usize,
    longest: Duration,
}

impl Losses {
    /// What the crash at `killed` cost, of which `counted` calls are left.
    fn note(&mut self, ledger: &Ledger, counted: usize, killed: Instant) {
        let answered = ledger.answered.lock().unwrap();
        assert!(ledger.shown.load(Ordering::Relaxed) <= counted, "usage that was shown is gone");
        assert!(counted <= ledger.sent.load(Ordering::Relaxed), "a call is counted twice");
        let all = answered.len().saturating_sub(counted);
        let lost = all.saturating_sub(self.before);
        if lost > 0 {
            self.most = self.most.max(lost);
            self.longest = self.longest.max(killed.duration_since(answered[answered.len() - lost]));
        }
        self.before = all;
    }
}

/// The calls that the usage holds.
async fn counted(server: &TestServer) -> usize {
    requests(&server.api().get("/usage?group_by=agent_key").await.expect(200).json())
}

fn requests(usage: &Value) -> usize {
    let items = usage["items"].as_array().unwrap();
    usize::try_from(items.iter().map(|item| item["requests"].as_u64().unwrap()).sum::<u64>()).unwrap()
}
