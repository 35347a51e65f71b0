//! `cargo xtask prove`: proofs too long for every run of the tests.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::bench::sites::Keyward;
use crate::streams::{self, Pace, percentile};
use crate::{install, shell};

/// How far the memory may grow between its first and its last look, as a share: more would not be flat.
const MAX_GROWTH: f64 = 0.05;

/// `streams [COUNT [SECONDS]]`: so many open at once for so long; memory flat, nothing lost, every token counted.
pub fn streams(options: &[&str]) -> Result<(), String> {
    let number = |at: usize, default: u64| match options.get(at) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("not a number: {text}")),
    };
    let (count, seconds) = (number(0, 5_000)?.max(1), number(1, 600)?.max(20));
    install::debian(&install::FOR_BENCH)?;
    shell::step("cargo", &["build", "--release", "--package", "keyward", "--bin", "keyward"])?;
    let folder = shell::root().join("target/prove");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    streams::take_all_files();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(prove_streams(&folder, count, seconds))
}

/// `crash [ROUNDS]`: the stories of `tests/it/crash/` with so many rounds, on both databases.
pub fn crash(options: &[&str]) -> Result<(), String> {
    let rounds: u32 = match options {
        [] => 1_000,
        [text] => text.parse().map_err(|_| format!("not a number: {text}"))?,
        _ => return Err(String::from("usage: cargo xtask prove crash [ROUNDS]")),
    };
    install::debian(&["postgresql"])?;
    for database in ["sqlite", "postgres"] {
        let words = ["test", "--workspace", "--test", "it", "crash::", "--", "--nocapture", "--test-threads", "1"];
        let mut command = shell::command("cargo", &words);
        command.env("KEYWARD_CRASH_ROUNDS", rounds.to_string()).env("KEYWARD_TEST_DATABASE", database);
        println!("\n{rounds} rounds on {database}");
        shell::run(command)?;
    }
    Ok(())
}

async fn prove_streams(folder: &Path, count: u64, seconds: u64) -> Result<(), String> {
    // Each stream lasts the whole time, with an event every five seconds.
    let pace = Pace { events: u32::try_from(seconds / 5).unwrap_or(u32::MAX), every: Duration::from_secs(5) };
    let start = Instant::now();
    let provider = streams::provider(start, pace).await?;
    let keyward = Keyward::start(folder, provider.port)?;
    let idle = keyward.site().process.kilobytes();
    let process = keyward.site().process.clone();
    let ramp = Duration::from_secs(10);
    let looks = thread::spawn(move || {
        let mut looks = Vec::new();
        // From when all are open until shortly before the first ends.
        let from = start + ramp + Duration::from_secs(5);
        while Instant::now() < start + Duration::from_secs(seconds.saturating_sub(2)) {
            thread::sleep(Duration::from_secs(1));
            if Instant::now() >= from {
                looks.push(process.kilobytes());
            }
        }
        looks
    });
    let opened = usize::try_from(count).unwrap_or(usize::MAX);
    let mut seen = streams::callers(start, keyward.site().port, opened, keyward.agent_secret(), ramp, pace).await?;
    let looks = looks.join().map_err(|_| "the look at the memory failed")?;
    let (first, last) = (looks.first().copied().unwrap_or(0), looks.last().copied().unwrap_or(0));
    println!(
        "{count} streams, {} events each over {seconds} s: {} came whole, {} did not",
        pace.events,
        seen.whole,
        seen.broken.len()
    );
    for why in seen.broken.iter().take(5) {
        println!("  {why}");
    }
    println!(
        "delay of an event: p50 {:.2} ms, p99 {:.2} ms; of the first: p50 {:.2} ms, p99 {:.2} ms",
        percentile(&mut seen.further, 0.5),
        percentile(&mut seen.further, 0.99),
        percentile(&mut seen.first, 0.5),
        percentile(&mut seen.first, 0.99)
    );
    let growth = last as f64 / first.max(1) as f64 - 1.0;
    println!(
        "memory: idle {} MB; with all open {} MB, at the end {} MB ({:+.1} %), {:.1} KB a stream",
        idle / 1024,
        first / 1024,
        last / 1024,
        growth * 100.0,
        (first.saturating_sub(idle)) as f64 / count as f64
    );
    let told = provider.tokens.load(std::sync::atomic::Ordering::Relaxed);
    let counted = keyward.counted()?;
    println!(
        "usage: {} calls and {} output tokens counted; the provider told {told}",
        counted.calls, counted.output_tokens
    );
    if seen.whole != count {
        return Err(String::from("some streams did not come whole"));
    }
    if counted.calls != count || counted.output_tokens != told {
        return Err(String::from("the usage counted is not what passed"));
    }
    if growth > MAX_GROWTH {
        return Err(String::from("the memory is not flat"));
    }
    Ok(())
}
