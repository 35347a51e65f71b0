//! What agent keys take of their limits a minute, where that is counted in a Redis instead of in the database: many servers
//! and many limited keys would write the database every few seconds otherwise.
//!
//! It is taken as from a key's row ([`super::taken::Taken`]): in parts, in slots of five seconds, each of which counts until a
//! minute after its end. But a slot is one server's, and until when it counts is told by the clock of the Redis alone: a
//! server says how long that is from now, by its own steady clock, at which it lets go of what it has not used of the slot.
//! What is sent arrives later than now, so that a slot never counts too short, however the clocks of the servers differ.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use redis::{Cmd, Pipeline, RedisError, RedisResult, Script};

use super::{
    clock::Clock,
    quota::{Measure, Quota, Span},
    redis_link::RedisLink,
    spending_bank::{Ask, Part},
    taken::Grant,
};
use crate::error::{Code, Error, Result};

/// Carried out by the Redis, below the line that says what time it is.
const SCRIPT: &str = include_str!("minutes.lua");
/// That line.
const CLOCK: &str = "local time = redis.call('TIME')\nlocal now = time[1] * 1000 + math.floor(time[2] / 1000)\n";
/// How often it is told that the Redis cannot be asked, in milliseconds.
const TELL_EVERY_MS: i64 = 10_000;
/// The most that is said to have been used beyond what was taken, or less: a Redis counts exactly to twice as much.
const MOST_OWED: i64 = 1 << 52;

/// What was granted, what is left beside it, and the milliseconds until the oldest of what counts does so no longer.
type Answer = (i64, i64, i64);

/// Minutes, counted in a Redis.
pub struct Minutes {
    link: RedisLink,
    script: Script,
    /// What the names of keys begin with: in braces, so that a cluster has all of them in one place.
    prefix: String,
    /// What the names of this server's slots begin with.
    server: String,
    told_at: AtomicI64,
    is_down: AtomicBool,
}

impl Minutes {
    /// In the Redis of a URL, for an installation, taken by a server whose id no other process has. Connects to nobody yet.
    ///
    /// # Errors
    /// What is wrong with the URL, without repeating it.
    pub fn new(url: &str, installation: &str, server: &str) -> Result<Minutes, String> {
        Ok(Minutes {
            link: RedisLink::new(url)?,
            script: Script::new(&code(CLOCK)),
            prefix: format!("keyward:{{{installation}}}:minute:"),
            server: server.to_owned(),
            told_at: AtomicI64::new(i64::MIN),
            is_down: AtomicBool::new(false),
        })
    }

    /// The address of the Redis, without a password.
    pub fn place(&self) -> String {
        self.link.place()
    }

    /// Asks what is asked of any key, of one that nobody has; writes nothing.
    ///
    /// # Errors
    /// Why the Redis cannot be asked, and what to do.
    pub async fn check(&self) -> Result<(), String> {
        let quota = Quota { measure: Measure::Requests, span: Span::Minute, most: 1 };
        let part = Part { quota, slot: 0, wanted: 0, owed: Vec::new() };
        let ask = |_| self.commands(&[("nobody", &part)], 0, false);
        let answers: RedisResult<Vec<RedisResult<Answer>>> = self.link.send(ask).await;
        match answers.map(|answers| answers.into_iter().find_map(RedisResult::err)) {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(self.advice(&error)),
        }
    }

    /// Takes what is asked, all of it in one pipeline, each part whole or not at all; an answer to each of the asks, with a
    /// grant for each of its parts. What an ask that fails was to take may have been taken all the same.
    pub async fn write(&self, clock: &Clock, asks: &[&Ask]) -> Vec<Result<Vec<Grant>>> {
        let parts: Vec<(&str, &Part)> =
            asks.iter().flat_map(|ask| ask.parts.iter().map(|part| (&*ask.id, part))).collect();
        let commands = |is_again| self.commands(&parts, clock.times().steady, is_again);
        let answers = match self.link.send(commands).await {
            Ok(answers) => answers,
            Err(error) => {
                self.tell(&error, clock);
                return asks.iter().map(|_| Err(unavailable())).collect();
            }
        };
        let now = clock.times().steady;
        match answers.iter().find_map(|answer| answer.as_ref().err()) {
            Some(error) => self.tell(error, clock),
            None if self.is_down.swap(false, Ordering::Relaxed) => {
                tracing::info!(redis = self.place(), "Redis answers again");
            }
            None => {}
        }
        let mut answers = answers.into_iter();
        let grant = |answer: RedisResult<Answer>| match answer {
            Ok((granted, left, lasts)) => Ok(Grant { granted, left, resets_at: now + lasts }),
            Err(_) => Err(unavailable()),
        };
        // All answers of an ask are taken, also where one of them is none.
        asks.iter()
            .map(|ask| {
                let own: Vec<_> = answers.by_ref().take(ask.parts.len()).collect();
                if own.len() < ask.parts.len() {
                    return Err(unavailable());
                }
                own.into_iter().map(grant).collect()
            })
            .collect()
    }

    /// One command for each part. The first has the script itself, so that the Redis knows it; the others name it.
    fn commands(&self, parts: &[(&str, &Part)], now: i64, is_again: bool) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(parts.len());
        for (at, (id, part)) in parts.iter().enumerate() {
            let mut command = match at {
                0 => redis::cmd("EVAL").arg(code(CLOCK)).to_owned(),
                _ => redis::cmd("EVALSHA").arg(self.script.get_hash()).to_owned(),
            };
            command.arg(1).arg(format!("{}{id}:{}", self.prefix, part.quota.name()));
            with_arguments(&mut command, part, &self.server, now, is_again);
            pipeline.add_command(command);
        }
        pipeline
    }

    /// Says why agent keys get 503, and what to do; once in a while.
    fn tell(&self, error: &RedisError, clock: &Clock) {
        self.is_down.store(true, Ordering::Relaxed);
        let now = clock.times().steady;
        let told_at = self.told_at.load(Ordering::Relaxed);
        if now.saturating_sub(told_at) >= TELL_EVERY_MS {
            self.told_at.store(now, Ordering::Relaxed);
            tracing::warn!(redis = self.place(), "agent keys with a limit a minute get 503: {}", self.advice(error));
        }
    }

    fn advice(&self, error: &RedisError) -> String {
        format!(
            "the Redis at {} cannot be asked ({}); see that it runs, lets Keyward in and may be written to, and that \
             KEYWARD_REDIS_URL leads to it. Without that setting, minutes are counted in the database",
            self.place(),
            self.link.words(error)
        )
    }
}

/// The script, with that line above it.
fn code(clock: &str) -> String {
    format!("{clock}{SCRIPT}")
}

/// What the script is told of a part at `now`. Where it may have been told before, it is not told again what is given back.
fn with_arguments(command: &mut Cmd, part: &Part, server: &str, now: i64, is_again: bool) {
    let lasts = |slot: i64| part.quota.end(slot) - now;
    let name = |slot: i64| format!("{server}:{slot}");
    command
        .arg(part.quota.most)
        .arg(part.wanted)
        .arg(name(part.slot))
        .arg(lasts(part.slot).max(1))
        .arg(part.quota.end(0));
    for (slot, by) in part.owed.iter().filter(|(_, by)| *by > 0 || !is_again) {
        command.arg(name(*slot)).arg(lasts(*slot)).arg((*by).clamp(-MOST_OWED, MOST_OWED));
    }
}

fn unavailable() -> Error {
    let detail = "what the agent key has used in this minute cannot be told at the moment; try again";
    Error::new(Code::StorageUnavailable, detail)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        process::{Child, Command, Stdio},
        time::Duration,
    };

    use tempfile::TempDir;

    use super::*;
    use crate::domain::{quota::Times, taken::Taken};

    /// What stands above the script instead of the clock: it is told what time it is.
    const TOLD: &str = "local now = tonumber(table.remove(ARGV))\n";

    /// A Redis of one's own; killed when dropped.
    struct Redis {
        process: Child,
        link: RedisLink,
        script: String,
        _folder: TempDir,
    }

    impl Redis {
        async fn start() -> Redis {
            let folder = TempDir::new().expect("a folder");
            let socket = folder.path().join("s");
            let process = Command::new("redis-server")
                .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
                .arg(&socket)
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .spawn()
                .expect("Debian's redis-server is installed: `cargo xtask test` does that");
            let link = RedisLink::new(&format!("unix://{}", socket.display())).expect("a place");
            // It expires by another clock than it is told here.
            let script = code(TOLD).replace("'PEXPIRE', KEYS[1], newest - now", "'PERSIST', KEYS[1]");
            assert!(script.contains("PERSIST"), "the script lets go of what nobody uses");
            let redis = Redis { process, link, script, _folder: folder };
            let ping = |_| Pipeline::new().cmd("PING").to_owned();
            for _ in 0..3000 {
                if redis.link.send::<String>(ping).await.is_ok() {
                    return redis;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("the Redis does not start");
        }

        /// What a server asks when it is `steady` by its clock, carried out when it is `now` by that of the Redis.
        async fn take(&self, key: &str, server: &str, part: &Part, steady: i64, now: i64) -> Grant {
            let mut command = redis::cmd("EVAL").arg(&self.script).arg(1).arg(key).to_owned();
            with_arguments(&mut command, part, server, steady, false);
            command.arg(now);
            let commands = |_| Pipeline::new().add_command(command.clone()).to_owned();
            let mut answers = self.link.send::<Answer>(commands).await.expect("answers");
            let (granted, left, lasts) = answers.pop().expect("an answer").expect("a grant");
            Grant { granted, left, resets_at: now + lasts }
        }
    }

    impl Drop for Redis {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// Numbers that look random and are the same each time.
    struct Dice(u64);

    impl Dice {
        /// From 0 to below `sides`.
        fn roll(&mut self, sides: u64) -> i64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((self.0 >> 33) % sides).expect("a small number")
        }
    }

    fn of_tokens(most: i64) -> Quota {
        Quota { measure: Measure::Tokens, span: Span::Minute, most }
    }

    #[tokio::test]
    async fn a_redis_grants_what_a_row_would() {
        let redis = Redis::start().await;
        for seed in 0..40 {
            let mut dice = Dice(seed);
            let quota = of_tokens([1, 7, 100, 100_000][seed as usize % 4]);
            let key = format!("row {seed}");
            let (mut row, mut now) = (Taken::default(), 1_000_000);
            // By server and slot, what it may still give back of it.
            let mut held: HashMap<(i64, i64), i64> = HashMap::new();
            for step in 0..150 {
                now += match dice.roll(20) {
                    0 => 70_000,
                    1..4 => 7_000 + dice.roll(1000),
                    _ => dice.roll(900),
                };
                let (server, slot) = (dice.roll(3), quota.slot(Times { steady: now, wall: 0 }));
                let mut owed = Vec::new();
                for back in 0..dice.roll(3) {
                    let slot = slot - 5_000 * (back * 13 + dice.roll(14)).min(20);
                    let may = held.get(&(server, slot)).copied().unwrap_or(0);
                    let by = if dice.roll(2) == 0 { 1 + dice.roll(30) } else { -dice.roll(1 + may.unsigned_abs()) };
                    // Of what counts no longer, nothing is told twice.
                    *held.entry((server, slot)).or_default() += by;
                    owed.push((slot, by));
                }
                let part = Part { quota, slot, wanted: dice.roll(5), owed };
                for (slot, by) in &part.owed {
                    row.set_right(&quota, *slot, *by);
                }
                let expected = row.take(&quota, slot, part.wanted);
                let grant = redis.take(&key, &format!("s{server}"), &part, now, now).await;
                assert_eq!(grant, expected, "seed {seed}, step {step}: {part:?}");
                *held.entry((server, slot)).or_default() += grant.granted;
            }
        }
    }

    #[tokio::test]
    async fn servers_whose_clocks_differ_use_no_more_in_any_minute_than_they_may() {
        const MOST: i64 = 60;
        let redis = Redis::start().await;
        let quota = of_tokens(MOST);
        let (mut dice, mut now) = (Dice(7), 1_700_000_000_000);
        // How far each server's clock is off, its slot, what it has of that, and what it is to give back.
        let offs = [0, 37_123, -3_600_789];
        let mut servers = offs.map(|off| (off, 0, 0, Vec::<(i64, i64)>::new()));
        let mut used: Vec<i64> = Vec::new();
        for _ in 0..4_000 {
            now += dice.roll(200);
            let at = usize::try_from(dice.roll(3)).expect("a place");
            let (off, slot, granted, owed) = &mut servers[at];
            let slot_of = |now: i64| quota.slot(Times { steady: now + *off, wall: 0 });
            if *slot != slot_of(now) {
                owed.push((*slot, -std::mem::take(granted)));
                *slot = slot_of(now);
            }
            if *granted == 0 {
                let asked_at = now;
                let part = Part { quota, slot: *slot, wanted: 1 + dice.roll(3), owed: std::mem::take(owed) };
                // On the way.
                now += dice.roll(300);
                let grant = redis.take("off", &format!("s{at}"), &part, asked_at + *off, now).await;
                now += dice.roll(300);
                match *slot == slot_of(now) {
                    true => *granted = grant.granted,
                    false => owed.push((*slot, -grant.granted)),
                }
            }
            if *granted > 0 && *slot == slot_of(now) {
                *granted -= 1;
                used.push(now);
            }
        }
        for (place, start) in used.iter().enumerate() {
            let within = used[place..].iter().take_while(|at| **at < start + 60_000).count();
            assert!(i64::try_from(within).expect("a count") <= MOST, "{within} in the minute from {start}");
        }
        let minutes = (now - 1_700_000_000_000) / 60_000;
        let count = i64::try_from(used.len()).expect("a count");
        assert!(count > minutes * MOST / 2, "{count} in {minutes} minutes");
    }

    #[tokio::test]
    async fn a_clock_of_the_redis_that_is_set_back_frees_nothing_and_holds_nothing_for_longer_than_may_be() {
        let redis = Redis::start().await;
        let quota = of_tokens(10);
        let part = |steady: i64| {
            let slot = quota.slot(Times { steady, wall: 0 });
            Part { quota, slot, wanted: 10, owed: Vec::new() }
        };
        assert_eq!(redis.take("back", "s", &part(0), 0, 9_000_000).await.granted, 10);
        assert_eq!(redis.take("back", "s", &part(1), 1, 5_000_000).await.granted, 0);
        let refused = redis.take("back", "s", &part(64_000), 64_000, 5_064_999).await;
        assert_eq!((refused.granted, refused.resets_at), (0, 5_065_000));
        assert_eq!(redis.take("back", "s", &part(65_000), 65_000, 5_065_000).await.granted, 10);
    }

    #[test]
    fn what_is_sent_again_gives_nothing_back_and_no_name_or_error_has_a_secret() {
        let minutes = Minutes::new("redis://:hidden@localhost:1/2", "in_1", "rp_1").expect("a place");
        let part = Part { quota: of_tokens(10), slot: 5_000, wanted: 1, owed: vec![(0, 3), (5_000, -4)] };
        let parts = [("ak_1", &part), ("ak_2", &part)];
        let sent = |is_again| {
            let packed = minutes.commands(&parts, 6_000, is_again).get_packed_pipeline();
            String::from_utf8_lossy(&packed).into_owned()
        };
        assert_eq!(sent(false).matches("\r\n-4\r\n").count(), 2);
        assert!(sent(true).contains("\r\n3\r\n") && !sent(true).contains("\r\n-4\r\n"));
        assert!(sent(true).contains("keyward:{in_1}:minute:ak_2:tokens"), "{}", sent(true));
        assert_eq!(minutes.place(), "localhost:1");
        let error = RedisError::from((redis::ErrorKind::Client, "unknown command AUTH", String::from("hidden")));
        assert!(!minutes.advice(&error).contains("hidden"));
    }
}
