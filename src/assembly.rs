//! Builds the rules and what they work on from the settings: for the server and for commands alike.

use std::{sync::Arc, time::Duration};

use store::Store;
use vault::Entropy;
use zeroize::Zeroizing;

use crate::{
    config::Config,
    domain::{
        Core, CoreParts,
        clock::Clock,
        ids,
        installation::{self, KeySource},
        issuer::{self, Issuer},
        leak_reports::LeakReports,
        mail::Mailer,
        minutes::Minutes,
        roles::Role,
    },
    egress::{AddressPolicy, Egress, Patience, Smtp, SmtpLogin, SmtpSettings},
};

/// How long a connection to a provider may take where it sets nothing else.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why Keyward does not start; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

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
