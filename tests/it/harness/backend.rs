//! Which database a server of these tests runs on: SQLite, or with `KEYWARD_TEST_DATABASE=postgres` one of its own in
//! a PostgreSQL that all tests share. A test that is about SQLite's files alone takes `Home::on_sqlite`.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

pub use super::postgres::Cluster;

/// A database of PostgreSQL, gone with this value.
#[derive(Debug)]
pub struct PostgresDatabase {
    cluster: Arc<Cluster>,
    name: String,
}

impl PostgresDatabase {
    /// A new one in a cluster.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let name = fresh_name();
        cluster.create(&name).unwrap();
        Self { cluster, name }
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// Its URL over a proxy at this port.
    pub fn url_at(&self, port: u16) -> String {
        self.cluster.url_at(port, &self.name)
    }

    /// The cluster it is in.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// All it holds, as text.
    pub fn dump(&self) -> String {
        let dump = self.cluster.dump(&self.name).unwrap();
        // Each dump has a password of its own against what it might hold.
        dump.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
    }

    /// A copy of it as it is now; nobody may be connected.
    pub fn copied(&self) -> PostgresDatabase {
        let name = fresh_name();
        self.cluster.copy(&self.name, &name).unwrap();
        PostgresDatabase { cluster: Arc::clone(&self.cluster), name }
    }

    /// Puts the state of a copy in its place.
    pub fn become_as(&self, copy: &PostgresDatabase) {
        self.cluster.remove(&self.name).unwrap();
        self.cluster.copy(&copy.name, &self.name).unwrap();
    }

    /// Empties it.
    pub fn lose(&self) {
        self.cluster.remove(&self.name).unwrap();
        self.cluster.create(&self.name).unwrap();
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // A cluster that is stopped, or gone, took it along.
        let _ = self.cluster.remove(&self.name);
    }
}

fn fresh_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("t_{}_{}_{since}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Whether these tests are to run on PostgreSQL.
pub fn is_postgres() -> bool {
    match std::env::var("KEYWARD_TEST_DATABASE").as_deref() {
        Ok("postgres") => true,
        Err(_) | Ok("" | "sqlite") => false,
        Ok(other) => panic!("KEYWARD_TEST_DATABASE is {other:?}, and may be sqlite or postgres"),
    }
}

/// The cluster that all tests share; it stops once nobody has it.
pub fn shared_cluster() -> Arc<Cluster> {
    static SHARED: OnceLock<Mutex<Weak<Cluster>>> = OnceLock::new();
    let shared = SHARED.get_or_init(Mutex::default);
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = shared.upgrade() {
        return cluster;
    }
    let cluster = Arc::new(Cluster::shared().unwrap());
    *shared = Arc::downgrade(&cluster);
    cluster
}

/// Writes a master key of 32 random bytes into a file of mode 0600.
pub fn write_master_key(path: &Path) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let made = Command::new(env!("CARGO_BIN_EXE_keyward")).args(["master-key", "new"]).output().unwrap();
    assert!(made.status.success(), "no master key is made");
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(&made.stdout).unwrap();
}
