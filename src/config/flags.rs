//! Settings as flags of the command line.

use std::path::PathBuf;

use clap::Args;

/// Settings as flags; each has an environment variable `KEYWARD_…` and a key in `keyward.toml` of the same name.
#[derive(Debug, Default, Clone, Args)]
pub struct Flags {
    /// Configuration file [default: keyward.toml in the working directory, if there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Data directory [default: ./keyward-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// sqlite:PATH or postgres://… [default: a file in the data directory]
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Most connections to PostgreSQL, beside two that tell of changes [default: 16]
    #[arg(long, global = true, value_name = "COUNT")]
    pub database_max_connections: Option<String>,
    /// How long to wait for a connection to the database, in seconds [default: 5]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub database_acquire_timeout_seconds: Option<String>,
    /// How long a statement may take on PostgreSQL, in seconds [default: 10]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub database_statement_timeout_seconds: Option<String>,
    /// How long to wait for what another process is writing, in seconds [default: 3]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub database_lock_timeout_seconds: Option<String>,
    /// Directory of the rollback mark, best outside backups [default: the data directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// File with the master key [default: master.key in the data directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub master_key_file: Option<String>,
    /// URL of the Vault or OpenBao whose transit engine wraps the keys [default: the master key does]
    #[arg(long, global = true, value_name = "URL")]
    pub transit_url: Option<String>,
    /// Name of the transit key
    #[arg(long, global = true, value_name = "NAME")]
    pub transit_key: Option<String>,
    /// Where the transit engine is mounted [default: transit]
    #[arg(long, global = true, value_name = "PATH")]
    pub transit_mount: Option<String>,
    /// Namespace of the transit engine
    #[arg(long, global = true, value_name = "NAME")]
    pub transit_namespace: Option<String>,
    /// File with the token that the transit engine is called with
    #[arg(long, global = true, value_name = "FILE")]
    pub transit_token_file: Option<String>,
    /// File with the authorities, as PEM, that its certificate may come from [default: the system's]
    #[arg(long, global = true, value_name = "FILE")]
    pub transit_ca_file: Option<String>,
    /// Allow a transit engine at a private address [default: false]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub transit_allow_private: Option<String>,
    /// URL that people and agents reach Keyward under [default: from the listen address]
    #[arg(long, global = true, value_name = "URL")]
    pub public_url: Option<String>,
    /// Address of console and management API, where they have one of their own
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// URL that people reach that console under [default: from its address]
    #[arg(long, global = true, value_name = "URL")]
    pub admin_url: Option<String>,
    /// File with the certificate to speak TLS with, and its chain, as PEM [default: plain HTTP]
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_cert_file: Option<String>,
    /// File with the certificate's private key, as PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_key_file: Option<String>,
    /// Networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, separated by commas
    #[arg(long, global = true, value_name = "NETWORKS")]
    pub trusted_proxies: Option<String>,
    /// Allow providers on private addresses and plain http [default: false]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub allow_private_upstreams: Option<String>,
    /// Longest life of an agent key in days [default: 90]
    #[arg(long, global = true, value_name = "DAYS")]
    pub agent_key_max_days: Option<String>,
    /// Let members do nothing until they have a second factor [default: false]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub require_second_factor: Option<String>,
    /// Issuer of OpenID Connect that members can sign in with [default: none]
    #[arg(long, global = true, value_name = "URL")]
    pub oidc_issuer: Option<String>,
    /// What the issuer calls this Keyward; its secret comes from the environment or a file
    #[arg(long, global = true, value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// What the issuer is asked for beside openid [default: email profile]
    #[arg(long, global = true, value_name = "SCOPES")]
    pub oidc_scopes: Option<String>,
    /// Claim of the issuer's token that holds the groups [default: groups]
    #[arg(long, global = true, value_name = "CLAIM")]
    pub oidc_groups_claim: Option<String>,
    /// Groups with the roles they give, for example platform-admins=admin,llm-ops=operator
    #[arg(long, global = true, value_name = "MAP")]
    pub oidc_role_map: Option<String>,
    /// What members call the issuer, on the button [default: its host]
    #[arg(long, global = true, value_name = "NAME")]
    pub oidc_name: Option<String>,
    /// Allow an issuer on a private address or plain http [default: false]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub oidc_allow_private: Option<String>,
    /// Mail server that warnings go to by e-mail, smtps://HOST or smtp://HOST [default: none]
    #[arg(long, global = true, value_name = "URL")]
    pub smtp_url: Option<String>,
    /// Who signs in to the mail server; the password comes from the environment or a file
    #[arg(long, global = true, value_name = "NAME")]
    pub smtp_user: Option<String>,
    /// Mailbox that e-mail comes from, for example Keyward <keyward@example.com>
    #[arg(long, global = true, value_name = "MAILBOX")]
    pub smtp_from: Option<String>,
    /// Allow a mail server at a private address [default: false]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub smtp_allow_private: Option<String>,
    /// URL of the keys that reports of leaked secrets (POST /leaks) are signed with; GitHub's are at
    /// https://api.github.com/meta/public_keys/secret_scanning [default: none are taken]
    #[arg(long, global = true, value_name = "URL")]
    pub leak_report_keys_url: Option<String>,
    /// Further host names that the console answers to, separated by commas
    #[arg(long, global = true, value_name = "HOSTS")]
    pub allowed_hosts: Option<String>,
    /// How long a provider may take to start its answer, in seconds [default: 600]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub upstream_head_timeout_seconds: Option<String>,
    /// How long a provider may stay silent within its answer, in seconds [default: 600]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub upstream_idle_timeout_seconds: Option<String>,
    /// How long a caller may take nothing of its answer, in seconds [default: 60]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub caller_stall_timeout_seconds: Option<String>,
    /// How long to go on answering after SIGTERM while /readyz says no, in seconds [default: 0]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub drain_seconds: Option<String>,
    /// How long open calls may go on once it stops, in seconds [default: 9]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub stop_timeout_seconds: Option<String>,
    /// What to log, for example debug or keyward=trace [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
}
