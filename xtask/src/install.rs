//! What the tests and the benchmark need from outside; does nothing, and says nothing, where it is there already.

use std::fs;

use crate::shell;

/// Debian's packages for the tests.
pub const FOR_TESTS: [&str; 10] = [
    "caddy",
    "chromium",
    "curl",
    "faketime",
    "git",
    "nginx-light",
    "postgresql",
    "python3-venv",
    "redis-server",
    "systemd",
];

/// Debian's packages for the benchmark.
pub const FOR_BENCH: [&str; 2] = ["nginx-light", "wrk"];

/// Installs the missing ones of these packages.
pub fn debian(packages: &[&str]) -> Result<(), String> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !shell::succeeds("apt-get", &["--version"]) {
        return Err(format!("not a Debian; install by other means what these packages hold: {list}"));
    }
    println!("installing {list}");
    let root = shell::output("id", &["-u"])?.trim() == "0";
    let apt = |arguments: &[&str]| {
        let mut command = if root { shell::command("apt-get", &[]) } else { shell::command("sudo", &["apt-get"]) };
        command.args(["-qq", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        shell::run(command).map_err(|error| format!("{error}\ninstall them by hand: apt-get install {list}"))
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"], missing.as_slice()].concat())
}

fn is_installed(package: &str) -> bool {
    let state = std::process::Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    state.is_ok_and(|state| state.stdout == b"installed")
}

/// The official clients for Python, in an environment of their own under `target/`.
pub fn python_clients() -> Result<(), String> {
    let folder = shell::root().join("target/clients-venv");
    let wanted = shell::root().join("tests/clients/requirements.txt");
    let wanted_text = fs::read_to_string(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted_text) {
        return Ok(());
    }
    println!("installing the Python clients");
    let venv = folder.to_string_lossy().into_owned();
    shell::run(shell::command("python3", &["-m", "venv", "--clear", &venv]))?;
    let pip = folder.join("bin/pip").to_string_lossy().into_owned();
    let requirements = wanted.to_string_lossy().into_owned();
    shell::run(shell::command(&pip, &["install", "--quiet", "--disable-pip-version-check", "-r", &requirements]))?;
    fs::write(&installed, wanted_text).map_err(|error| format!("{}: {error}", installed.display()))
}

/// The official client for Node.
pub fn node_clients() -> Result<(), String> {
    node_packages("tests/clients", "the client for Node")
}

/// What drives the browser.
pub fn browser_clients() -> Result<(), String> {
    node_packages("tests/browser", "the browser's driver")
}

/// What the lock file in `folder` says, from the npm registry, into the folder itself.
fn node_packages(folder: &str, what: &str) -> Result<(), String> {
    if !shell::succeeds("npm", &["--version"]) {
        debian(&["nodejs", "npm"])?;
    }
    let folder = shell::root().join(folder);
    let lock = folder.join("package-lock.json");
    let wanted = fs::read_to_string(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    let installed = folder.join("node_modules/installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    println!("installing {what}");
    let prefix = folder.to_string_lossy().into_owned();
    shell::run(shell::command("npm", &["ci", "--silent", "--prefix", &prefix]))?;
    fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))
}
