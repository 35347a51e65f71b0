//! The management API answers only with what its description says: held against it by Schemathesis, which reads the
//! description, makes requests of all sorts from it, follows what it made, and looks at each answer.

use tokio::process::Command;

use crate::harness::{TestServer, in_repository};

/// How many requests are made up for each operation and each walk.
const EXAMPLES: &str = "10";

#[tokio::test]
async fn every_operation_answers_with_what_the_description_says() {
    let tester = in_repository("target/clients-venv/bin/schemathesis");
    assert!(tester.exists(), "the clients are not installed: run `cargo xtask test`, which installs them");
    let keyward = TestServer::start().await;
    let mut command = Command::new(tester);
    command
        .args(["run", &format!("{}/openapi.json", keyward.url())])
        .args(["--header", &format!("Authorization: Bearer {}", keyward.home().token())])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", EXAMPLES])
        .args(["--generation-deterministic", "--continue-on-failure", "--no-color"])
        // What the schema allows may be refused for its meaning: a name that is taken, a provider that is not there.
        .args(["--exclude-checks", "positive_data_acceptance"])
        // It would call providers on the internet.
        .args(["--exclude-path-regex", "/test$"])
        .current_dir(keyward.home().path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", keyward.home().path())
        .kill_on_drop(true);
    let output = command.output().await.expect("Schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: ")).expect("a count of operations");
    assert!(tested.parse::<u32>().is_ok_and(|tested| tested > 20), "only {tested} operations were tested:\n{said}");
}
