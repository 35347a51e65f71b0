//! The real binary, serving.

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::{Agent, Api, Database, FakeProvider, Home, Start, Transcript, World, eventually, in_time};

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct TestServer {
    child: Child,
    home: Home,
    transcript: Transcript,
}

impl TestServer {
    /// A fresh one, bootstrapped, on a data directory and a port of its own.
    pub async fn start() -> Self {
        Home::new().await.serve().start().await
    }

    /// The same on SQLite in any case: for tests that are about its files.
    pub async fn start_on_sqlite() -> Self {
        Home::new_on_sqlite().await.serve().start().await
    }

    pub(super) async fn once_ready(mut child: Child, home: Home) -> Self {
        let readyz = format!("{}/readyz", home.url());
        let http = super::agent::http();
        eventually("a ready server", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status} instead of serving:\n{}", home.log());
            }
            let answer = http.get(&readyz).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        Self { child, home, transcript: Transcript::default() }
    }

    pub(super) async fn once_listening(mut child: Child, home: Home) -> Self {
        eventually("a listening server", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status} instead of serving:\n{}", home.log());
            }
            home.log().contains("Keyward listens at").then_some(())
        })
        .await;
        Self { child, home, transcript: Transcript::default() }
    }

    /// What the administrator's automation does.
    pub fn api(&self) -> Api {
        Api::new(self.url(), Some(self.home.token()), self.transcript.clone())
    }

    /// The management API without, or with another, credential.
    pub fn api_with(&self, token: Option<&str>) -> Api {
        Api::new(self.url(), token, self.transcript.clone())
    }

    /// The management API at an address of its own.
    pub fn api_at(&self, url: &str, token: Option<&str>) -> Api {
        Api::new(url.to_owned(), token, self.transcript.clone())
    }

    /// An agent that calls the gateway with this secret.
    pub fn agent(&self, secret: &str) -> Agent {
        Agent::new(self.url(), secret, self.transcript.clone())
    }

    /// A general key linked to an `openai-compatible` provider, a model of it and an agent key, ready to chat.
    pub async fn with_linked_model(&self, provider: &FakeProvider) -> World {
        World::build(self, provider).await
    }

    /// The same with a provider of that kind, whose base URL has no path and which knows the model by another name.
    pub async fn with_linked_model_of_kind(&self, kind: &str, provider: &FakeProvider) -> World {
        World::of_kind(self, kind, provider).await
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        self.home.url()
    }

    /// The directory it runs on.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        self.home.log()
    }

    /// Every answer the harness has had from it, headers and bodies.
    pub fn transcript(&self) -> String {
        self.transcript.text()
    }

    /// Its database, for the tests that tamper with it.
    pub async fn database(&self) -> Database {
        Database::open(&self.home).await
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_stop(&self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for the end that was asked for, which must be a clean one.
    pub async fn stopped(mut self) -> Home {
        let status = in_time("the server's end", self.child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "a stop by SIGTERM ends with 0:\n{}", self.log());
        self.home
    }

    /// Stops it in good order.
    pub async fn stop(self) -> Home {
        self.ask_to_stop();
        self.stopped().await
    }

    /// Stops it in good order, to be started again, perhaps otherwise.
    pub async fn stop_to_restart(self) -> Start {
        self.stop().await.serve()
    }

    /// Kills it as a power failure would.
    pub async fn kill(mut self) -> Home {
        self.child.kill().await.unwrap();
        self.home
    }
}
