//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The top of the repository.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask stands in the repository").to_owned()
}

/// A command that runs at the top of the repository.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Runs it, its output shown, and fails where it fails.
pub fn run(mut command: Command) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}

/// The same, announced.
pub fn step(program: &str, arguments: &[&str]) -> Result<(), String> {
    println!("\n$ {program} {}", arguments.join(" "));
    run(command(program, arguments))
}

/// What it prints.
pub fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let done = command(program, arguments).stderr(Stdio::inherit()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() { Ok(printed) } else { Err(format!("{program}: {}\n{printed}", done.status)) }
}

/// Whether it is there and ends well, whatever it prints.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let quiet = command(program, arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
