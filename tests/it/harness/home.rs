//! A data directory that has been bootstrapped, and the binary run on it.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::backend::{is_postgres, shared_cluster, write_master_key};
use super::{Port, PostgresDatabase, TestServer};

/// The first member of every server in these tests.
const OWNER: &str = "owner@example.com";
/// Her password.
const OWNER_PASSWORD: &str = "a password for tests only";

/// A data directory, its port and its management token; outlives the servers that run on it.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    port: Port,
    token: String,
    database: Option<Arc<PostgresDatabase>>,
    /// Over what the database is reached, where not at once.
    database_url: Option<String>,
}

impl Home {
    /// A directory on which `keyward bootstrap` has run.
    pub async fn new() -> Self {
        Self::empty().bootstrapped_with(&[]).await
    }

    /// The same on SQLite in any case: for tests that are about its files.
    pub async fn new_on_sqlite() -> Self {
        Self::empty_on_sqlite().bootstrapped_with(&[]).await
    }

    /// The same on a database of PostgreSQL.
    pub async fn new_on(database: PostgresDatabase) -> Self {
        Self::empty_on(Arc::new(database)).bootstrapped_with(&[]).await
    }

    /// A directory on which nothing has run, with such a database.
    pub fn empty_on_postgres(database: PostgresDatabase) -> Self {
        Self::empty_on(Arc::new(database))
    }

    /// A directory for one more server on the same database of PostgreSQL.
    pub fn beside(&self) -> Self {
        let mut home = Self::empty_on(Arc::clone(self.database.as_ref().expect("a database that can be shared")));
        std::fs::copy(self.master_key(), home.master_key()).unwrap();
        home.token = self.token.clone();
        home
    }

    /// A directory for a server of the same installation on another database.
    pub fn beside_on(&self, database: &PostgresDatabase) -> Self {
        let home = Self::empty_on_sqlite();
        std::fs::create_dir(home.data()).unwrap();
        std::fs::copy(self.master_key(), home.master_key()).unwrap();
        home.with_database_url(database.url())
    }

    /// This directory, once `keyward bootstrap` has run on it with these variables.
    pub async fn bootstrapped_with(mut self, variables: &[(String, String)]) -> Self {
        let done = self.run_to_its_end(variables, &bootstrap_of(OWNER), &password_line()).await;
        assert!(done.status.success(), "bootstrap failed: {}", String::from_utf8_lossy(&done.stderr));
        let printed: Value = serde_json::from_slice(&done.stdout).expect("bootstrap prints JSON");
        assert!(printed["member_id"].is_string(), "{printed}");
        self.token = printed["token"].as_str().expect("bootstrap prints the token").to_owned();
        self
    }

    /// A directory on which nothing has run.
    pub fn empty() -> Self {
        if is_postgres() {
            return Self::empty_on(Arc::new(PostgresDatabase::new(shared_cluster())));
        }
        Self::empty_on_sqlite()
    }

    /// The same on SQLite in any case.
    pub fn empty_on_sqlite() -> Self {
        let (dir, port) = (TempDir::new().unwrap(), Port::claim());
        Self { dir, port, token: String::new(), database: None, database_url: None }
    }

    /// With PostgreSQL the master key must be there, so it is made.
    fn empty_on(database: Arc<PostgresDatabase>) -> Self {
        let home = Self { database: Some(database), ..Self::empty_on_sqlite() };
        std::fs::create_dir(home.data()).unwrap();
        std::fs::set_permissions(home.data(), std::fs::Permissions::from_mode(0o700)).unwrap();
        write_master_key(&home.master_key());
        home
    }

    /// Reaches the database over this URL from now on.
    pub fn with_database_url(mut self, url: String) -> Self {
        self.database_url = Some(url);
        self
    }

    /// Its database, where that is one of PostgreSQL.
    pub fn postgres(&self) -> Option<&PostgresDatabase> {
        self.database.as_deref()
    }

    /// That database's URL, past any proxy.
    pub fn postgres_url(&self) -> Option<String> {
        self.postgres().map(PostgresDatabase::url)
    }

    /// The state of the database, to be put back later. Only of a stopped server.
    pub fn saved(&self) -> Saved {
        match self.postgres() {
            Some(database) => Saved::Postgres(database.copied()),
            // Whose WAL is folded in.
            None => Saved::Sqlite(std::fs::read(self.database_file()).unwrap()),
        }
    }

    /// Puts a state of the database back.
    pub fn put_back(&self, saved: &Saved) {
        match (saved, self.postgres()) {
            (Saved::Postgres(copy), Some(database)) => database.become_as(copy),
            (Saved::Sqlite(bytes), None) => {
                let path = self.database_file();
                for suffix in ["-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
                }
                std::fs::write(path, bytes).unwrap();
            }
            _ => panic!("a state of another kind of database"),
        }
    }

    /// All that the database holds, to be compared.
    pub fn database_state(&self) -> Vec<u8> {
        match self.postgres() {
            Some(database) => database.dump().into_bytes(),
            None => std::fs::read(self.database_file()).unwrap(),
        }
    }

    /// Loses the database.
    pub fn lose_database(&self) {
        match self.postgres() {
            Some(database) => database.lose(),
            None => std::fs::remove_file(self.database_file()).unwrap(),
        }
    }

    /// `keyward bootstrap` for that address, whatever comes of it.
    pub async fn bootstrap(&self, email: &str) -> Output {
        self.run(&bootstrap_of(email), &password_line()).await
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        self.run_to_its_end(&[], arguments, stdin).await
    }

    /// The same with further variables in its environment, and nothing on its standard input.
    pub async fn run_with(&self, variables: &[(String, String)], arguments: &[&str]) -> Output {
        self.run_to_its_end(variables, arguments, "").await
    }

    async fn run_to_its_end(&self, variables: &[(String, String)], arguments: &[&str], stdin: &str) -> Output {
        let mut command = self.command(arguments, &[]);
        command.env_remove("KEYWARD_LOG").envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that refuses before it reads has closed its end; its exit tells the story.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
        super::in_time("the command's end", child.wait_with_output()).await.unwrap()
    }

    /// Runs the binary by a program that gets it and its arguments as its own last ones; whatever comes of it.
    pub async fn run_by(&self, launcher: &[&str], arguments: &[&str]) -> Output {
        let launcher: Vec<OsString> = launcher.iter().map(OsString::from).collect();
        let mut command = self.command(arguments, &launcher);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        super::in_time("the command's end", command.output()).await.unwrap()
    }

    /// A server about to be started here.
    pub fn serve(self) -> Start {
        Start { home: self, environment: Vec::new(), launcher: Vec::new(), arguments: vec!["serve".into()] }
    }

    /// Where the server on this directory answers.
    pub fn url(&self) -> String {
        self.port.url()
    }

    /// The management token, with every scope of the owner.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The directory around the data directory; logs stand here.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The master-key file.
    pub fn master_key(&self) -> PathBuf {
        self.data().join("master.key")
    }

    /// The database file, found by its first bytes.
    pub fn database_file(&self) -> PathBuf {
        for entry in std::fs::read_dir(self.data()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && std::fs::read(&path).unwrap().starts_with(b"SQLite format 3\0") {
                return path;
            }
        }
        panic!("no SQLite database in the data directory");
    }

    /// All that servers on this directory have written to stdout and stderr.
    pub fn log(&self) -> String {
        let mut log = String::new();
        for name in ["stdout.log", "stderr.log"] {
            if let Ok(bytes) = std::fs::read(self.path().join(name)) {
                log.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        log
    }

    /// Every file under the directory with its bytes: data, logs, all; and what a database of PostgreSQL holds.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    let bytes = std::fs::read(&path).unwrap();
                    files.push((path, bytes));
                }
            }
        }
        if let Some(database) = self.postgres().filter(|_| !self.token.is_empty()) {
            files.push((PathBuf::from("the database"), database.dump().into_bytes()));
        }
        files
    }

    fn command(&self, arguments: &[impl AsRef<std::ffi::OsStr>], launcher: &[OsString]) -> Command {
        let binary = OsString::from(env!("CARGO_BIN_EXE_keyward"));
        let mut words = launcher.iter().cloned().chain([binary]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(arguments);
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KEYWARD_LISTEN", self.port.address())
            .env("KEYWARD_DATA_DIR", self.data())
            .env("KEYWARD_LOG", "trace")
            .kill_on_drop(true);
        if let Some(url) = self.database_url.clone().or_else(|| self.postgres_url()) {
            command.env("KEYWARD_DATABASE_URL", url).env("KEYWARD_MASTER_KEY_FILE", self.master_key());
        }
        command
    }
}

fn bootstrap_of(email: &str) -> [&str; 6] {
    ["bootstrap", "--email", email, "--password-stdin", "--token-name", "t"]
}

fn password_line() -> String {
    format!("{OWNER_PASSWORD}\n")
}

/// A state of a database.
#[derive(Debug)]
pub enum Saved {
    /// The bytes of the file.
    Sqlite(Vec<u8>),
    /// A copy in the same cluster.
    Postgres(PostgresDatabase),
}

/// A server about to be started.
#[derive(Debug)]
pub struct Start {
    home: Home,
    environment: Vec<(String, String)>,
    launcher: Vec<OsString>,
    arguments: Vec<String>,
}

impl Start {
    /// Sets a variable of the server's environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Sets several.
    pub fn with(mut self, variables: &[(String, String)]) -> Self {
        self.environment.extend_from_slice(variables);
        self
    }

    /// Lets the server believe that it is that many days later.
    pub fn days_later(self, days: u32) -> Self {
        self.seconds_later(days * 86_400)
    }

    /// Lets it believe that it is that many seconds later.
    pub fn seconds_later(self, seconds: u32) -> Self {
        self.env("LD_PRELOAD", faketime().to_str().unwrap())
            .env("FAKETIME", format!("+{seconds}"))
            .env("DONT_FAKE_MONOTONIC", "1")
    }

    /// Lets all its clocks run so many times as fast as ours.
    pub fn with_time_running(self, times: u32) -> Self {
        self.env("LD_PRELOAD", faketime().to_str().unwrap()).env("FAKETIME", format!("+0 x{times}"))
    }

    /// Puts a program in front of the binary, which gets the binary and its arguments as its own last ones.
    pub fn launched_by(mut self, words: &[&str]) -> Self {
        self.launcher = words.iter().map(OsString::from).collect();
        self
    }

    /// Further arguments after `serve`.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts it and waits until it says that it is ready.
    pub async fn start(self) -> TestServer {
        let mut command = self.build();
        command.stdin(Stdio::null());
        command.stdout(self.append_to("stdout.log")).stderr(self.append_to("stderr.log"));
        let child = command.spawn().expect("the binary starts");
        TestServer::once_ready(child, self.home).await
    }

    /// Starts it with a certificate and waits until it says where it listens.
    pub async fn start_on_tls(self) -> TestServer {
        let mut command = self.build();
        command.stdin(Stdio::null());
        command.stdout(self.append_to("stdout.log")).stderr(self.append_to("stderr.log"));
        let child = command.spawn().expect("the binary starts");
        TestServer::once_listening(child, self.home).await
    }

    /// Starts it, expecting that it refuses: its output, and the directory it ran on.
    pub async fn refused(self) -> (Output, Home) {
        let mut command = self.build();
        command.env_remove("KEYWARD_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = command.spawn().expect("the binary starts").wait_with_output();
        let output = super::in_time("a refusal to serve", running).await.unwrap();
        (output, self.home)
    }

    fn build(&self) -> Command {
        let mut command = self.home.command(&self.arguments, &self.launcher);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn append_to(&self, name: &str) -> std::fs::File {
        let path = self.home.path().join(name);
        std::fs::File::options().create(true).append(true).open(path).unwrap()
    }
}

/// Debian's library that shifts the clock of a process.
fn faketime() -> PathBuf {
    let library = std::fs::read_dir("/usr/lib")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    library.expect("Debian's faketime is installed: `cargo xtask test` does that")
}
