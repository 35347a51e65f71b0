//! The servers of the side-by-side: a mock provider, nginx as a proxy, nginx as a gate, and Keyward.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::http::{Connection, member};
use super::process::Running;
use super::{free_port, seed, wait_for, wrk};
use crate::shell;

/// The general key's value in this benchmark.
const PROVIDER_KEY: &str = "sk-bench-value-of-the-general-key";

/// Something that listens.
#[derive(Clone)]
pub struct Site {
    /// For messages.
    pub name: &'static str,
    /// Where.
    pub port: u16,
    /// What it costs.
    pub process: Arc<Running>,
}

/// A provider that answers every call with the same 450 bytes.
pub fn upstream(folder: &Path) -> Result<Site, String> {
    let answer = chat_answer();
    nginx(folder, "upstream", |port| {
        format!(
            "server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000; default_type application/json; \
             location / {{ return 200 '{answer}'; }} }}"
        )
    })
}

/// 450 bytes of a chat completion.
fn chat_answer() -> String {
    let answer = |padding: usize| {
        format!(
            "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"small\",\
             \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"logprobs\":null,\
             \"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21}}}}",
            "x".repeat(padding)
        )
    };
    answer(450 - answer(0).len())
}

/// The reference: a map of keys, the header replaced, kept connections to the provider, one worker.
pub fn nginx_proxy(folder: &Path, provider: u16, secret: &str) -> Result<Site, String> {
    nginx(folder, "proxy", |port| {
        format!(
            "map $http_authorization $provider_key {{ default ''; 'Bearer {secret}' 'Bearer {PROVIDER_KEY}'; }}\n\
             upstream provider {{ server 127.0.0.1:{provider}; keepalive 1024; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000;\n\
             location / {{ if ($provider_key = '') {{ return 401; }}\n\
             proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection '';\n\
             proxy_set_header Authorization $provider_key; proxy_buffering off; }} }}"
        )
    })
}

/// The reference for a verification: a map of keys and `return 200`.
pub fn nginx_gate(folder: &Path, secret: &str) -> Result<Site, String> {
    nginx(folder, "gate", |port| {
        format!(
            "map $http_authorization $known {{ default ''; 'Bearer {secret}' yes; }}\n\
             server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000;\n\
             location / {{ if ($known = '') {{ return 401; }} return 200; }} }}"
        )
    })
}

fn nginx(folder: &Path, name: &'static str, http: impl Fn(u16) -> String) -> Result<Site, String> {
    let port = free_port()?;
    let folder = folder.join(name);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let place = folder.display();
    let text = format!(
        "daemon off;\nworker_processes 1;\npid {place}/pid;\nerror_log {place}/error.log warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\nclient_body_temp_path {place}/b;\n\
         proxy_temp_path {place}/p;\nfastcgi_temp_path {place}/f;\nuwsgi_temp_path {place}/u;\nscgi_temp_path {place}/s;\n\
         map_hash_bucket_size 256;\n{}\n}}\n",
        http(port)
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, text).map_err(|error| error.to_string())?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&path).arg("-e").arg(folder.join("early.log")).stdin(Stdio::null());
    let mut process = Running::start(command)?;
    wait_for(port, &mut process, name)?;
    Ok(Site { name, port, process: Arc::new(process) })
}

/// Where a Keyward keeps its data.
#[derive(Debug, Clone)]
struct Home {
    folder: PathBuf,
    port: u16,
    /// PostgreSQL's URL, where it is not SQLite in the folder.
    database: Option<String>,
}

/// How many keys it has beside the one of each kind that calls need.
#[derive(Debug, Clone, Copy, Default)]
pub struct Holding {
    /// Agent keys.
    pub agent_keys: usize,
    /// General keys.
    pub general_keys: usize,
}

/// The release build, with a general key, a provider, a model and an agent key, made over REST.
pub struct Keyward {
    site: Site,
    home: Home,
    started_in: Duration,
    token: String,
    agent_secret: String,
    secrets: Vec<String>,
}

/// What the usage says.
pub struct Counted {
    /// Calls.
    pub calls: u64,
    /// Tokens the models answered.
    pub output_tokens: u64,
}

impl Keyward {
    /// Starts it on a fresh directory.
    pub fn start(folder: &Path, upstream: u16) -> Result<Self, String> {
        Self::start_with(folder, upstream, Holding::default())
    }

    /// The same with that many keys.
    pub fn start_with(folder: &Path, upstream: u16, holding: Holding) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let home = Home { folder: folder.to_owned(), port: free_port()?, database: None };
        let (member_id, token) = home.bootstrap()?;
        let mut secrets = seed::agent_keys(&folder.join("data"), &member_id, holding.agent_keys)?;
        let (site, started_in) = home.serve()?;
        let agent_secret = furnish(home.port, &token, upstream, holding.general_keys)?;
        if secrets.is_empty() {
            secrets.push(agent_secret.clone());
        }
        Ok(Self { site, home, started_in, token, agent_secret, secrets })
    }

    /// Moves its installation to an empty database of PostgreSQL, and starts it there; how long the move took.
    pub fn moved_to(self, url: &str) -> Result<(Self, Duration), String> {
        let Self { site, mut home, token, agent_secret, secrets, .. } = self;
        // Stops it: nobody else has it.
        drop(site);
        let begun = Instant::now();
        let mut command = home.command(&["migrate-database", "--to", url]);
        let done = command.output().map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err(format!("migrate-database: {}", String::from_utf8_lossy(&done.stderr)));
        }
        let took = begun.elapsed();
        home.database = Some(url.to_owned());
        let (site, started_in) = home.serve()?;
        Ok((Self { site, home, started_in, token, agent_secret, secrets }, took))
    }

    /// Starts it again; until it answers is then [`Keyward::started_in`].
    pub fn restarted(self) -> Result<Self, String> {
        let Self { site, home, token, agent_secret, secrets, .. } = self;
        drop(site);
        let (site, started_in) = home.serve()?;
        Ok(Self { site, home, started_in, token, agent_secret, secrets })
    }

    /// How long it took from its start until it was ready.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The gateway.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Verification, on the same port.
    pub fn verification(&self) -> Site {
        self.site.clone()
    }

    /// The agent key.
    pub fn agent_secret(&self) -> &str {
        &self.agent_secret
    }

    /// Another agent key, with each kind of limit and none of them reached.
    pub fn limited_agent_secret(&self) -> Result<String, String> {
        let body = "{\"name\":\"limited\",\"limits\":{\"requests_per_minute\":1000000,\"tokens_per_minute\":1000000000000,\
                    \"calls_in_flight\":1000000,\"budgets\":[{\"period\":\"month\",\"unit\":\"tokens\",\"amount\":1000000000000}]}}";
        let mut connection = Connection::open(self.site.port)?;
        let (status, answer) = connection.call("POST", "/api/v1/agent-keys", &self.token, body)?;
        if status == 201 { Ok(member(&answer, "secret")?.to_owned()) } else { Err(format!("{status} {answer}")) }
    }

    /// Secrets of agent keys spread over all there are.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// How long a page takes that a management token may read, of fifty: half of them, and one in a hundred, in
    /// milliseconds.
    pub fn page_ms(&self, path: &str) -> Result<(f64, f64), String> {
        let mut connection = Connection::open(self.site.port)?;
        let mut took = Vec::new();
        for _ in 0..50 {
            let begun = Instant::now();
            let (status, body) = connection.call("GET", path, &self.token, "")?;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
            if status != 200 {
                return Err(format!("{path}: {status} {body}"));
            }
        }
        took.sort_by(f64::total_cmp);
        Ok((took[took.len() / 2], took[took.len() - 1]))
    }

    /// Whether every call that was answered was counted: exactly for calls of our own, and for wrk's up to the
    /// calls it had under way when its time was up.
    pub fn check_usage(&self, answered_by_wrk: u64, under_way: u64) -> Result<(), String> {
        let least = answered_by_wrk;
        let counted = self.counted()?.calls;
        if counted < least || counted > least + under_way {
            return Err(format!(
                "usage says {counted} calls; wrk saw {least} answers and left at most {under_way} open"
            ));
        }
        const OWN: u64 = 10_000;
        let mut connection = Connection::open(self.site.port)?;
        for _ in 0..OWN {
            let (status, body) =
                connection.call("POST", "/v1/chat/completions", &self.agent_secret, &wrk::chat_body())?;
            if status != 200 {
                return Err(format!("{status} {body}"));
            }
        }
        let after = self.counted()?.calls;
        println!(
            "usage: {counted} calls counted, {least} seen by wrk; then {OWN} more made, {} more counted",
            after - counted
        );
        if after - counted == OWN { Ok(()) } else { Err("the usage counted is not the calls answered".to_owned()) }
    }

    /// What the usage says once it stands still.
    pub fn counted(&self) -> Result<Counted, String> {
        let mut before = None;
        for _ in 0..60 {
            let (status, body) =
                Connection::open(self.site.port)?.call("GET", "/api/v1/usage?group_by=provider", &self.token, "")?;
            let now = (status == 200).then(|| body.clone());
            if now.is_some() && now == before {
                let number = |name: &str| member(&body, name)?.parse().map_err(|_| format!("no {name} in {body}"));
                return Ok(Counted { calls: number("requests")?, output_tokens: number("output_tokens")? });
            }
            before = now;
            std::thread::sleep(Duration::from_secs(3));
        }
        Err("the usage does not come to rest".to_owned())
    }
}

impl Home {
    fn command(&self, arguments: &[&str]) -> Command {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from);
        let data = self.folder.join("data");
        let mut command = Command::new(target.join("release/keyward"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("KEYWARD_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("KEYWARD_DATA_DIR", &data);
        if let Some(url) = &self.database {
            command.env("KEYWARD_DATABASE_URL", url).env("KEYWARD_MASTER_KEY_FILE", data.join("master.key"));
        }
        command
    }

    /// The first member and a management token.
    fn bootstrap(&self) -> Result<(String, String), String> {
        let arguments = ["bootstrap", "--email", "owner@example.com", "--password-stdin", "--token-name", "bench"];
        let mut command = self.command(&arguments);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        { stdin }.write_all(b"a password for benchmarks only\n").map_err(|error| error.to_string())?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((member(&printed, "member_id")?.to_owned(), member(&printed, "token")?.to_owned()))
    }

    /// Starts it; how long it took until it was ready.
    fn serve(&self) -> Result<(Site, Duration), String> {
        let mut command = self.command(&["serve"]);
        command.stdin(Stdio::null());
        let log = || File::create(self.folder.join("keyward.log")).map_err(|error| error.to_string());
        command.stdout(log()?).stderr(log()?);
        let begun = Instant::now();
        let mut process = Running::start(command)?;
        wait_for(self.port, &mut process, "Keyward")?;
        // It listens once it can answer; `/readyz` says so.
        while Connection::open(self.port)?.call("GET", "/readyz", "", "")?.0 != 200 {
            std::thread::sleep(Duration::from_millis(2));
        }
        let site = Site { name: "Keyward", port: self.port, process: Arc::new(process) };
        Ok((site, begun.elapsed()))
    }
}

/// All that a call needs, and general keys beside it; the agent key's secret.
fn furnish(port: u16, token: &str, upstream: u16, general_keys: usize) -> Result<String, String> {
    let mut connection = Connection::open(port)?;
    let mut make = |path: &str, body: String| {
        let (status, answer) = connection.call("POST", &format!("/api/v1{path}"), token, &body)?;
        if status == 201 { Ok(answer) } else { Err(format!("{path}: {status} {answer}")) }
    };
    for number in 0..general_keys {
        make("/general-keys", format!("{{\"name\":\"BENCH_{number}\",\"value\":\"{PROVIDER_KEY}-{number}\"}}"))?;
    }
    let key = make("/general-keys", format!("{{\"name\":\"BENCH\",\"value\":\"{PROVIDER_KEY}\"}}"))?;
    let provider = make(
        "/providers",
        format!(
            "{{\"name\":\"mock\",\"kind\":\"openai-compatible\",\"base_url\":\"http://127.0.0.1:{upstream}/v1\",\
             \"general_key_id\":\"{}\"}}",
            member(&key, "id")?
        ),
    )?;
    make("/models", format!("{{\"name\":\"small\",\"provider_id\":\"{}\"}}", member(&provider, "id")?))?;
    let agent = make("/agent-keys", "{\"name\":\"bench\"}".to_owned())?;
    member(&agent, "secret").map(str::to_owned)
}
