//! Assembles Keyward from its parts, runs it, and stops it.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use store::{Claim, Store};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vault::Entropy;
use zeroize::Zeroizing;

use crate::{
    config::{Config, StorageConfig},
    control,
    domain::{
        Core, CoreParts,
        clock::Clock,
        delivery, first_run, ids,
        installation::{self, KeySource},
        issuer::{self, Issuer},
        keyring_watch::KeyringWatch,
        leak_reports::LeakReports,
        mail::Mailer,
        mark, mark_keeper,
        minutes::Minutes,
        refusals,
        replica::Replica,
        roles::Role,
        scrubber, sessions,
    },
    egress::{AddressPolicy, Egress, Patience, Pool, Smtp, SmtpLogin, SmtpSettings},
    forwarded::TrustedProxies,
    gateway::{Budget, Gateway},
    listen::{self, Faces, RequestIds},
    metrics::Metrics,
    tls::Tls,
};

/// How long a connection to a provider may take where it sets nothing else.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often counted calls are written down.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether another process wrote to the database.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// Why Keyward does not start; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

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

/// Opens the storage and assembles the rules, without listening: for commands as well.
///
/// # Errors
/// [`StartError`].
pub async fn open_core(config: &Config, cores: usize) -> Result<Arc<Core>, StartError> {
    let store = installation::open(&config.storage, &Entropy::system()).await;
    assemble(config, cores, store.map_err(|error| StartError(error.to_string()))?)
}

/// The same for whoever changes what wraps the keys: also with what wraps them now, where the settings name the next.
///
/// # Errors
/// [`StartError`].
pub async fn open_core_to_rewrap(config: &Config) -> Result<Arc<Core>, StartError> {
    let store = installation::open_to_rewrap(&config.storage, &Entropy::system()).await;
    assemble(config, 1, store.map_err(|error| StartError(error.to_string()))?)
}

fn assemble(config: &Config, cores: usize, store: Store) -> Result<Arc<Core>, StartError> {
    let egress = Arc::new(open_egress(config));
    let issuer = open_issuer(config, &egress).map_err(StartError)?;
    let leak_reports = match &config.leak_report_keys_url {
        Some(url) => {
            let judged = egress.judge(url.split('?').next().unwrap_or_default());
            judged.map_err(|why| StartError(format!("KEYWARD_LEAK_REPORT_KEYS_URL: {why}")))?;
            Some(LeakReports::new(url.clone()))
        }
        None => None,
    };
    let mailer = open_mailer(config, &egress).map_err(StartError)?;
    let replica_id = ids::mint("rp", Clock::default().now_ms(), &Entropy::system())
        .map_err(|error| StartError(error.to_string()))?;
    let minutes = open_minutes(config, store.keyring().installation(), &replica_id)?;
    let parts = CoreParts {
        store,
        minutes,
        key_source: KeySource::new(&config.storage),
        egress,
        state_dir: config.storage.state_dir.clone(),
        replica_id,
        agent_key_max_days: config.agent_key_max_days,
        require_second_factor: config.require_second_factor,
        issuer,
        leak_reports,
        mailer,
        cores,
    };
    Ok(Arc::new(Core::new(parts)))
}

/// Where minutes are counted, if a Redis is set. Nothing is asked yet.
///
/// # Errors
/// [`StartError`] for a URL that cannot be one.
pub fn open_minutes(config: &Config, installation: &str, server: &str) -> Result<Option<Minutes>, StartError> {
    let Some(url) = &config.redis_url else { return Ok(None) };
    let minutes = Minutes::new(url.as_str(), installation, server);
    minutes.map(Some).map_err(|why| StartError(format!("KEYWARD_REDIS_URL: {why}")))
}

fn open_egress(config: &Config) -> Egress {
    let policy = AddressPolicy {
        allow_private: config.upstream.allow_private,
        allow_loopback: config.web.is_loopback(),
        own: config.web.admin.iter().map(|admin| admin.listen).chain([config.web.listen]).collect(),
    };
    let patience = Patience {
        connect: CONNECT_TIMEOUT,
        head: config.upstream.head_timeout,
        idle: config.upstream.idle_timeout,
        total: None,
    };
    Egress::new(policy, patience)
}

/// Judges the settings of the mail server, if one is set; gives its host and port.
///
/// # Errors
/// [`StartError`], naming the setting.
pub fn check_mailer(config: &Config) -> Result<Option<String>, StartError> {
    if config.smtp.is_none() {
        return Ok(None);
    }
    let mailer = open_mailer(config, &open_egress(config)).map_err(StartError)?;
    Ok(mailer.map(|mailer| mailer.words().to_owned()))
}

/// What e-mail goes out by, if anything is set.
fn open_mailer(config: &Config, egress: &Egress) -> Result<Option<Mailer>, String> {
    let Some(smtp) = config.smtp.clone() else { return Ok(None) };
    let settings = SmtpSettings {
        url: smtp.url,
        login: smtp.login.map(|login| SmtpLogin { user: login.user, password: Zeroizing::new(login.password) }),
        from: smtp.from,
        own_name: config.web.console_url().domain().map(str::to_owned),
        allow_private: smtp.allow_private,
    };
    Ok(Some(Mailer::new(Smtp::new(settings, egress)?, config.web.console_base())))
}

/// The issuer that members can sign in with, if one is set.
fn open_issuer(config: &Config, egress: &Egress) -> Result<Option<Issuer>, String> {
    let Some(oidc) = config.oidc.clone() else { return Ok(None) };
    let role_map = oidc.role_map.into_iter().map(|(group, role)| match Role::parse(&role) {
        Some(role) => Ok((group, role)),
        None => {
            let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
            Err(format!("KEYWARD_OIDC_ROLE_MAP: {role:?} is no role; there are {}", known.join(", ")))
        }
    });
    let settings = issuer::Settings {
        role_map: role_map.collect::<Result<_, _>>()?,
        issuer: oidc.issuer,
        client_id: oidc.client_id,
        client_secret: oidc.client_secret.map(Zeroizing::new),
        scopes: oidc.scopes,
        groups_claim: oidc.groups_claim,
        name: oidc.name,
        redirect_url: format!("{}/sign-in/oidc/callback", config.web.console_base()),
    };
    let policy = AddressPolicy { allow_private: oidc.allow_private, ..egress.policy().clone() };
    let way_out = egress.with_policy(policy);
    // The rules are those for providers, and the setting that loosens them is another one.
    let named = |why: String| why.replace("KEYWARD_ALLOW_PRIVATE_UPSTREAMS", "KEYWARD_OIDC_ALLOW_PRIVATE");
    way_out.judge(&settings.issuer).map_err(|why| format!("KEYWARD_OIDC_ISSUER: {}", named(why)))?;
    let issuer = Issuer::new(settings, way_out);
    issuer.map(Some).map_err(|why| format!("KEYWARD_OIDC_ISSUER: {why}"))
}

/// The certificate that connections are accepted with, if any.
///
/// # Errors
/// [`StartError`].
pub fn open_tls(config: &Config) -> Result<Option<Arc<Tls>>, StartError> {
    let files = config.web.tls.as_ref();
    files.map(|files| Tls::open(&files.cert_file, &files.key_file)).transpose().map_err(StartError)
}

/// One `serve` for each data directory: on SQLite two would answer from two different memories, and the rollback mark has
/// one writer.
///
/// # Errors
/// [`StartError`] where another process has it.
pub fn lock_data_dir(config: &Config) -> Result<File, StartError> {
    installation::make_data_dir(&config.storage.data_dir).map_err(|error| StartError(error.to_string()))?;
    lock(&config.storage.data_dir)
}

fn lock(dir: &Path) -> Result<File, StartError> {
    /// A look by [`is_served`] takes less.
    const LOOK: Duration = Duration::from_millis(20);
    let path = lock_file(dir);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| {
        StartError(format!("cannot open {}: {error}; is the data directory writable?", path.display()))
    })?;
    let attempt = || flock(&file, FlockOperation::NonBlockingLockExclusive);
    let taken = attempt().or_else(|_| {
        std::thread::sleep(LOOK);
        attempt()
    });
    taken.map_err(|error| {
        if error == rustix::io::Errno::WOULDBLOCK {
            StartError(format!(
                "another keyward serve runs on {}; stop it first, or give this one its own KEYWARD_DATA_DIR",
                dir.display()
            ))
        } else {
            StartError(format!("cannot lock {}: {error}", path.display()))
        }
    })?;
    Ok(file)
}

fn lock_file(dir: &Path) -> std::path::PathBuf {
    dir.join("keyward.lock")
}

/// Whether a `serve` runs on this installation.
///
/// # Errors
/// [`StartError`].
pub async fn is_served(config: &Config, core: &Core) -> Result<bool, StartError> {
    if core.store.db().is_shared() {
        return core.store.db().is_served().await.map_err(|error| StartError(error.to_string()));
    }
    match File::open(lock_file(&config.storage.data_dir)) {
        // Let go of with the file, at the end of this look.
        Ok(file) => Ok(flock(&file, FlockOperation::NonBlockingLockShared).is_err()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StartError(format!("cannot look for a running keyward serve: {error}"))),
    }
}

/// Stands in the data directory once its SQLite database was moved to PostgreSQL.
pub fn moved_file(storage: &StorageConfig) -> PathBuf {
    storage.data_dir.join("moved-to-postgresql")
}

/// Refuses to serve a database that was moved: what was revoked since, elsewhere, would be good here again.
fn check_not_moved(storage: &StorageConfig) -> Result<(), StartError> {
    let moved = moved_file(storage);
    if !storage.database_url.starts_with("sqlite:") || !moved.exists() {
        return Ok(());
    }
    Err(StartError(format!(
        "this installation was moved to PostgreSQL: set KEYWARD_DATABASE_URL to it (and KEYWARD_MASTER_KEY_FILE); to serve \
         the old database all the same, without what was changed and revoked since, remove {}",
        moved.display()
    )))
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
