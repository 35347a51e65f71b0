//! Settings: flag, then environment, then `keyward.toml`, then default; parsed once into one struct per topic.

mod flags;
mod key_file;
mod oidc;
mod redis;
mod smtp;
mod source;
mod stop;
mod tls;
mod transit;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

pub use flags::Flags;
use ipnet::IpNet;
pub use key_file::{KeyFileOrigin, MASTER_KEY_CREDENTIAL, MasterKeyFile};
pub use oidc::OidcConfig;
pub use redis::RedisUrl;
pub use smtp::SmtpConfig;
pub use source::{ConfigError, Source};
pub use stop::StopConfig;
pub use tls::TlsConfig;
pub use transit::{TransitConfig, TransitToken};
use url::Url;

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens, and under which names it is reached.
    pub web: WebConfig,
    /// Where it keeps its data.
    pub storage: StorageConfig,
    /// How it calls providers.
    pub upstream: UpstreamConfig,
    /// The longest life of an agent key, in days; also the default.
    pub agent_key_max_days: i64,
    /// Whether every member must have a second factor.
    pub require_second_factor: bool,
    /// Who else proves who members are.
    pub oidc: Option<OidcConfig>,
    /// Where the keys are that reports of leaked secrets are signed with; none where nobody's are believed.
    pub leak_report_keys_url: Option<String>,
    /// Where minutes are counted, if not in the database.
    pub redis_url: Option<RedisUrl>,
    /// What e-mail goes out by.
    pub smtp: Option<SmtpConfig>,
    /// How long a caller may take nothing of the answer that waits for it.
    pub caller_stall_timeout: Duration,
    /// How it goes, once it is told to.
    pub stop: StopConfig,
}

/// Where Keyward listens, and under which names it is reached.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// The address of gateway and verification, and of console and management API where these have none of their own.
    pub listen: SocketAddr,
    /// The URL agents reach it under, and people where the console has no address of its own.
    pub public_url: Url,
    /// Console and management API on an address of their own.
    pub admin: Option<AdminConfig>,
    /// The proxies that are believed when they say whom a request came from.
    pub trusted_proxies: Vec<IpNet>,
    /// Keyward's own certificate, for either address.
    pub tls: Option<TlsConfig>,
    /// Host names, beside the public URL's, that the console answers to.
    pub allowed_hosts: Vec<String>,
}

/// Console and management API on an address of their own.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// The address.
    pub listen: SocketAddr,
    /// The URL people reach it under.
    pub url: Url,
}

impl WebConfig {
    /// The URL people reach the console under.
    pub fn console_url(&self) -> &Url {
        self.admin.as_ref().map_or(&self.public_url, |admin| &admin.url)
    }

    /// Whether the public URL is on this machine only.
    pub fn is_loopback(&self) -> bool {
        match self.public_url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
    }

    /// Takes in the address that was bound, where port 0 asked for any.
    pub fn set_bound(&mut self, bound: SocketAddr) {
        set_port(&mut self.public_url, bound);
        self.listen = bound;
    }

    /// The same for the console's own address.
    pub fn set_admin_bound(&mut self, bound: SocketAddr) {
        if let Some(admin) = &mut self.admin {
            set_port(&mut admin.url, bound);
            admin.listen = bound;
        }
    }

    /// Whether `host` (with or without a port) is a name that console and `/metrics` answer to: an IP literal,
    /// `localhost`, the public URL's host, or one of `allowed_hosts`.
    pub fn serves(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') && port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host.as_str(),
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<std::net::IpAddr>().is_ok()
            || name == "localhost"
            || self.public_url.host_str() == Some(name)
            || self.console_url().host_str() == Some(name)
            || self.allowed_hosts.iter().any(|allowed| allowed == name || *allowed == host)
    }

    /// The public URL as it can be used, without a trailing slash: where it is `0.0.0.0` or `[::]`, which nobody can
    /// call, this machine's own address.
    pub fn base(&self) -> String {
        usable(&self.public_url)
    }

    /// The same of the console's.
    pub fn console_base(&self) -> String {
        usable(self.console_url())
    }

    /// Whether it listens on every address of this machine, and nobody said under which name that is reached.
    pub fn is_nameless(&self) -> bool {
        self.listen.ip().is_unspecified() && self.public_url.host_str() == Some(&host_of(self.listen.ip()))
    }
}

fn set_port(url: &mut Url, bound: SocketAddr) {
    if url.port() == Some(0) {
        // An http URL with a host takes any port.
        url.set_port(Some(bound.port())).unwrap_or_default();
    }
}

fn usable(url: &Url) -> String {
    let mut url = url.clone();
    let loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) if ip.is_unspecified() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(url::Host::Ipv6(ip)) if ip.is_unspecified() => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        _ => None,
    };
    if let Some(ip) = loopback {
        // An http URL takes any address.
        url.set_ip_host(ip).unwrap_or_default();
    }
    url.as_str().trim_end_matches('/').to_owned()
}

/// Where Keyward keeps its data.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// `sqlite:PATH` or `postgres://…`.
    pub database_url: String,
    /// How much of the database this process takes.
    pub database: DatabaseConfig,
    /// Where the rollback mark is kept.
    pub state_dir: PathBuf,
    /// The file that holds the master key.
    pub master_key: MasterKeyFile,
    /// What wraps the keys instead of the master key.
    pub transit: Option<TransitConfig>,
}

/// How many connections to the database, and how long to wait for what.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The most connections to PostgreSQL.
    pub max_connections: u32,
    /// For a connection.
    pub acquire_timeout: Duration,
    /// For a statement, on PostgreSQL.
    pub statement_timeout: Duration,
    /// For what another process is writing.
    pub lock_timeout: Duration,
}

/// How Keyward calls providers.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Whether a base URL may be plain http or a private address.
    pub allow_private: bool,
    /// How long a provider may take until its answer's head is there.
    pub head_timeout: Duration,
    /// How long a provider may stay silent in the middle of an answer.
    pub idle_timeout: Duration,
}

impl Config {
    /// Reads every setting.
    ///
    /// # Errors
    /// [`ConfigError`], naming the setting, what is wrong with it and what it may be.
    pub fn load(source: &Source) -> Result<Config, ConfigError> {
        let listen = source.parsed("listen", "127.0.0.1:8080", parse_address)?;
        let tls = TlsConfig::load(source)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let public_url = source.parsed("public_url", &format!("{scheme}://{listen}"), parse_public_url)?;
        let admin = load_admin(source, listen, scheme)?;
        let data_dir = PathBuf::from(source.text("data_dir", "./keyward-data")?);
        let database_url = match source.secret("database_url")? {
            Some(url) => url,
            None => format!("sqlite:{}", data_dir.join("keyward.db").display()),
        };
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| database_url.starts_with(scheme)) {
            return Err(ConfigError::wrong("database_url", "must start with sqlite: or postgres://"));
        }
        let master_key = MasterKeyFile::load(source, &data_dir)?;
        let transit = TransitConfig::load(source)?;
        if transit.is_none() && master_key.origin == KeyFileOrigin::DataDir && !database_url.starts_with("sqlite:") {
            return Err(ConfigError::wrong(
                "master_key_file",
                "with PostgreSQL the master key is shared by every replica: make one with `keyward master-key new` \
                 and name its file, or hand it over as the systemd credential keyward.master-key",
            ));
        }
        let seconds = |text: &str| {
            text.parse::<u64>()
                .ok()
                .filter(|seconds| (1..=86_400).contains(seconds))
                .map(Duration::from_secs)
                .ok_or_else(|| "a number of seconds from 1 to 86400".to_owned())
        };
        Ok(Config {
            storage: StorageConfig {
                state_dir: source.optional("state_dir")?.map_or_else(|| data_dir.clone(), PathBuf::from),
                master_key,
                transit,
                data_dir,
                database_url,
                database: DatabaseConfig {
                    max_connections: source.parsed("database_max_connections", "16", |text| {
                        text.parse::<u32>()
                            .ok()
                            .filter(|count| (2..=1000).contains(count))
                            .ok_or_else(|| "a number of connections from 2 to 1000".to_owned())
                    })?,
                    acquire_timeout: source.parsed("database_acquire_timeout_seconds", "5", seconds)?,
                    statement_timeout: source.parsed("database_statement_timeout_seconds", "10", seconds)?,
                    lock_timeout: source.parsed("database_lock_timeout_seconds", "3", seconds)?,
                },
            },
            upstream: UpstreamConfig {
                allow_private: source.parsed("allow_private_upstreams", "false", parse_bool)?,
                head_timeout: source.parsed("upstream_head_timeout_seconds", "600", seconds)?,
                idle_timeout: source.parsed("upstream_idle_timeout_seconds", "600", seconds)?,
            },
            caller_stall_timeout: source.parsed("caller_stall_timeout_seconds", "60", seconds)?,
            stop: StopConfig::load(source)?,
            agent_key_max_days: source.parsed("agent_key_max_days", "90", |text| {
                text.parse::<i64>()
                    .ok()
                    .filter(|days| (1..=3650).contains(days))
                    .ok_or_else(|| "a number of days from 1 to 3650".to_owned())
            })?,
            require_second_factor: source.parsed("require_second_factor", "false", parse_bool)?,
            oidc: OidcConfig::load(source)?,
            leak_report_keys_url: source.optional("leak_report_keys_url")?,
            redis_url: RedisUrl::load(source)?,
            smtp: SmtpConfig::load(source)?,
            web: WebConfig {
                listen,
                public_url,
                admin,
                trusted_proxies: source.parsed("trusted_proxies", "", parse_networks)?,
                tls,
                allowed_hosts: source
                    .text("allowed_hosts", "")?
                    .split([',', ' '])
                    .filter(|host| !host.is_empty())
                    .map(str::to_lowercase)
                    .collect(),
            },
        })
    }
}

fn load_admin(source: &Source, listen: SocketAddr, scheme: &str) -> Result<Option<AdminConfig>, ConfigError> {
    let Some(text) = source.optional("admin_listen")? else {
        return match source.optional("admin_url")? {
            None => Ok(None),
            Some(_) => Err(ConfigError::wrong(
                "admin_url",
                "is for a console with an address of its own; set KEYWARD_ADMIN_LISTEN as well, or KEYWARD_PUBLIC_URL \
                 instead",
            )),
        };
    };
    let admin_listen = source.parsed("admin_listen", &text, parse_address)?;
    if admin_listen == listen && listen.port() != 0 {
        return Err(ConfigError::wrong(
            "admin_listen",
            "is the same address as KEYWARD_LISTEN; unset it to have everything on one address",
        ));
    }
    let url = source.parsed("admin_url", &format!("{scheme}://{admin_listen}"), parse_public_url)?;
    Ok(Some(AdminConfig { listen: admin_listen, url }))
}

/// Networks, or single addresses, separated by commas or spaces.
fn parse_networks(text: &str) -> Result<Vec<IpNet>, String> {
    let networks = text.split([',', ' ']).filter(|network| !network.is_empty());
    let parsed = networks.map(|text| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)));
    parsed
        .collect::<Result<_, _>>()
        .map_err(|_| "a list of networks or addresses, for example 10.0.0.0/8, 192.0.2.7".to_owned())
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address and a port, for example 127.0.0.1:8080".to_owned())
}

/// An address as the host of a URL.
fn host_of(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

fn parse_public_url(text: &str) -> Result<Url, String> {
    let expected = "an http or https URL without a path, for example https://keyward.example.com";
    let url = Url::parse(text).map_err(|_| expected.to_owned())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty();
    if plain { Ok(url) } else { Err(expected.to_owned()) }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true or false".to_owned()),
    }
}
