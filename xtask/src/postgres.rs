//! A PostgreSQL of one's own for tests and proofs: in a temporary directory, on a Unix socket, as a user who is not
//! root, and gone once nobody uses it any more, however its users ended. The tests have this file in their harness.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The database's superuser.
const USER: &str = "keyward";
/// What nothing is kept for needs not: a disk that was written to. Sorted as in English, as many installations are.
const SETTINGS: &str = "\
listen_addresses = ''
port = 5432
fsync = off
full_page_writes = off
max_connections = 300
shared_buffers = 64MB
max_wal_size = 512MB
autovacuum = off
log_min_messages = fatal
";
/// Waits until nobody holds the lock, and a while longer, since the next test may be about to begin; then stops it.
const WATCH: &str = r#"
while :; do
    flock "$LOCK" true
    sleep "$LINGER"
    flock --nonblock "$LOCK" sh -c "$STOP; rm -rf \"$DIR\"" && exit
done
"#;

/// A running PostgreSQL, kept running while this value lives.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    _use: File,
}

impl Cluster {
    /// The one that all tests of this user share.
    pub fn shared() -> Result<Self, String> {
        let base = std::env::temp_dir().join(format!("keyward-postgres-{}", own_uid()?));
        make_dir(&base)?;
        let using = open(&base.join("users.lock"))?;
        using.lock_shared().map_err(text)?;
        let starting = open(&base.join("start.lock"))?;
        starting.lock().map_err(text)?;
        let cluster = Self { dir: base.join("cluster"), _use: using };
        if cluster.sql("postgres", "SELECT 1").is_err() {
            cluster.make(&base.join("users.lock"), &cluster.dir, "", 20)?;
        }
        Ok(cluster)
    }

    /// One that nobody else uses, to be stopped and started at will, with further settings.
    pub fn private(settings: &str) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = std::env::temp_dir().join(format!("keyward-postgres-of-{}-{number}", std::process::id()));
        make_dir(&base)?;
        let using = open(&base.join("users.lock"))?;
        using.lock_shared().map_err(text)?;
        let cluster = Self { dir: base.join("cluster"), _use: using };
        cluster.make(&base.join("users.lock"), &base, settings, 0)?;
        Ok(cluster)
    }

    /// The URL of one of its databases, over its socket.
    pub fn url(&self, database: &str) -> String {
        let folder = self.dir.display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{folder}/{database}")
    }

    /// The URL of one of its databases, over a proxy at this port.
    pub fn url_at(&self, port: u16, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(".s.PGSQL.5432")
    }

    /// A new empty database.
    pub fn create(&self, name: &str) -> Result<(), String> {
        self.sql("postgres", &format!("CREATE DATABASE {name}")).map(drop)
    }

    /// A copy of a database that nobody is connected to.
    pub fn copy(&self, from: &str, to: &str) -> Result<(), String> {
        self.sql("postgres", &format!("CREATE DATABASE {to} TEMPLATE {from}")).map(drop)
    }

    /// Takes a database away, whoever is connected to it.
    pub fn remove(&self, name: &str) -> Result<(), String> {
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).map(drop)
    }

    /// All that a database holds, as text.
    pub fn dump(&self, name: &str) -> Result<String, String> {
        self.client("pg_dump", &["--inserts", name])
    }

    /// What a statement prints, a line for each row.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.client("psql", &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql])
    }

    /// Stops it as a power failure would.
    pub fn stop(&self) -> Result<(), String> {
        run(self.server("pg_ctl", &["stop", "-m", "immediate"])?)
    }

    /// Starts it again.
    pub fn start(&self) -> Result<(), String> {
        run(self.server("pg_ctl", &["start", "-w", "-l", "log"])?)
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(binary(program)?);
        command.args(["-h", &self.dir.display().to_string(), "-U", USER]).args(arguments).stdin(Stdio::null());
        let done = command.output().map_err(|error| format!("{program}: {error}"))?;
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            false => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr))),
        }
    }

    /// Makes it anew, starts it, and lets somebody watch who stops it in the end and removes a directory.
    fn make(&self, lock: &Path, remove: &Path, settings: &str, linger_seconds: u32) -> Result<(), String> {
        let _ = fs::remove_dir_all(&self.dir);
        make_dir(&self.dir)?;
        if own_uid()? == 0 {
            run(command("chown", &["postgres:", &self.dir.display().to_string()]))?;
        }
        let mut initdb = self.server("initdb", &["-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"])?;
        initdb.args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]);
        run(initdb)?;
        let settings = format!("{SETTINGS}unix_socket_directories = '{}'\n{settings}\n", self.dir.display());
        let path = self.dir.join("data/postgresql.conf");
        let before = fs::read_to_string(&path).map_err(text)?;
        fs::write(&path, before + &settings).map_err(text)?;
        let stop = self.server("pg_ctl", &["stop", "-m", "immediate"])?;
        let words = std::iter::once(stop.get_program()).chain(stop.get_args());
        let stop: Vec<_> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let mut watch = command("setsid", &["sh", "-c", WATCH]);
        watch.env("LOCK", lock).env("DIR", remove).env("STOP", stop.join(" ")).current_dir("/");
        watch.env("LINGER", linger_seconds.to_string());
        watch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(text)?;
        self.start()
    }

    /// A program of the server on this cluster, as a user who is not root.
    fn server(&self, program: &str, arguments: &[&str]) -> Result<Command, String> {
        let (path, data) = (binary(program)?.display().to_string(), self.dir.join("data").display().to_string());
        let as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
        let mut words = if own_uid()? == 0 { as_postgres.to_vec() } else { Vec::new() };
        words.extend([path.as_str(), "-D", data.as_str()]);
        let mut command = command(words[0], &words[1..]);
        command.args(arguments).current_dir(&self.dir).stdout(Stdio::null());
        Ok(command)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The watcher does the rest, here as where nothing is dropped.
        let _ = self._use.unlock();
    }
}

/// Debian keeps the programs of each version apart; the newest is taken.
fn binary(program: &str) -> Result<PathBuf, String> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .map_err(|_| String::from("Debian's postgresql is not installed: `cargo xtask test` does that"))?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(program))))
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    found.pop().map(|(_, path)| path).ok_or_else(|| format!("Debian's postgresql has no {program}"))
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Result<(), String> {
    let done = command.stderr(Stdio::piped()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr))),
    }
}

fn make_dir(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn open(path: &Path) -> Result<File, String> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    file.map_err(|error| format!("{}: {error}", path.display()))
}

fn own_uid() -> Result<u32, String> {
    fs::metadata("/proc/self").map(|metadata| metadata.uid()).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
