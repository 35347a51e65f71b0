//! `cargo xtask test`: everything that must hold before a change lands.

use std::fs;
use std::path::Path;

use crate::{install, shell};

/// Installs, checks, and tests: everything on SQLite, the stories on PostgreSQL as well, the console in a browser. The
/// tests' own closing line comes last.
pub fn run() -> Result<(), String> {
    install::debian(&install::FOR_TESTS)?;
    install::python_clients()?;
    install::node_clients()?;
    install::browser_clients()?;
    shell::step("cargo", &["fmt", "--all", "--check"])?;
    shell::step("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    if has_doc_tests(&shell::root().join("crates")) {
        shell::step("cargo", &["test", "--workspace", "--doc"])?;
    }
    let tested = if shell::succeeds("cargo", &["nextest", "--version"]) {
        shell::step("cargo", &["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        shell::step("cargo", &["test", "--workspace", "--all-targets", "--no-fail-fast"])
    };
    let on_postgres = stories_on_postgres();
    // Also where the others failed, so that one run tells everything. The binary is the one they were run with: a build of
    // its own would compile half of the dependencies again, with fewer of their features.
    let browsed = shell::step("node", &["--test", "tests/browser/"]);
    tested.and(on_postgres).and(browsed)
}

/// `cargo xtask test postgres`: the stories on PostgreSQL; those of `replicas` and `crash::postgres` run on it with the other tests.
pub fn on_postgres() -> Result<(), String> {
    install::debian(&install::FOR_TESTS)?;
    install::python_clients()?;
    install::node_clients()?;
    stories_on_postgres()
}

fn stories_on_postgres() -> Result<(), String> {
    let mut command = if shell::succeeds("cargo", &["nextest", "--version"]) {
        let which = "binary(it) and not test(/^(replicas|crash::postgres|deploy)::/)";
        // The same packages, so that it is the same build.
        shell::command("cargo", &["nextest", "run", "--workspace", "--no-fail-fast", "-E", which])
    } else {
        let words = [
            "test",
            "--package",
            "keyward",
            "--test",
            "it",
            "--no-fail-fast",
            "--",
            "--skip",
            "replicas::",
            "--skip",
            "crash::postgres::",
        ];
        shell::command("cargo", &words)
    };
    command.env("KEYWARD_TEST_DATABASE", "postgres");
    println!("\n$ KEYWARD_TEST_DATABASE=postgres {command:?}");
    shell::run(command)
}

/// Whether any library has an example in its documentation: a run of none would close on `0 passed`.
fn has_doc_tests(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return has_doc_tests(&path);
        }
        let Ok(text) = fs::read_to_string(&path) else { return false };
        let rust = path.extension().is_some_and(|extension| extension == "rs");
        rust && text.lines().map(str::trim_start).any(|line| line.starts_with("/// ```") || line.starts_with("//! ```"))
    })
}
