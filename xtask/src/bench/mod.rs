//! `cargo xtask bench`: Keyward beside nginx on this machine, by one method: CPU a call, calls a second, delay.
//!
//! Both stand before the same mock provider and do the same job: know the caller's key, replace it by the provider's,
//! pass the call on over a kept connection. Keyward does it with everything switched on.

pub mod http;
pub mod process;
mod scale;
mod seed;
pub mod sites;
mod streaming;
mod wrk;

use std::fs;
use std::path::Path;

use crate::{install, shell};
use process::Running;
use sites::{Keyward, Site};
use wrk::{Load, Measured};

const CONNECTIONS: [u32; 3] = [1, 32, 512];

/// Builds, starts everything, measures, prints.
pub fn run(options: &[&str]) -> Result<(), String> {
    let (scale, options) = match options {
        ["--keys", keys, rest @ ..] => {
            let keys = keys.parse().map_err(|_| format!("not a number: {keys}"))?;
            (Some(scale::Scale { agent_keys: keys, on_postgres: false }), rest)
        }
        ["--scale", rest @ ..] => (Some(scale::Scale { agent_keys: 1_000_000, on_postgres: true }), rest),
        rest => (None, rest),
    };
    let number = |at: usize, default: u32| match options.get(at) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("not a number: {text}")),
    };
    let (seconds, rounds) = (number(0, 5)?, number(1, 3)?);
    install::debian(&install::FOR_BENCH)?;
    shell::step("cargo", &["build", "--release", "--package", "keyward", "--bin", "keyward"])?;

    let folder = shell::root().join("target/bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let (seconds, rounds) = (seconds.max(1), rounds.max(1));
    if let Some(scale) = scale {
        return scale::run(&folder, scale, seconds, rounds);
    }
    measure(&folder, seconds, rounds)?;
    streaming::run(&folder)
}

fn measure(folder: &Path, seconds: u32, rounds: u32) -> Result<(), String> {
    let upstream = sites::upstream(folder)?;
    let keyward = Keyward::start(folder, upstream.port)?;
    let proxy = sites::nginx_proxy(folder, upstream.port, keyward.agent_secret())?;
    let gate = sites::nginx_gate(folder, keyward.agent_secret())?;
    let chat = Load::chat(folder, keyward.agent_secret(), seconds)?;
    let check = Load::check(folder, keyward.agent_secret(), seconds)?;
    println!(
        "\n{rounds} rounds of {seconds} s each; the median of each figure; idle Keyward: {} MB",
        keyward.site().process.megabytes()
    );

    let mut answered = 0;
    println!("\n## A proxied chat call\n\n{HEADING}");
    for connections in CONNECTIONS {
        let (nginx, ours) = side_by_side(&chat, &proxy, keyward.site(), connections, rounds)?;
        answered += ours.iter().map(|round| round.calls).sum::<u64>();
        print_rows(connections, ["nginx", "Keyward"], &nginx, &ours);
    }
    let limited = Load::chat_as(folder.join("limited.lua"), &keyward.limited_agent_secret()?, seconds)?;
    println!("\n## The same with a key that has limits\n\n{HEADING}");
    for connections in CONNECTIONS {
        let (mut free, mut bound) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            free.push(chat.drive(keyward.site(), connections)?);
            bound.push(limited.drive(keyward.site(), connections)?);
        }
        answered += free.iter().chain(&bound).map(|round| round.calls).sum::<u64>();
        print_rows(connections, ["no limit", "limits"], &free, &bound);
    }
    println!("\n## A verification\n\n{HEADING}");
    for connections in CONNECTIONS {
        let (nginx, ours) = side_by_side(&check, &gate, &keyward.verification(), connections, rounds)?;
        print_rows(connections, ["nginx", "Keyward"], &nginx, &ours);
    }
    println!(
        "\nmemory after it all: nginx {} MB, Keyward {} MB",
        proxy.process.megabytes(),
        keyward.site().process.megabytes()
    );
    // Of the chat calls there were three runs.
    let open_at_the_ends = CONNECTIONS.iter().map(|count| u64::from(*count)).sum::<u64>() * u64::from(rounds) * 3;
    keyward.check_usage(answered, open_at_the_ends)
}

/// Rounds in turn, so that what disturbs the machine disturbs both.
fn side_by_side(
    load: &Load,
    nginx: &Site,
    keyward: &Site,
    connections: u32,
    rounds: u32,
) -> Result<(Vec<Measured>, Vec<Measured>), String> {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(load.drive(nginx, connections)?);
        ours.push(load.drive(keyward, connections)?);
    }
    Ok((theirs, ours))
}

const HEADING: &str = "\
| connections | | CPU per call, µs | calls/s | p50, ms | p99, ms |
| --- | --- | --- | --- | --- | --- |";

fn print_rows(connections: u32, names: [&str; 2], nginx: &[Measured], ours: &[Measured]) {
    let figures: [fn(&Measured) -> f64; 4] = [Measured::cpu_micros, |m| m.per_second, |m| m.p50_ms, |m| m.p99_ms];
    let theirs = figures.map(|figure| median(nginx, figure));
    let mine = figures.map(|figure| median(ours, figure));
    let ratio: Vec<f64> = mine.iter().zip(theirs).map(|(mine, theirs)| mine / theirs).collect();
    for (who, row) in names.into_iter().zip([theirs.as_slice(), mine.as_slice()]) {
        println!("| {connections} | {who} | {:.1} | {:.0} | {:.2} | {:.2} |", row[0], row[1], row[2], row[3]);
    }
    println!(
        "| {connections} | {} ÷ {} | {:.2} | {:.2} | {:.2} | {:.2} |",
        names[1], names[0], ratio[0], ratio[1], ratio[2], ratio[3]
    );
}

fn median(rounds: &[Measured], figure: fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A port that is free now.
pub fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

/// Waits until something listens on the port, or its process has ended.
fn wait_for(port: u16, process: &mut Running, name: &str) -> Result<(), String> {
    for _ in 0..1000 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        if let Some(status) = process.ended() {
            return Err(format!("{name} ended with {status}; see target/bench"));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err(format!("{name} does not listen; see target/bench"))
}
