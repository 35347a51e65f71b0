//! `cargo xtask prove revocation`: three servers on one PostgreSQL, thousands of revocations at the first one, and for
//! each of them the last call that any server still accepted.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::bench::free_port;
use crate::bench::http::{Connection, member};
use crate::postgres::Cluster;
use crate::proxy::Proxy;
use crate::{install, shell};

/// How long after a revocation was answered a call may still be accepted: at the server that answered, at others, at
/// one that is cut off.
const BOUNDS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];
/// Keys that are revoked one after the other while all are called.
const BATCH: usize = 50;
/// Threads that call each server.
const CALLERS: usize = 2;

/// What happens to the third server meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    Connected,
    Cut,
    Stalled,
    Restarted,
}

/// `revocation [--debug] [COUNT]`.
pub fn run(options: &[&str]) -> Result<(), String> {
    let (profile, options) = match options {
        ["--debug", rest @ ..] => ("debug", rest),
        rest => ("release", rest),
    };
    let count: usize = match options {
        [] => 3_000,
        [text] => text.parse().map_err(|_| format!("not a number: {text}"))?,
        _ => return Err(String::from("usage: cargo xtask prove revocation [--debug] [COUNT]")),
    };
    install::debian(&["postgresql"])?;
    let release: &[&str] = if profile == "release" { &["--release"] } else { &[] };
    shell::step("cargo", &[&["build", "--package", "keyward", "--bin", "keyward"], release].concat())?;
    let folder = shell::root().join("target/prove-revocation");
    let _ = fs::remove_dir_all(&folder);
    let mut world = World::start(&folder, profile)?;
    let mut figures = Vec::new();
    // Of ten batches seven are revoked with all connected, one each in the other scenes.
    let scenes = [Scene::Connected; 7].into_iter().chain([Scene::Cut, Scene::Stalled, Scene::Restarted]).cycle();
    for (number, scene) in scenes.take(count.div_ceil(BATCH).max(10)).enumerate() {
        figures.extend(world.batch(number, scene)?);
    }
    report(figures)
}

/// One revocation seen at one server.
struct Figure {
    scene: Scene,
    bound: usize,
    late: Duration,
}

fn report(figures: Vec<Figure>) -> Result<(), String> {
    let mut is_kept = true;
    let scenes = [Scene::Connected, Scene::Cut, Scene::Stalled, Scene::Restarted];
    for (scene, bound) in scenes.into_iter().flat_map(|scene| (0..BOUNDS.len()).map(move |bound| (scene, bound))) {
        let of_these = figures.iter().filter(|figure| figure.scene == scene && figure.bound == bound);
        let mut late: Vec<f64> = of_these.map(|figure| figure.late.as_secs_f64() * 1e3).collect();
        late.sort_by(f64::total_cmp);
        let Some(longest) = late.last() else { continue };
        let at = |share: f64| late[((late.len() - 1) as f64 * share).round() as usize];
        let place = ["the server that revoked", "another server", "the server that was cut off"][bound];
        println!(
            "{scene:?}, {place}: {} revocations; last accepted call after it: p50 {:.1} ms, p99 {:.1} ms, longest {longest:.1} ms \
             (bound {} ms)",
            late.len(),
            at(0.5),
            at(0.99),
            BOUNDS[bound].as_millis()
        );
        is_kept &= *longest <= BOUNDS[bound].as_secs_f64() * 1e3;
    }
    if is_kept { Ok(()) } else { Err(String::from("a revoked key was accepted past the bound")) }
}

/// Three servers, the third one behind a proxy.
struct World {
    _cluster: Cluster,
    proxy: Arc<Proxy>,
    nodes: Vec<Node>,
    token: String,
    start: Instant,
}

impl World {
    fn start(folder: &Path, profile: &'static str) -> Result<Self, String> {
        let cluster = Cluster::private("")?;
        cluster.create("keyward")?;
        let proxy = Arc::new(proxy(cluster.socket())?);
        let urls = [cluster.url("keyward"), cluster.url("keyward"), cluster.url_at(proxy.port(), "keyward")];
        let mut nodes = Vec::new();
        for (number, url) in urls.into_iter().enumerate() {
            let folder = folder.join(format!("node{number}"));
            nodes.push(Node { folder, port: free_port()?, url, profile, process: None });
        }
        let key = nodes[0].run(&["master-key", "new"], "")?;
        for node in &nodes {
            write_private(&node.folder.join("master.key"), key.as_bytes())?;
        }
        let words = ["bootstrap", "--email", "owner@example.com", "--password-stdin", "--token-name", "prove"];
        let made = nodes[0].run(&words, "a password for proofs only\n")?;
        let token = member(&made, "token")?.to_owned();
        for node in &mut nodes {
            node.serve()?;
        }
        Ok(Self { _cluster: cluster, proxy, nodes, token, start: Instant::now() })
    }

    /// Makes keys, calls all servers with them, revokes them one by one in a scene.
    fn batch(&mut self, number: usize, scene: Scene) -> Result<Vec<Figure>, String> {
        let mut api = Connection::open(self.nodes[0].port)?;
        let mut keys = Vec::new();
        for at in 0..BATCH {
            let body = format!("{{\"name\":\"{number}-{at}\"}}");
            let (status, answer) = api.call("POST", "/api/v1/agent-keys", &self.token, &body)?;
            if status != 201 {
                return Err(format!("{status} {answer}"));
            }
            keys.push(Key { id: member(&answer, "id")?.to_owned(), secret: member(&answer, "secret")?.to_owned() });
        }
        let seen = Arc::new(Seen::new(self.nodes.len(), keys.len()));
        let stop = Arc::new(AtomicBool::new(false));
        let callers = self.call(&keys, &seen, &stop);
        let everywhere = |what: &str, holds: &dyn Fn(usize, usize) -> bool| {
            wait_for(what, || (0..seen.nodes()).all(|node| (0..BATCH).all(|key| holds(node, key))))
        };
        everywhere("every key accepted everywhere", &|node, key| seen.accepted(node, key) > 0)?;
        match scene {
            Scene::Connected => {}
            Scene::Cut => self.proxy.cut(),
            Scene::Stalled => self.proxy.stall(),
            Scene::Restarted => self.nodes[2].kill()?,
        }
        let mut revoked = Vec::new();
        for key in &keys {
            let (status, answer) = api.call("DELETE", &format!("/api/v1/agent-keys/{}", key.id), &self.token, "")?;
            if status != 204 {
                return Err(format!("{status} {answer}"));
            }
            revoked.push(micros(self.start));
        }
        match scene {
            Scene::Connected => {}
            Scene::Cut | Scene::Stalled => {
                // Calls go on until all of them are refused with 503.
                let from: Vec<u64> = (0..BATCH).map(|key| seen.unsure(2, key)).collect();
                wait_for("503 from the server that is cut off", || {
                    (0..BATCH).all(|key| seen.unsure(2, key) > from[key] + 3)
                })?;
                self.proxy.heal();
            }
            Scene::Restarted => self.nodes[2].serve()?,
        }
        // And twice more, so that none comes back.
        everywhere("every key refused everywhere", &|node, key| seen.refused(node, key) >= 3)?;
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().map_err(|_| "a caller failed")?;
        }
        let mut figures = Vec::new();
        for node in 0..seen.nodes() {
            let bound = match (node, scene) {
                (0, _) => 0,
                (2, Scene::Cut | Scene::Stalled) => 2,
                _ => 1,
            };
            for (key, revoked) in revoked.iter().enumerate() {
                let late = Duration::from_micros(seen.accepted(node, key).saturating_sub(*revoked));
                figures.push(Figure { scene, bound, late });
            }
        }
        Ok(figures)
    }

    fn call(&self, keys: &[Key], seen: &Arc<Seen>, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
        let secrets: Arc<Vec<String>> = Arc::new(keys.iter().map(|key| key.secret.clone()).collect());
        let mut callers = Vec::new();
        for (node, port) in self.nodes.iter().map(|node| node.port).enumerate() {
            for caller in 0..CALLERS {
                let (seen, stop, secrets, start) =
                    (Arc::clone(seen), Arc::clone(stop), Arc::clone(&secrets), self.start);
                callers.push(thread::spawn(move || {
                    let mut connection = None;
                    while !stop.load(Ordering::Relaxed) {
                        for key in (caller..secrets.len()).step_by(CALLERS) {
                            // A server that does not run accepts nothing.
                            let Some(open) = connection.as_mut() else {
                                connection = Connection::open(port).ok();
                                thread::sleep(Duration::from_millis(1));
                                continue;
                            };
                            let sent = micros(start);
                            match open.call("GET", "/auth/verify", &secrets[key], "") {
                                Ok((status, _)) => seen.note(node, key, status, sent),
                                Err(_) => connection = None,
                            }
                        }
                    }
                }));
            }
        }
        callers
    }
}

struct Key {
    id: String,
    secret: String,
}

/// What calls came to, by server and key: when the last accepted one was sent, in microseconds; how many were refused
/// since with 401; how many were answered with 503.
struct Seen(Vec<Vec<[AtomicU64; 3]>>);

impl Seen {
    fn new(nodes: usize, keys: usize) -> Self {
        Self((0..nodes).map(|_| (0..keys).map(|_| Default::default()).collect()).collect())
    }

    fn nodes(&self) -> usize {
        self.0.len()
    }

    fn note(&self, node: usize, key: usize, status: u16, sent: u64) {
        let [accepted, refused, unsure] = &self.0[node][key];
        match status {
            200 => {
                accepted.fetch_max(sent, Ordering::Relaxed);
                refused.store(0, Ordering::Relaxed);
            }
            401 => drop(refused.fetch_add(1, Ordering::Relaxed)),
            _ => drop(unsure.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn accepted(&self, node: usize, key: usize) -> u64 {
        self.0[node][key][0].load(Ordering::Relaxed)
    }

    fn refused(&self, node: usize, key: usize) -> u64 {
        self.0[node][key][1].load(Ordering::Relaxed)
    }

    fn unsure(&self, node: usize, key: usize) -> u64 {
        self.0[node][key][2].load(Ordering::Relaxed)
    }
}

/// A server, or the place of one.
struct Node {
    folder: PathBuf,
    port: u16,
    url: String,
    profile: &'static str,
    process: Option<Child>,
}

impl Node {
    fn command(&self, words: &[&str]) -> Command {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from);
        let mut command = Command::new(target.join(self.profile).join("keyward"));
        command
            .args(words)
            .env("KEYWARD_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("KEYWARD_DATA_DIR", self.folder.join("data"))
            .env("KEYWARD_DATABASE_URL", &self.url)
            .env("KEYWARD_MASTER_KEY_FILE", self.folder.join("master.key"));
        command
    }

    fn run(&self, words: &[&str], stdin: &str) -> Result<String, String> {
        let mut command = self.command(words);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        if let Some(mut pipe) = child.stdin.take() {
            let _ = pipe.write_all(stdin.as_bytes());
        }
        let done = child.wait_with_output().map_err(|error| error.to_string())?;
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            false => Err(format!("keyward {words:?} failed")),
        }
    }

    fn serve(&mut self) -> Result<(), String> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.map_err(|error| error.to_string())?;
        let mut command = self.command(&["serve"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().map_err(|error| error.to_string())?);
        let port = self.port;
        wait_for("a server that is ready", || {
            let answer = Connection::open(port).and_then(|mut open| open.call("GET", "/readyz", "", ""));
            answer.is_ok_and(|(status, _)| status == 200)
        })
    }

    fn kill(&mut self) -> Result<(), String> {
        if let Some(mut process) = self.process.take() {
            process.kill().and_then(|()| process.wait().map(drop)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Its database goes with it.
        let _ = self.kill();
    }
}

/// A proxy that runs in a thread of its own.
fn proxy(socket: PathBuf) -> Result<Proxy, String> {
    let (told, hear) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let _ = told.send(Proxy::start(&socket).await);
            std::future::pending::<()>().await;
        });
    });
    let started = hear.recv().map_err(|error| error.to_string())?;
    started.map_err(|error| error.to_string())
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?.write_all(bytes)
    };
    write().map_err(|error| format!("{}: {error}", path.display()))
}

fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Waits for a condition, at most a minute.
fn wait_for(what: &str, holds: impl Fn() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > Duration::from_secs(60) {
            return Err(format!("waited in vain for {what}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
