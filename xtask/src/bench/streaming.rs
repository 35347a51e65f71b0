//! A thousand open streams: how late their events arrive, and what each takes of memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::process::Running;
use super::sites::{self, Keyward};
use crate::streams::{self, Pace, Seen, percentile};

const STREAMS: usize = 1_000;
const PACE: Pace = Pace { events: 20, every: Duration::from_millis(250) };
const RAMP: Duration = Duration::from_secs(2);

/// Prints the table: the provider alone, nginx before it, Keyward before it.
pub fn run(folder: &Path) -> Result<(), String> {
    streams::take_all_files();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(measure(folder))
}

async fn measure(folder: &Path) -> Result<(), String> {
    let start = Instant::now();
    let provider = streams::provider(start, PACE).await?;
    let keyward = Keyward::start(&folder.join("streaming"), provider.port)?;
    let secret = keyward.agent_secret();
    let proxy = sites::nginx_proxy(&folder.join("streaming"), provider.port, secret)?;
    println!(
        "\n## {STREAMS} open streams, {} events each, one every {} ms (delays include the measuring callers' own)\n\n\
         | | first event p50 / p99, ms | further events p50 / p99, ms | KB a stream |\n| --- | --- | --- | --- |",
        PACE.events,
        PACE.every.as_millis()
    );
    let alone = streams::callers(start, provider.port, STREAMS, secret, RAMP, PACE).await?;
    print("provider alone", alone, None)?;
    let (seen, kilobytes) = with_memory(start, &proxy.process, proxy.port, secret).await?;
    print("nginx", seen, Some(kilobytes))?;
    let (seen, kilobytes) = with_memory(start, &keyward.site().process, keyward.site().port, secret).await?;
    print("Keyward", seen, Some(kilobytes))?;
    let told = STREAMS as u64 * u64::from(PACE.events);
    let counted = keyward.counted()?;
    println!("\nusage: {} calls, {} output tokens counted of {told}", counted.calls, counted.output_tokens);
    if (counted.calls, counted.output_tokens) != (STREAMS as u64, told) {
        return Err(String::from("the usage counted is not what passed"));
    }
    Ok(())
}

/// The streams through one server, and how much more memory it had at most meanwhile, in kilobytes.
async fn with_memory(start: Instant, process: &Arc<Running>, port: u16, secret: &str) -> Result<(Seen, u64), String> {
    let before = process.kilobytes();
    let (most, over) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
    let look = {
        let (process, most, over) = (Arc::clone(process), Arc::clone(&most), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(process.kilobytes(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(250));
            }
        })
    };
    let seen = streams::callers(start, port, STREAMS, secret, RAMP, PACE).await;
    over.store(true, Ordering::Relaxed);
    look.join().map_err(|_| "the look at the memory failed")?;
    Ok((seen?, most.load(Ordering::Relaxed) - before))
}

fn print(name: &str, mut seen: Seen, kilobytes: Option<u64>) -> Result<(), String> {
    if let Some(why) = seen.broken.first() {
        return Err(format!("{name}: {} streams did not come whole: {why}", seen.broken.len()));
    }
    let memory = kilobytes.map_or_else(|| String::from("–"), |kb| format!("{:.1}", kb as f64 / STREAMS as f64));
    let pair = |delays: &mut Vec<Duration>| format!("{:.2} / {:.2}", percentile(delays, 0.5), percentile(delays, 0.99));
    println!("| {name} | {} | {} | {memory} |", pair(&mut seen.first), pair(&mut seen.further));
    Ok(())
}
