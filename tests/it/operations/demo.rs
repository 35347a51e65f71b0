//! `keyward serve --demo`: the line it prints works as it stands.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Home, in_time};

/// The `curl` command in the output: from the line that starts with it to the empty line after it.
fn curl_command(output: &str) -> Option<String> {
    let from = output.lines().skip_while(|line| !line.starts_with("curl "));
    let command: Vec<&str> = from.take_while(|line| !line.trim().is_empty()).collect();
    let ended = output.lines().skip_while(|line| !line.starts_with("curl ")).any(|line| line.trim().is_empty());
    (ended && !command.is_empty()).then(|| command.join("\n"))
}

#[tokio::test]
async fn prints_a_curl_line_that_answers_streaming_and_not() {
    let keyward = Home::empty().serve().with_arguments(&["--demo"]).start().await;
    let stdout = keyward.home().path().join("stdout.log");
    let command = crate::harness::eventually("a curl line on stdout", async || {
        curl_command(&std::fs::read_to_string(&stdout).unwrap())
    })
    .await;

    let run = async |command: &str| {
        let run = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = in_time("curl", run).await.unwrap();
        assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = run(&command).await;
    let answer: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert!(answer["choices"][0]["message"]["content"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");

    assert!(command.contains("\"model\""), "{command}");
    let streaming = command.replacen("\"model\"", "\"stream\": true, \"model\"", 1);
    let printed = run(&streaming).await;
    assert!(printed.lines().filter(|line| line.starts_with("data: ")).count() > 2, "{printed}");
    assert!(printed.contains("data: [DONE]"), "{printed}");
}

#[tokio::test]
async fn says_how_to_sign_in_and_leaves_the_data_directory_alone() {
    let home = Home::empty_on_sqlite();
    let data = home.data();
    let keyward = home.serve().with_arguments(&["--demo"]).start().await;
    let stdout = keyward.home().path().join("stdout.log");
    crate::harness::until("address and password on stdout", async || {
        let said = std::fs::read_to_string(&stdout).unwrap().to_lowercase();
        said.contains('@') && said.contains("password")
    })
    .await;
    assert!(!data.exists(), "a demo runs on a throw-away directory");
    keyward.stop().await;
}
