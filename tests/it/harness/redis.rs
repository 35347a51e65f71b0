//! Debian's Redis, keeping nothing.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use super::{Port, eventually, in_time};

/// A Redis with a password, on a port of its own; killed when dropped.
#[derive(Debug)]
pub struct Redis {
    port: Port,
    process: Option<Child>,
    folder: TempDir,
}

impl Redis {
    /// Its password, whose pieces are no words.
    pub const PASSWORD: &str = "Vw8xQk2zTn5rLd7c";

    /// One that runs.
    pub async fn start() -> Self {
        let mut redis = Self::stopped();
        redis.start_again().await;
        redis
    }

    /// One that does not run yet.
    pub fn stopped() -> Self {
        Self { port: Port::claim(), process: None, folder: TempDir::new().unwrap() }
    }

    /// Starts it on the same port, with nothing in it.
    pub async fn start_again(&mut self) {
        let port = self.port.number().to_string();
        let settings = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let process = Command::new("redis-server")
            .args(settings)
            .args(["--requirepass", Self::PASSWORD])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Debian's redis-server is installed: `cargo xtask test` does that");
        self.process = Some(process);
        let address = self.port.address();
        eventually("the Redis", async || TcpStream::connect(&address).await.ok()).await;
    }

    /// Kills it; what it held is gone.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.unwrap();
    }

    /// Lets it say nothing any more, and close nothing.
    pub fn stall(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().and_then(Child::id).expect("it runs");
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
    }

    /// What it answers to a command.
    pub async fn asked(&self, command: &str) -> String {
        let mut connection = TcpStream::connect(self.port.address()).await.unwrap();
        let lines = format!("AUTH {}\r\n{command}\r\nQUIT\r\n", Self::PASSWORD);
        connection.write_all(lines.as_bytes()).await.unwrap();
        let mut answer = String::new();
        in_time("the answer of the Redis", connection.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    /// The variable that leads a server to it.
    pub fn variable(&self) -> (String, String) {
        (String::from("KEYWARD_REDIS_URL"), self.url(Self::PASSWORD))
    }

    /// Its URL, with this password.
    pub fn url(&self, password: &str) -> String {
        format!("redis://:{password}@{}/0", self.port.address())
    }
}
