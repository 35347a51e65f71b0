//! What `deploy/` tells others to use is true: checked by the tools that would read it, or run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{Port, http, in_repository, in_time};

/// The files under a folder of the repository, in order.
fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_under(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A program of the Python environment that `cargo xtask test` makes.
fn of_clients(program: &str) -> Command {
    Command::new(in_repository("target/clients-venv/bin").join(program))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo xtask test` installs it");
    });
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let text = std::fs::read_to_string(in_repository("deploy/systemd/keyward.service")).unwrap();
    let folder = TempDir::new().unwrap();
    let unit = folder.path().join("keyward.service");
    let (installed, here) = ("ExecStart=/usr/local/bin/keyward ", env!("CARGO_BIN_EXE_keyward"));
    assert_eq!(text.matches(installed).count(), 1);
    std::fs::write(&unit, text.replace(installed, &format!("ExecStart={here} "))).unwrap();
    let said = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    assert_eq!(said, "", "what it does not know it ignores, with a warning");
    // Tenths of systemd's own measure, of which 100 is the worst.
    run(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15"]).arg(&unit));
}

#[test]
fn a_linter_finds_nothing_in_the_dockerfile() {
    let said = run(of_clients("hadolint").arg(in_repository("deploy/container/Dockerfile")));
    assert_eq!(said, "");
}

#[test]
fn kubernetes_schemas_take_every_manifest_and_each_one_is_listed() {
    let root = in_repository("deploy/kubernetes");
    let mut checked = 0;
    for file in files_under(&root) {
        if file.ends_with("kustomization.yaml") {
            continue;
        }
        run(of_clients("kubernetes-validate").args(["--strict", "--quiet"]).arg(&file));
        checked += 1;
        let (folder, name) = (file.parent().unwrap(), file.file_name().unwrap().to_str().unwrap());
        let list = std::fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
        assert!(list.contains(&format!("  - {name}\n")), "{} is not listed beside it", file.display());
    }
    assert!(checked > 0);
    for list in files_under(&root).iter().filter(|file| file.ends_with("kustomization.yaml")) {
        let text = std::fs::read_to_string(list).unwrap();
        let (_, resources) = text.split_once("resources:\n").unwrap();
        for name in resources.lines().map_while(|line| line.strip_prefix("  - ")) {
            assert!(list.parent().unwrap().join(name).exists(), "{} lists {name}", list.display());
        }
    }
}

#[test]
fn each_setting_in_it_is_one_that_the_readme_tells() {
    let readme = std::fs::read_to_string(in_repository("README.md")).unwrap();
    let of_the_script = ["KEYWARD"];
    let mut seen = 0;
    for file in files_under(&in_repository("deploy")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(|line| line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_'));
        for name in words.filter(|word| word.starts_with("KEYWARD") && !of_the_script.contains(word)) {
            assert!(readme.contains(&format!("`{name}`")), "{} has {name}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 10);
}

#[tokio::test]
async fn the_example_of_three_behind_nginx_runs_and_leaves_nothing_behind() {
    let ports = [Port::claim(), Port::claim(), Port::claim(), Port::claim()];
    let number = |port: &Port| port.address().rsplit_once(':').unwrap().1.to_owned();
    let temporary = TempDir::new().unwrap();
    // PostgreSQL's user has to reach what is in it.
    std::fs::set_permissions(temporary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut script = tokio::process::Command::new(in_repository("deploy/nginx/try.sh"))
        .env("KEYWARD", env!("CARGO_BIN_EXE_keyward"))
        .env("PORT", number(&ports[0]))
        .env("PORTS", ports[1..].iter().map(number).collect::<Vec<_>>().join(" "))
        .env("TMPDIR", temporary.path())
        // No setting, but what says which database other stories run on.
        .env_remove("KEYWARD_TEST_DATABASE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains("Ctrl-C ends it") {
        let line = in_time("what the script says", lines.next_line()).await.unwrap().expect("the script goes on");
        said += &(line + "\n");
    }
    assert_eq!(said.matches("a Keyward answers at").count(), 3, "{said}");
    assert!(said.contains(&format!("make the first member: {}/setup#token=", ports[0].url())), "{said}");
    for port in &ports {
        assert_eq!(http().get(format!("{}/readyz", port.url())).send().await.unwrap().status(), 200);
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(script.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = in_time("the script's end", script.wait()).await.unwrap();
    assert_eq!(status.code(), Some(143));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    for port in &ports {
        assert!(tokio::net::TcpStream::connect(port.address()).await.is_err());
    }
}
