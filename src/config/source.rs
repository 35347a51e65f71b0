//! Where a setting comes from: flag, environment, file, default.

use std::{collections::BTreeMap, ffi::OsString, fs, path::PathBuf};

use super::flags::Flags;

/// Every name that may stand in `keyward.toml`.
const NAMES: [&str; 53] = [
    "listen",
    "data_dir",
    "database_url",
    "database_url_file",
    "database_max_connections",
    "database_acquire_timeout_seconds",
    "database_statement_timeout_seconds",
    "database_lock_timeout_seconds",
    "state_dir",
    "master_key_file",
    "transit_url",
    "transit_key",
    "transit_mount",
    "transit_namespace",
    "transit_token",
    "transit_token_file",
    "transit_ca_file",
    "transit_allow_private",
    "public_url",
    "admin_listen",
    "admin_url",
    "tls_cert_file",
    "tls_key_file",
    "trusted_proxies",
    "allow_private_upstreams",
    "agent_key_max_days",
    "require_second_factor",
    "oidc_issuer",
    "oidc_client_id",
    "oidc_client_secret",
    "oidc_client_secret_file",
    "oidc_scopes",
    "oidc_groups_claim",
    "oidc_role_map",
    "oidc_name",
    "oidc_allow_private",
    "leak_report_keys_url",
    "redis_url",
    "redis_url_file",
    "smtp_url",
    "smtp_user",
    "smtp_password",
    "smtp_password_file",
    "smtp_from",
    "smtp_allow_private",
    "allowed_hosts",
    "upstream_head_timeout_seconds",
    "upstream_idle_timeout_seconds",
    "caller_stall_timeout_seconds",
    "drain_seconds",
    "stop_timeout_seconds",
    "log",
    "log_format",
];

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ConfigError {
    setting: String,
    problem: String,
}

impl ConfigError {
    /// A setting that cannot stay as it is, and why.
    pub fn wrong(name: &str, why: &str) -> ConfigError {
        ConfigError { setting: env_name(name), problem: why.to_owned() }
    }
}

/// Flags, environment and file, ready to be asked.
pub struct Source {
    flags: BTreeMap<&'static str, String>,
    env: BTreeMap<String, String>,
    file: toml::Table,
    /// Where systemd puts what `LoadCredential=` and `LoadCredentialEncrypted=` name.
    credentials: Option<PathBuf>,
}

impl Source {
    /// Reads the file and takes in the flags and the environment.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that cannot be read, an unknown setting in it or in the environment, or a variable
    /// that is not UTF-8.
    pub fn new(flags: &Flags, env: impl Iterator<Item = (OsString, OsString)>) -> Result<Source, ConfigError> {
        let env: BTreeMap<String, OsString> = env
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let credentials = env.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let env: BTreeMap<String, String> = env
            .into_iter()
            .filter(|(name, _)| name.starts_with("KEYWARD_"))
            .map(|(name, value)| match value.into_string() {
                Ok(value) => Ok((name, value)),
                Err(_) => Err(ConfigError { setting: name, problem: "is not UTF-8".to_owned() }),
            })
            .collect::<Result<_, _>>()?;
        check_variables(&env)?;
        let flags = [
            ("config", &flags.config.as_ref().map(|path| path.display().to_string())),
            ("listen", &flags.listen),
            ("data_dir", &flags.data_dir),
            ("database_url", &flags.database_url),
            ("database_max_connections", &flags.database_max_connections),
            ("database_acquire_timeout_seconds", &flags.database_acquire_timeout_seconds),
            ("database_statement_timeout_seconds", &flags.database_statement_timeout_seconds),
            ("database_lock_timeout_seconds", &flags.database_lock_timeout_seconds),
            ("state_dir", &flags.state_dir),
            ("master_key_file", &flags.master_key_file),
            ("transit_url", &flags.transit_url),
            ("transit_key", &flags.transit_key),
            ("transit_mount", &flags.transit_mount),
            ("transit_namespace", &flags.transit_namespace),
            ("transit_token_file", &flags.transit_token_file),
            ("transit_ca_file", &flags.transit_ca_file),
            ("transit_allow_private", &flags.transit_allow_private),
            ("public_url", &flags.public_url),
            ("admin_listen", &flags.admin_listen),
            ("admin_url", &flags.admin_url),
            ("tls_cert_file", &flags.tls_cert_file),
            ("tls_key_file", &flags.tls_key_file),
            ("trusted_proxies", &flags.trusted_proxies),
            ("allow_private_upstreams", &flags.allow_private_upstreams),
            ("agent_key_max_days", &flags.agent_key_max_days),
            ("require_second_factor", &flags.require_second_factor),
            ("oidc_issuer", &flags.oidc_issuer),
            ("oidc_client_id", &flags.oidc_client_id),
            ("oidc_scopes", &flags.oidc_scopes),
            ("oidc_groups_claim", &flags.oidc_groups_claim),
            ("oidc_role_map", &flags.oidc_role_map),
            ("leak_report_keys_url", &flags.leak_report_keys_url),
            ("oidc_name", &flags.oidc_name),
            ("oidc_allow_private", &flags.oidc_allow_private),
            ("smtp_url", &flags.smtp_url),
            ("smtp_user", &flags.smtp_user),
            ("smtp_from", &flags.smtp_from),
            ("smtp_allow_private", &flags.smtp_allow_private),
            ("allowed_hosts", &flags.allowed_hosts),
            ("upstream_head_timeout_seconds", &flags.upstream_head_timeout_seconds),
            ("upstream_idle_timeout_seconds", &flags.upstream_idle_timeout_seconds),
            ("caller_stall_timeout_seconds", &flags.caller_stall_timeout_seconds),
            ("drain_seconds", &flags.drain_seconds),
            ("stop_timeout_seconds", &flags.stop_timeout_seconds),
            ("log", &flags.log),
            ("log_format", &flags.log_format),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect();
        let file = read_file(&config_file(&flags, &env))?;
        Ok(Source { flags, env, file, credentials })
    }

    /// A setting as text, or its default.
    ///
    /// # Errors
    /// [`ConfigError`] for a value in the file that is not a string, a number or a boolean.
    pub fn text(&self, name: &'static str, default: &str) -> Result<String, ConfigError> {
        Ok(self.optional(name)?.unwrap_or_else(|| default.to_owned()))
    }

    /// A setting as text, if it is set anywhere.
    ///
    /// # Errors
    /// As [`Source::text`].
    pub fn optional(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        if let Some(value) = self.flags.get(name).or_else(|| self.env.get(&env_name(name))) {
            return Ok(Some(value.clone()));
        }
        match self.file.get(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text.clone())),
            Some(toml::Value::Integer(number)) => Ok(Some(number.to_string())),
            Some(toml::Value::Boolean(flag)) => Ok(Some(flag.to_string())),
            Some(toml::Value::Array(items)) => {
                Ok(Some(items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")))
            }
            Some(_) => Err(ConfigError {
                setting: format!("{name} in keyward.toml"),
                problem: "must be a string, a number or a boolean".to_owned(),
            }),
        }
    }

    /// A secret setting: given itself, or by the name of a file that holds it (`NAME_FILE`), not both.
    ///
    /// # Errors
    /// [`ConfigError`] where both are set, or the file cannot be read.
    pub fn secret(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let file_setting = format!("{name}_file");
        let file = self
            .env
            .get(&env_name(&file_setting))
            .cloned()
            .or_else(|| self.file.get(&file_setting).and_then(toml::Value::as_str).map(str::to_owned));
        match (self.optional(name)?, file) {
            (Some(_), Some(_)) => Err(ConfigError {
                setting: env_name(name),
                problem: format!("both it and {} are set; keep one", env_name(&file_setting)),
            }),
            (Some(value), None) => Ok(Some(value)),
            (None, Some(path)) => match fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text.trim_end().to_owned())),
                Err(error) => Err(ConfigError {
                    setting: env_name(&file_setting),
                    problem: format!("cannot read {path}: {error}"),
                }),
            },
            (None, None) => Ok(None),
        }
    }

    /// The file of a systemd credential, where this service has one of that name.
    pub fn credential(&self, name: &str) -> Option<PathBuf> {
        let path = self.credentials.as_ref()?.join(name);
        // One that cannot be looked at is there: it is not to be gone around.
        (!matches!(path.try_exists(), Ok(false))).then_some(path)
    }

    /// A setting, parsed; `parse` answers what it may be where it is not that.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting, its value and what it may be.
    pub fn parsed<T>(
        &self,
        name: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let text = self.text(name, default)?;
        parse(&text)
            .map_err(|expected| ConfigError { setting: env_name(name), problem: format!("{text:?} is not {expected}") })
    }
}

fn check_variables(env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let mut known: Vec<String> = NAMES.iter().map(|name| env_name(name)).collect();
    known.push(env_name("config"));
    for (name, value) in env.iter().filter(|(name, _)| !known.contains(name)) {
        if !is_link(name, value) {
            let problem = format!("there is no such setting; there are {}", known.join(", "));
            return Err(ConfigError { setting: name.clone(), problem });
        }
    }
    Ok(())
}

/// Whether Kubernetes set a variable, as it does in every container for every service: for one named `keyward`,
/// `KEYWARD_SERVICE_HOST`, `KEYWARD_SERVICE_PORT_HTTP`, `KEYWARD_PORT=tcp://…`, `KEYWARD_PORT_8080_TCP_ADDR`, ….
fn is_link(name: &str, value: &str) -> bool {
    let numbered = name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    let url = name.ends_with("_PORT") && value.contains("://");
    name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || numbered || url
}

fn env_name(name: &str) -> String {
    format!("KEYWARD_{}", name.to_uppercase())
}

fn read_file(path: &ConfigFile) -> Result<toml::Table, ConfigError> {
    let text = match fs::read_to_string(&path.path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.named => return Ok(toml::Table::new()),
        Err(error) => {
            return Err(ConfigError {
                setting: path.path.display().to_string(),
                problem: format!("cannot be read: {error}"),
            });
        }
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError {
        setting: path.path.display().to_string(),
        problem: error.message().to_owned(),
    })?;
    match table.keys().find(|key| !NAMES.contains(&key.as_str())) {
        Some(unknown) => Err(ConfigError {
            setting: path.path.display().to_string(),
            problem: format!("there is no setting {unknown:?}; there are {}", NAMES.join(", ")),
        }),
        None => Ok(table),
    }
}

struct ConfigFile {
    path: PathBuf,
    named: bool,
}

fn config_file(flags: &BTreeMap<&'static str, String>, env: &BTreeMap<String, String>) -> ConfigFile {
    match flags.get("config").or_else(|| env.get("KEYWARD_CONFIG")) {
        Some(path) => ConfigFile { path: PathBuf::from(path), named: true },
        None => ConfigFile { path: PathBuf::from("keyward.toml"), named: false },
    }
}
