//! The project's own commands: `cargo xtask test`, `cargo xtask bench`, `cargo xtask pictures`, `cargo xtask prove`.
#![allow(clippy::disallowed_methods, reason = "the bans are for the server; this drives it from outside")]

mod bench;
mod install;
mod pictures;
#[allow(dead_code, reason = "shared with the tests")]
mod postgres;
mod prove;
#[allow(dead_code, reason = "shared with the tests")]
mod proxy;
mod revocation;
mod shell;
mod streams;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test                       installs what the tests need, then formatting, lints and all tests
  test postgres              the stories on PostgreSQL instead of SQLite
  bench [SECONDS [ROUNDS]]   Keyward beside nginx, release build; reports, asserts on no time
  bench --scale [SECONDS [ROUNDS]]
                             1,000 and 1,000,000 agent keys, on SQLite and PostgreSQL
  bench --keys N [SECONDS [ROUNDS]]
                             1,000 and N agent keys, on SQLite
  pictures [FOLDER]          pictures of the console: the README's, or every page's into FOLDER
  prove streams [COUNT [SECONDS]]
                             5,000 streams for ten minutes: memory flat, nothing lost, all counted
  prove revocation [--debug] [COUNT]
                             three servers on PostgreSQL, one cut off: the last call accepted after a revocation
  prove crash [ROUNDS]       killed a thousand times while it is written to, on both databases: what was answered holds";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test"] => test::run(),
        ["test", "postgres"] => test::on_postgres(),
        ["bench", options @ ..] => bench::run(options),
        ["pictures", folder @ ..] if folder.len() < 2 => pictures::run(folder.first().copied()),
        ["prove", "streams", options @ ..] => prove::streams(options),
        ["prove", "revocation", options @ ..] => revocation::run(options),
        ["prove", "crash", options @ ..] => prove::crash(options),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
