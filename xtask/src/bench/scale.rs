//! `cargo xtask bench --scale`: few keys and many of them, on either database: start, memory, a call, pages.

use std::path::Path;

use super::median;
use super::sites::{self, Holding, Keyward};
use super::wrk::{Load, Measured};
use crate::install;
use crate::postgres::Cluster;

/// What many keys are held against.
const FEW: Holding = Holding { agent_keys: 1_000, general_keys: 10 };
/// A hundredth of the agent keys.
const GENERAL_KEYS_OF: usize = 100;
/// As a production server has them, and not as the tests do, which keep nothing.
const SETTINGS: &str = "fsync = on\nfull_page_writes = on\nautovacuum = on\nshared_buffers = 256MB\n";

/// What is looked at: with which words of its own, and at which path of the management API.
const PAGES: [(&str, &str); 6] = [
    ("page of agent keys", "/api/v1/agent-keys?limit=50"),
    ("the same by last use", "/api/v1/agent-keys?limit=50&sort=-last_used_at"),
    ("search that finds one", "/api/v1/agent-keys?search=agent%20777&limit=50"),
    ("search that finds a hundredth", "/api/v1/agent-keys?search=gent%2099&limit=50"),
    ("search that finds all", "/api/v1/agent-keys?search=agent&limit=50"),
    ("page of general keys", "/api/v1/general-keys?limit=50"),
];

/// How many keys, and where.
pub struct Scale {
    /// Agent keys; general keys are a hundredth of them.
    pub agent_keys: usize,
    /// On PostgreSQL as well.
    pub on_postgres: bool,
}

/// What one Keyward showed.
struct Shown {
    started_seconds: f64,
    idle_megabytes: u64,
    calls: Vec<Measured>,
    megabytes: u64,
    /// p50 and p99 of each page, in milliseconds.
    pages: Vec<(f64, f64)>,
}

/// Seeds, measures, prints a table for each database.
pub fn run(folder: &Path, scale: Scale, seconds: u32, rounds: u32) -> Result<(), String> {
    let many = Holding { agent_keys: scale.agent_keys, general_keys: scale.agent_keys.div_ceil(GENERAL_KEYS_OF) };
    let upstream = sites::upstream(folder)?;
    let begun = std::time::Instant::now();
    let few = Keyward::start_with(&folder.join("few"), upstream.port, FEW)?.restarted()?;
    let lots = Keyward::start_with(&folder.join("many"), upstream.port, many)?.restarted()?;
    println!(
        "{} agent keys and {} general keys made in {:.0} s",
        many.agent_keys,
        many.general_keys,
        begun.elapsed().as_secs_f64()
    );
    table(folder, "SQLite", [(FEW, &few), (many, &lots)], seconds, rounds)?;
    if !scale.on_postgres {
        return Ok(());
    }
    install::debian(&["postgresql"])?;
    let cluster = Cluster::private(SETTINGS)?;
    let moved = |keyward: Keyward, name: &str| {
        cluster.create(name)?;
        let (keyward, took) = keyward.moved_to(&cluster.url(name))?;
        println!("\n{name} moved to PostgreSQL in {:.1} s", took.as_secs_f64());
        // What autovacuum would do within a minute.
        cluster.sql(name, "VACUUM ANALYZE")?;
        keyward.restarted()
    };
    let (few, lots) = (moved(few, "few")?, moved(lots, "many")?);
    table(folder, "PostgreSQL", [(FEW, &few), (many, &lots)], seconds, rounds)
}

fn table(
    folder: &Path,
    database: &str,
    sites: [(Holding, &Keyward); 2],
    seconds: u32,
    rounds: u32,
) -> Result<(), String> {
    let mut shown = Vec::new();
    let mut loads = Vec::new();
    for (number, (_, keyward)) in sites.into_iter().enumerate() {
        let idle_megabytes = keyward.site().process.megabytes();
        let pages = PAGES.iter().map(|(_, path)| keyward.page_ms(path)).collect::<Result<_, _>>()?;
        let started_seconds = keyward.started_in().as_secs_f64();
        shown.push(Shown { started_seconds, idle_megabytes, calls: Vec::new(), megabytes: 0, pages });
        loads.push(Load::chat_by(&folder.join(format!("{number}.lua")), keyward.secrets(), seconds)?);
    }
    // In turn, so that what disturbs the machine disturbs both.
    for _ in 0..rounds {
        for (at, (_, keyward)) in sites.into_iter().enumerate() {
            shown[at].calls.push(loads[at].drive(keyward.site(), 32)?);
        }
    }
    for (shown, (_, keyward)) in shown.iter_mut().zip(sites) {
        shown.megabytes = keyward.site().process.megabytes();
    }
    let [few, many] = shown.as_slice() else { return Err(String::from("two Keywards are compared")) };
    println!("\n## {database}: {rounds} rounds of {seconds} s, 32 connections, keys spread over all; medians\n");
    println!(
        "| figure | {} agent keys | {} agent keys | ÷ |\n| --- | --- | --- | --- |",
        sites[0].0.agent_keys, sites[1].0.agent_keys
    );
    let row = |name: &str, unit: &str, figure: &dyn Fn(&Shown) -> f64| {
        let (a, b) = (figure(few), figure(many));
        println!("| {name}, {unit} | {a:.1} | {b:.1} | {:.2} |", b / a);
    };
    row("start until ready", "s", &|shown| shown.started_seconds);
    row("memory after the start", "MB", &|shown| shown.idle_megabytes as f64);
    row("memory after the calls", "MB", &|shown| shown.megabytes as f64);
    row("CPU per call", "µs", &|shown| median(&shown.calls, Measured::cpu_micros));
    row("calls a second", "1/s", &|shown| median(&shown.calls, |calls| calls.per_second));
    for (at, (name, _)) in PAGES.iter().enumerate() {
        row(&format!("{name}, p50"), "ms", &|shown| shown.pages[at].0);
        row(&format!("{name}, p99"), "ms", &|shown| shown.pages[at].1);
    }
    Ok(())
}
