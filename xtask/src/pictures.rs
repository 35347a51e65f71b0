//! `cargo xtask pictures`: the console as it looks, from the real server in a real browser.

use crate::{install, shell};

/// Writes the README's pictures to `docs/pictures`, or every page's to `folder`.
pub fn run(folder: Option<&str>) -> Result<(), String> {
    install::debian(&["chromium"])?;
    install::browser_clients()?;
    shell::step("cargo", &["build", "--bin", "keyward"])?;
    let script = ["tests/browser/pictures.mjs"];
    shell::step("node", &[script.as_slice(), folder.as_slice()].concat())
}
