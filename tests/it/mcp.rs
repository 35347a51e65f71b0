//! The official MCP client for Python, through Keyward to the official server.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::harness::{Port, TestServer, in_repository, in_time};

fn python(script: &str) -> Command {
    let mut command = Command::new(in_repository("target/clients-venv/bin/python"));
    command.arg(in_repository("tests/clients").join(script)).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_client_initializes_lists_calls_and_hears_of_progress_through_keyward() {
    let port = Port::claim();
    let mut server = python("mcp_server.py").arg(port.number().to_string()).spawn().expect("Python and its packages");
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert_eq!(in_time("the MCP server", lines.next_line()).await.unwrap().as_deref(), Some("ready"));

    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.general_key("WEATHER", "test-value-of-the-service").await;
    let service = json!({ "name": "weather", "kind": "service", "base_url": port.url(), "general_key_id": key["id"],
        "credential_header": "x-service-token" });
    api.post("/providers", service).await.expect(201);
    let agent_key = api.agent_key("mcp").await;
    let secret = agent_key["secret"].as_str().unwrap();

    let mut client = python("mcp_client.py");
    client.env("KEYWARD_TEST_URL", format!("{}/agents/weather/mcp", keyward.url())).env("KEYWARD_TEST_KEY", secret);
    let output = in_time("the MCP client", client.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let wanted = json!({ "server": "weather", "tools": ["add", "count"], "added": "42", "counted": "counted to 3",
        "progress": [1.0, 2.0, 3.0] });
    assert_eq!(seen, wanted, "{said}");

    // With the key gone the client is out.
    api.delete(&format!("/agent-keys/{}", agent_key["id"].as_str().unwrap())).await.expect(204);
    let mut client = python("mcp_client.py");
    client.env("KEYWARD_TEST_URL", format!("{}/agents/weather/mcp", keyward.url())).env("KEYWARD_TEST_KEY", secret);
    assert!(!in_time("the MCP client", client.output()).await.unwrap().status.success());
}
