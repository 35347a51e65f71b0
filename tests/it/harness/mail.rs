//! A mail server that writes down what it is handed.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{Port, eventually, in_repository, in_time};

/// A mail server on a port of its own, of which nobody else has the port meanwhile; killed when dropped.
#[derive(Debug)]
pub struct MailServer {
    port: Port,
    child: Option<Child>,
    letters: Arc<Mutex<Vec<Value>>>,
}

impl MailServer {
    /// One that listens, with these arguments of `tests/clients/smtp_server.py`.
    pub async fn start(arguments: &[&str]) -> Self {
        let mut server = Self::down();
        server.go_up(arguments).await;
        server
    }

    /// One that does not listen yet.
    pub fn down() -> Self {
        Self { port: Port::claim(), child: None, letters: Arc::default() }
    }

    /// Lets it listen, with these arguments, in place of what it did before.
    pub async fn go_up(&mut self, arguments: &[&str]) {
        if let Some(mut before) = self.child.take() {
            before.kill().await.unwrap();
        }
        let mut command = Command::new(in_repository("target/clients-venv/bin/python"));
        command.arg(in_repository("tests/clients/smtp_server.py")).arg(self.port.number().to_string()).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("Python and its packages");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(in_time("the mail server", lines.next_line()).await.unwrap().as_deref(), Some("ready"));
        let letters = Arc::clone(&self.letters);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                letters.lock().unwrap().push(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        self.child = Some(child);
    }

    /// The settings of a Keyward that sends by it; `query` stands behind the URL.
    pub fn settings(&self, query: &str) -> Vec<(String, String)> {
        self.settings_over("smtp", query)
    }

    /// The same with another scheme.
    pub fn settings_over(&self, scheme: &str, query: &str) -> Vec<(String, String)> {
        let url = format!("{scheme}://{}{query}", self.port.address());
        let setting = |name: &str, value: &str| (format!("KEYWARD_SMTP_{name}"), value.to_owned());
        vec![setting("URL", &url), setting("FROM", "Keyward <keyward@example.com>")]
    }

    /// What it was handed, the oldest first.
    pub fn letters(&self) -> Vec<Value> {
        self.letters.lock().unwrap().clone()
    }

    /// The letters to an address.
    pub fn letters_to(&self, address: &str) -> Vec<Value> {
        self.letters().into_iter().filter(|letter| letter["to"] == serde_json::json!([address])).collect()
    }

    /// The first letter to an address, once it is there.
    pub async fn letter_to(&self, address: &str) -> Value {
        eventually(address, async || self.letters_to(address).into_iter().next()).await
    }
}
