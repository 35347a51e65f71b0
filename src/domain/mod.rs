//! The rules, one file per noun. Nothing below this line knows HTTP.
//!
//! [`Core`] is what all of them work on: the store, the clock, the randomness, and what is kept in memory so that a
//! gateway call needs no database: the cache of agent keys and the catalog of providers, models and opened keys.

pub mod access;
pub mod actor;
pub mod agent_key_bulk;
pub mod agent_key_check;
pub mod agent_key_defaults;
pub mod agent_key_import;
pub mod agent_key_list;
pub mod agent_key_new;
pub mod agent_key_rules;
pub mod agent_keys;
pub mod agent_secrets;
pub mod attention;
pub mod audit;
pub mod audit_chain;
pub mod audit_events;
pub mod audit_export;
pub mod budgets;
pub mod callers;
pub mod catalog;
mod change;
pub mod clock;
pub mod delivery;
pub mod enrolment;
pub mod env_import;
pub mod first_run;
pub mod first_steps;
pub mod foreign_keys;
pub mod general_keys;
pub mod idempotency;
pub mod identities;
pub mod ids;
pub mod installation;
pub mod invitations;
pub mod issuer;
pub mod issuer_round_trip;
pub mod key_budgets;
pub mod key_cache;
pub mod key_health;
pub mod key_limits;
pub mod key_provider;
pub mod key_rotation;
pub mod key_set;
pub mod key_test;
pub mod keyring_watch;
pub mod leak_reports;
pub mod leaks;
pub mod lease;
#[cfg(test)]
mod lease_model;
pub mod links;
pub mod look_ups;
pub mod mail;
mod mail_text;
pub mod management_tokens;
pub mod mark;
pub mod mark_keeper;
pub mod master_key;
pub mod member_removal;
pub mod members;
pub mod meter;
pub mod minutes;
pub mod model_import;
pub mod models;
pub mod name;
pub mod new_password;
pub mod overview;
pub mod paging;
pub mod policies;
pub mod prices;
pub mod provider_cards;
pub mod provider_limits;
pub mod providers;
pub mod quota;
pub mod redis_link;
pub mod refusals;
pub mod replica;
pub mod restore;
pub mod revocations;
pub mod roles;
pub mod roster;
pub mod scopes;
pub mod scrubber;
pub mod second_factor;
pub mod second_step;
pub mod secret_file;
pub mod sessions;
pub mod spending;
pub mod spending_account;
pub mod spending_bank;
pub mod tags;
pub mod taken;
pub mod throttle;
pub mod usage;
pub mod use_mark;
pub mod warnings;
pub mod webhooks;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use store::Store;
use vault::Entropy;

use self::{
    agent_key_import::ForeignSecrets, callers::Callers, catalog::Catalog, clock::Clock, delivery::Sent,
    installation::KeySource, issuer::Issuer, key_cache::KeyCache, key_health::HealthBook, leak_reports::LeakReports,
    lease::Lease, look_ups::LookUps, mail::Mailer, mark::Keeper, members::PasswordLane, meter::Meter, minutes::Minutes,
    provider_limits::TrafficBook, refusals::RefusalBook, scrubber::Findings, sessions::SignIns, spending::SpendingBook,
    spending_bank::Bank, warnings::Warnings,
};
use crate::{
    egress::{Egress, Pool},
    error::Result,
};

/// What the rules work on. One for each process, shared by all cores.
pub struct Core {
    /// All SQL.
    pub store: Store,
    /// Where keys come from that are new.
    pub key_source: KeySource,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// The way out, for 'test key'.
    pub egress: Arc<Egress>,
    /// Kept connections of the control runtime.
    pub pool: Arc<Pool>,
    /// The longest life of an agent key, in days.
    pub agent_key_max_days: i64,
    /// Whether every member must have a second factor.
    pub require_second_factor: bool,
    /// Who else proves who members are.
    pub issuer: Option<Issuer>,
    /// What e-mail goes out by.
    pub mailer: Option<Mailer>,
    /// Who looks agent keys up in the database.
    pub look_ups: LookUps,
    /// Agent keys that were used lately.
    pub keys: KeyCache,
    /// Whether there are secrets that another product issued.
    pub foreign_secrets: ForeignSecrets,
    /// Until when they may be trusted.
    pub lease: Lease,
    /// This process's id among those that write to the database.
    pub replica_id: String,
    /// Counts calls and tokens.
    pub meter: Meter,
    /// From where keys are called.
    pub callers: Callers,
    /// What those use that have a limit.
    pub spending: SpendingBook,
    /// Writes that down.
    pub bank: Bank,
    /// Whose reports of leaked secrets are believed, if anybody's.
    pub leak_reports: Option<LeakReports>,
    /// What is told of by itself.
    pub warnings: Warnings,
    /// What came of that.
    pub sent: Sent,
    /// What providers answered last about general keys.
    pub health: HealthBook,
    /// What goes on at each provider.
    pub traffic: TrafficBook,
    /// Where passwords are hashed and checked, a few at a time.
    pub passwords: PasswordLane,
    /// Who tries to sign in.
    pub sign_ins: SignIns,
    /// What was tried by those who may not.
    pub refusals: RefusalBook,
    /// Where the rollback mark is kept.
    pub state_dir: PathBuf,
    /// How far the rollback mark has come.
    pub mark: Keeper,
    /// What the last look through all rows found.
    pub findings: Findings,
    /// The runtime that owns the database's connections.
    pub control: tokio::runtime::Handle,
    leaving: AtomicBool,
    catalog: ArcSwap<Catalog>,
    reloading: tokio::sync::Mutex<()>,
}

/// What a [`Core`] is built from.
pub struct CoreParts {
    /// All SQL.
    pub store: Store,
    /// Where keys come from that are new.
    pub key_source: KeySource,
    /// The way out.
    pub egress: Arc<Egress>,
    /// Where the rollback mark is kept.
    pub state_dir: PathBuf,
    /// This process's id among those that write to the database.
    pub replica_id: String,
    /// The longest life of an agent key, in days.
    pub agent_key_max_days: i64,
    /// Whether every member must have a second factor.
    pub require_second_factor: bool,
    /// Who else proves who members are.
    pub issuer: Option<Issuer>,
    /// Whose reports of leaked secrets are believed, if anybody's.
    pub leak_reports: Option<LeakReports>,
    /// Where minutes are counted, if not in the database.
    pub minutes: Option<Minutes>,
    /// What e-mail goes out by.
    pub mailer: Option<Mailer>,
    /// How many cores meter calls.
    pub cores: usize,
}

impl Core {
    /// Builds it, with the catalog still unread: call [`Core::reload`] before the first call. Runs in the runtime
    /// that is to own the database's connections.
    pub fn new(parts: CoreParts) -> Core {
        Core {
            store: parts.store,
            key_source: parts.key_source,
            clock: Clock::default(),
            entropy: Entropy::system(),
            egress: parts.egress,
            pool: Arc::new(Pool::default()),
            agent_key_max_days: parts.agent_key_max_days,
            require_second_factor: parts.require_second_factor,
            issuer: parts.issuer,
            leak_reports: parts.leak_reports,
            mailer: parts.mailer,
            look_ups: LookUps::default(),
            keys: KeyCache::default(),
            foreign_secrets: ForeignSecrets::default(),
            lease: Lease::default(),
            replica_id: parts.replica_id,
            meter: Meter::new(parts.cores),
            callers: Callers::default(),
            spending: SpendingBook::default(),
            bank: Bank::new(parts.minutes),
            warnings: Warnings::default(),
            sent: Sent::default(),
            health: HealthBook::default(),
            traffic: TrafficBook::default(),
            passwords: PasswordLane::default(),
            sign_ins: SignIns::default(),
            refusals: RefusalBook::default(),
            state_dir: parts.state_dir,
            mark: Keeper::default(),
            findings: Findings::default(),
            control: tokio::runtime::Handle::current(),
            leaving: AtomicBool::new(false),
            catalog: ArcSwap::from_pointee(Catalog::unread()),
            reloading: tokio::sync::Mutex::new(()),
        }
    }

    /// Says that this process was told to stop: it answers on, and everybody had better ask somewhere else.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// The catalog as of now.
    pub fn catalog(&self) -> arc_swap::Guard<Arc<Catalog>> {
        self.catalog.load()
    }

    /// Reads providers, models, links and general keys again, and swaps the catalog whole. Where that fails, the
    /// catalog becomes unread: calls get 503 rather than an answer from a state that is gone.
    ///
    /// # Errors
    /// A storage failure; it is logged, and [`Core::reload`] is to be called again.
    pub async fn reload(&self) -> Result<()> {
        let _one_at_a_time = self.reloading.lock().await;
        match catalog::read(self).await {
            Ok(catalog) => {
                self.catalog.store(Arc::new(catalog));
                Ok(())
            }
            Err(error) => {
                error.log("");
                self.catalog.store(Arc::new(Catalog::unread()));
                Err(error)
            }
        }
    }

    /// Swaps the catalog after a change was committed. A failure does not undo the change: it is logged, calls get 503
    /// meanwhile, and the watch of [`crate::app`] heals it.
    pub async fn refresh(&self) {
        if self.reload().await.is_err() {
            tracing::warn!("a change is stored, and will be used as soon as the database can be read again");
        }
    }

    /// Looks whether another product issued some of the secrets.
    ///
    /// # Errors
    /// A storage failure, which is logged.
    pub async fn look_for_foreign_secrets(&self) -> Result<()> {
        let looked = async { self.foreign_secrets.look(&mut self.store.read().await?).await };
        looked.await.inspect_err(|error| error.log(""))
    }

    /// Takes over what another process wrote to the database, without being told what: open streams of keys that are
    /// good no longer end.
    ///
    /// # Errors
    /// As [`Core::reload`].
    pub async fn reload_everything(self: &Arc<Self>) -> Result<()> {
        self.keys.clear();
        self.look_for_foreign_secrets().await?;
        if let Err(error) = agent_key_check::end_streams_of_revoked(self).await {
            error.log("");
            return Err(error);
        }
        self.reload().await
    }
}
