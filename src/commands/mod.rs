//! What `keyward` can be told on the command line.

mod audit;
mod bootstrap;
mod check;
mod demo;
mod key_rotation;
mod master_key;
mod migrate_database;
mod recover;
mod restore;
mod scan;
mod serve;

use std::{io::BufRead, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Parser, Subcommand};
use zeroize::Zeroizing;

use crate::{
    assembly,
    config::{Config, Flags, Source},
    domain::{Core, audit_chain::Head, installation},
};

/// Keeps the API keys of an LLM platform: vault, agent keys, gateway, verification.
#[derive(Debug, Parser)]
#[command(name = "keyward", version, about)]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run Keyward (the default)
    Serve {
        /// Try it: throw-away data, a built-in provider, one key of each kind
        #[arg(long)]
        demo: bool,
    },
    /// Make the first member without the console, and a management token where one is named
    Bootstrap {
        /// The first member's e-mail
        #[arg(long)]
        email: String,
        /// Read the password from standard input, one line
        #[arg(long, required = true)]
        password_stdin: bool,
        /// Also make a management token of this name
        #[arg(long)]
        token_name: Option<String>,
    },
    /// Set a new password for a member who lost theirs, remove their second factor, and end their sessions
    Recover {
        /// The member's e-mail
        #[arg(long)]
        email: String,
        /// Read the password from standard input, one line
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Say what is wrong with configuration, master key and database
    Check,
    /// Prove and export the audit log
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Go on from a database that was put back to an earlier state
    Restore {
        #[command(subcommand)]
        command: RestoreCommand,
    },
    /// Move the installation from SQLite to PostgreSQL
    MigrateDatabase {
        /// The database to move to, postgres://…, empty or with a part of an earlier move
        #[arg(long, value_name = "URL", required_unless_present = "to_file")]
        to: Option<String>,
        /// The same from a file, where the URL holds a password
        #[arg(long, value_name = "FILE", conflicts_with = "to")]
        to_file: Option<PathBuf>,
    },
    /// Find agent keys and management tokens in files, logs and git history, offline
    Scan {
        /// Files and directories; - reads standard input
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Work with master keys
    MasterKey {
        #[command(subcommand)]
        command: MasterKeyCommand,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Prove that no event was changed, removed or put in
    Verify {
        /// Prove also that the chain leads through this head, which was kept elsewhere
        #[arg(long, value_name = "SEQ:HEAD")]
        from_head: Option<Head>,
    },
    /// Print the chain's end as SEQ:HEAD, to be kept elsewhere
    Head,
    /// Print every event as a line of JSON, the oldest first
    Export,
}

#[derive(Debug, Subcommand)]
enum RestoreCommand {
    /// Accept it: a new epoch begins, and what was revoked since is revoked again
    Accept {
        /// Leave agent keys enabled also where it cannot be proven which of them were revoked since
        #[arg(long)]
        keep_agent_keys: bool,
    },
    /// Enable the agent keys again that `accept` had to disable
    Confirm,
    /// Take the system's time for right, after a clock that ran ahead was set back
    Clock,
}

#[derive(Debug, Subcommand)]
enum MasterKeyCommand {
    /// Print a fresh master key: 32 random bytes in base64
    New,
    /// Change the master key, beside running servers: begin, put the new key in place, finish
    Rotate(Rotation),
    /// Replace the keys inside (data key, row-MAC key, pepper), beside running servers; killed, it goes on when run again
    RotateData {
        /// Replace every key inside, and list the general keys to be replaced at their providers
        #[arg(long)]
        compromised: bool,
    },
}

/// One step of a change of the master key.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Rotation {
    /// Begin: make the key in this file good beside the present one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["finish", "abort", "to_transit", "rewrap"])]
    new_master_key_file: Option<PathBuf>,
    /// Begin: make the transit key that KEYWARD_TRANSIT_URL leads to good beside the present master key
    #[arg(long, conflicts_with_all = ["finish", "abort", "rewrap"])]
    to_transit: bool,
    /// Wrap the keys with the newest version of the transit key; one step, no restart
    #[arg(long, conflicts_with_all = ["finish", "abort"])]
    rewrap: bool,
    /// Finish: leave only the new one good
    #[arg(long, conflicts_with = "abort")]
    finish: bool,
    /// Leave only the old one good
    #[arg(long)]
    abort: bool,
    /// Others had the old master key: with --finish, replace every key inside as well; list the general keys to be
    /// replaced at their providers
    #[arg(long)]
    compromised: bool,
}

/// Why a command failed; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// A failure, from anything that has a text for people.
pub fn failed(error: impl std::fmt::Display) -> Failure {
    Failure(error.to_string())
}

/// Carries out a command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(why)) => {
            eprintln!("keyward: {why}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    if let Some(Command::MasterKey { command: MasterKeyCommand::New }) = cli.command {
        return master_key::new();
    }
    if let Some(Command::Scan { paths }) = &cli.command {
        return scan::run(paths);
    }
    keep_files_private();
    let source = Source::new(&cli.flags, std::env::vars_os()).map_err(failed)?;
    let demo = matches!(cli.command, Some(Command::Serve { demo: true }));
    start_log(&source, demo)?;
    protect_memory();
    take_all_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(failed)?;
    if demo {
        return runtime.block_on(demo::run(&source));
    }
    let config = Config::load(&source).map_err(failed)?;
    match cli.command {
        None | Some(Command::Serve { .. }) => runtime.block_on(serve::run(config)),
        Some(Command::Bootstrap { email, token_name, .. }) => {
            runtime.block_on(bootstrap::run(config, &email, token_name.as_deref()))
        }
        Some(Command::Recover { email, .. }) => runtime.block_on(recover::run(config, &email)),
        Some(Command::Check) => runtime.block_on(check::run(config)),
        Some(Command::Audit { command }) => runtime.block_on(audit::run(config, command)),
        Some(Command::Restore { command }) => runtime.block_on(restore::run(config, command)),
        Some(Command::MigrateDatabase { to, to_file }) => {
            runtime.block_on(migrate_database::run(config, to, to_file.as_deref()))
        }
        Some(Command::MasterKey { command: MasterKeyCommand::Rotate(rotation) }) => {
            runtime.block_on(master_key::rotate(config, rotation))
        }
        Some(Command::MasterKey { command: MasterKeyCommand::RotateData { compromised } }) => {
            runtime.block_on(key_rotation::run(config, compromised))
        }
        Some(Command::MasterKey { command: MasterKeyCommand::New } | Command::Scan { .. }) => Ok(()),
    }
}

fn start_log(source: &Source, demo: bool) -> Result<(), Failure> {
    let default = if demo { "warn" } else { "info" };
    let filter = source
        .parsed("log", default, |text| {
            text.parse::<tracing_subscriber::EnvFilter>()
                .map_err(|_| "a log filter, for example info or keyward=trace".to_owned())
        })
        .map_err(failed)?;
    let format = source
        .parsed("log_format", "text", |text| match text {
            "text" => Ok(false),
            "json" => Ok(true),
            _ => Err("text or json".to_owned()),
        })
        .map_err(failed)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if format { log.json().try_init() } else { log.with_ansi(false).try_init() };
    started.map_err(failed)
}

/// Whatever this process makes is its owner's alone, also in a directory that others can read.
fn keep_files_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// No core dumps and no attaching debugger, before any secret is in memory.
fn protect_memory() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process cannot be made undumpable");
    }
}

/// As many open files as this process may have: each call takes two, and shells hand out few.
fn take_all_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the number of open files cannot be raised");
    }
}

/// Opens the installation that is there, for commands that make none.
async fn open_existing(config: &Config) -> Result<Arc<Core>, Failure> {
    if installation::is_new(&config.storage).await.map_err(failed)? {
        return Err(Failure(format!(
            "there is no installation in {}; point KEYWARD_DATA_DIR or KEYWARD_DATABASE_URL at the one that is meant",
            config.storage.data_dir.display()
        )));
    }
    assembly::open_core(config, 1).await.map_err(failed)
}

/// The same, for those that change what wraps the keys.
async fn open_to_rewrap(config: &Config) -> Result<Arc<Core>, Failure> {
    if installation::is_new(&config.storage).await.map_err(failed)? {
        return open_existing(config).await;
    }
    assembly::open_core_to_rewrap(config).await.map_err(failed)
}

/// One line from standard input, without its end.
fn read_line() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure(format!("cannot read the password: {error}")))?;
    let kept = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(kept);
    Ok(line)
}
