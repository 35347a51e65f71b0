//! Assembles Keyward from its parts, runs it, and stops it.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use store::Claim;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    assembly::{StartError, open_core},
    config::Config,
    control,
    data_dir::{check_not_moved, lock_data_dir},
    domain::{
        Core, delivery, first_run, keyring_watch::KeyringWatch, mark, mark_keeper, refusals, replica::Replica,
        scrubber, sessions,
    },
    egress::Pool,
    forwarded::TrustedProxies,
    gateway::{Budget, Gateway},
    listen::{self, Faces, RequestIds},
    metrics::Metrics,
    tls::Tls,
};

/// How often counted calls are written down.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether another process wrote to the database.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// Keyward, running.
pub struct App {
    /// The rules.
    pub core: Arc<Core>,
    /// The settings, with the address that was bound.
    pub config: Config,
    cores: Vec<std::thread::JoinHandle<()>>,
    watch: JoinHandle<KeyringWatch>,
    stop: CancellationToken,
    stopping: Arc<AtomicBool>,
    /// Nobody else serves from this data directory meanwhile.
    _lock: File,
}

impl App {
    /// Opens the storage, binds the address and starts to answer. Runs in the control runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(mut config: Config) -> Result<App, StartError> {
        let lock = lock_data_dir(&config)?;
        check_not_moved(&config.storage)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let tls = open_tls(&config)?;
        let (sockets, bound) = bind(config.web.listen, cores, "KEYWARD_LISTEN")?;
        config.web.set_bound(bound);
        let admin = match &config.web.admin {
            Some(admin) => Some(bind(admin.listen, 1, "KEYWARD_ADMIN_LISTEN")?),
            None => None,
        };
        if let Some((_, bound)) = &admin {
            config.web.set_admin_bound(*bound);
        }
        let core = open_checked(&config, cores).await?;
        // Before the first reading, so that nothing written meanwhile is missed.
        let seen = core.store.db().foreign_writes().await.ok();
        let mut replica = Replica::join(&core).await.map_err(|error| StartError(error.to_string()))?;
        core.reload().await.map_err(|error| StartError(error.to_string()))?;
        core.look_for_foreign_secrets().await.map_err(|error| StartError(error.to_string()))?;
        if let Some(replica) = &mut replica {
            replica.begin(&core).await.map_err(|error| StartError(error.to_string()))?;
        }

        let stop = CancellationToken::new();
        let metrics = Metrics::new();
        let control = control::router(Arc::clone(&core), Arc::new(config.web.clone()), Arc::clone(&metrics));
        let budget = Arc::new(Budget::default());
        let started = u64::try_from(core.clock.now_ms()).unwrap_or(0);
        let stopping = Arc::new(AtomicBool::new(false));
        let faces = if admin.is_some() { Faces::Agents } else { Faces::All };
        let admin = admin.into_iter().flat_map(|(sockets, _)| sockets);
        let places = sockets.into_iter().map(|socket| (faces, socket));
        let places: Vec<_> = places.chain(admin.map(|socket| (Faces::Administrators, socket))).collect();
        let proxies = Arc::new(TrustedProxies::new(config.web.trusted_proxies.clone()));
        let max_connections = listen::max_connections(places.len());
        let mut threads = Vec::with_capacity(places.len());
        for (cpu, (faces, socket)) in places.into_iter().enumerate() {
            let gateway = Arc::new(Gateway {
                core: Arc::clone(&core),
                egress: Arc::clone(&core.egress),
                budget: Arc::clone(&budget),
                cpu,
                pool: Arc::new(Pool::default()),
                open: TaskTracker::new(),
                stop: stop.clone(),
            });
            let part = listen::Core {
                gateway,
                control: control.clone(),
                metrics: Arc::clone(&metrics),
                faces,
                tls: tls.clone(),
                proxies: Arc::clone(&proxies),
                max_connections,
                stall_timeout: config.caller_stall_timeout,
                ids: RequestIds::new(started, cpu),
                stopping: Arc::clone(&stopping),
                stop_timeout: config.stop.timeout,
            };
            threads.push(listen::spawn(part, socket).map_err(|error| StartError(error.to_string()))?);
        }
        if let Some(tls) = tls {
            tokio::spawn(tls.watch(stop.clone()));
        }
        tokio::spawn(flush(Arc::clone(&core), stop.clone()));
        tokio::spawn(delivery::run(Arc::clone(&core), stop.clone()));
        let watch = match replica {
            Some(replica) => tokio::spawn(replica.run(Arc::clone(&core), stop.clone())),
            None => tokio::spawn(watch(Arc::clone(&core), seen, stop.clone())),
        };
        tokio::spawn(mark_keeper::keep(Arc::clone(&core), stop.clone()));
        tokio::spawn(scrubber::run(Arc::clone(&core), stop.clone()));
        Ok(App { core, config, cores: threads, watch, stop, stopping, _lock: lock })
    }

    /// The link under which the first member is made, within an hour; `None` where there is one already.
    ///
    /// # Errors
    /// A storage failure.
    pub async fn setup_link(&self) -> Result<Option<String>, StartError> {
        let token = first_run::offer(&self.core).await.map_err(|error| StartError(error.to_string()))?;
        Ok(token.map(|token| format!("{}/setup#token={}", self.config.web.console_base(), *token)))
    }

    /// Goes on answering while `/readyz` says that it leaves, for as long as the settings say or until `hurry`.
    pub async fn drain(&self, hurry: impl Future<Output = ()>) {
        self.core.leave();
        if tokio::time::timeout(self.config.stop.drain, hurry).await.is_ok() {
            tracing::info!("told again: it stops at once");
        }
    }

    /// Stops accepting, lets open calls end, writes down what was counted.
    pub async fn stop(self) {
        self.core.leave();
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        let threads = self.cores;
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().filter_map(|thread| thread.join().err()).count());
        if joined.await.unwrap_or(1) > 0 {
            tracing::error!("a core of the gateway had failed");
        }
        if let Err(error) = self.core.meter.flush(&self.core).await {
            error.log("");
        }
        if let Err(error) = self.core.spending.flush(&self.core, true).await {
            error.log("");
        }
        if let Err(error) = self.core.callers.flush(&self.core).await {
            error.log("");
        }
        if let Err(error) = self.core.warnings.flush(&self.core).await {
            error.log("");
        }
        if let Err(error) = self.core.health.flush(&self.core).await {
            error.log("");
        }
        if let Err(error) = sessions::record_last_refused(&self.core).await {
            error.log("");
        }
        if let Err(error) = refusals::record_last(&self.core).await {
            error.log("");
        }
        match self.watch.await {
            Ok(keys) => keys.leave(&self.core).await,
            Err(_) => tracing::error!("the watch of the database had failed"),
        }
        close(&self.core).await;
    }
}

/// As [`open_core`], for whoever is to work on the database: one that went back to an earlier state is refused.
///
/// # Errors
/// [`StartError`].
pub async fn open_checked(config: &Config, cores: usize) -> Result<Arc<Core>, StartError> {
    let core = open_core(config, cores).await?;
    mark::take_up(&core).await.map_err(|error| StartError(error.to_string()))?;
    mark_keeper::advance(&core).await.map_err(|error| StartError(error.to_string()))?;
    Ok(core)
}

/// Moves the rollback mark on to what was committed, and closes the database.
pub async fn close(core: &Core) {
    if let Err(error) = mark_keeper::advance(core).await {
        error.log("");
    }
    core.store.db().close().await;
}

/// The right to be the only one that works on a PostgreSQL database.
///
/// # Errors
/// [`StartError`] where a `serve` runs on it.
pub async fn claim(core: &Core) -> Result<Claim, StartError> {
    let claim = core.store.db().claim().await.map_err(|error| StartError(error.to_string()))?;
    claim.ok_or_else(|| {
        StartError(String::from(
            "keyward serve runs on this database; stop every one of them first, so that nobody works on what is decided",
        ))
    })
}

/// The certificate that connections are accepted with, if any.
///
/// # Errors
/// [`StartError`].
pub fn open_tls(config: &Config) -> Result<Option<Arc<Tls>>, StartError> {
    let files = config.web.tls.as_ref();
    files.map(|files| Tls::open(&files.cert_file, &files.key_file)).transpose().map_err(StartError)
}

/// Binds an address, and says which it is where port 0 asked for any.
fn bind(address: SocketAddr, cores: usize, setting: &str) -> Result<(Vec<TcpListener>, SocketAddr), StartError> {
    let sockets = listen::bind(address, cores).map_err(|error| {
        StartError(match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("{address} is in use already; stop what listens there, or set {setting} to another address")
            }
            _ => format!("cannot listen on {address}: {error}"),
        })
    })?;
    let bound = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
    Ok((sockets, bound))
}

async fn flush(core: Arc<Core>, stop: CancellationToken) {
    let mut every = tokio::time::interval(FLUSH_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        if let Err(error) = core.meter.flush(&core).await {
            error.log("");
        }
        if let Err(error) = core.health.flush(&core).await {
            error.log("");
        }
        if let Err(error) = core.callers.flush(&core).await {
            error.log("");
        }
        if let Err(error) = core.spending.flush(&core, false).await {
            error.log("");
        }
        if let Err(error) = core.warnings.flush(&core).await {
            error.log("");
        }
        if let Err(error) = sessions::record_refused(&core).await {
            error.log("");
        }
        if let Err(error) = refusals::record_due(&core).await {
            error.log("");
        }
    }
}

/// On SQLite: notices what other processes write (`keyward bootstrap`, a restored file, an intruder), takes up other keys,
/// and heals an unread catalog.
async fn watch(core: Arc<Core>, mut seen: Option<i64>, stop: CancellationToken) -> KeyringWatch {
    let mut keys = KeyringWatch::default();
    let mut every = tokio::time::interval(WATCH_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        // First: what was written may be made with keys that are new.
        keys.look(&core).await;
        let Ok(now) = core.store.db().foreign_writes().await else { continue };
        if seen == Some(now) && core.catalog().is_read() {
            continue;
        }
        // A failure is logged where it happens, leaves the catalog unread, and is tried again with the next tick.
        if core.reload_everything().await.is_ok() {
            seen = Some(now);
        }
    }
    keys
}
