//! A proxy in front of PostgreSQL's socket that can cut and stall what passes. The tests have this file in their
//! harness.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They pass.
    Open,
    /// They are closed, and new ones as well.
    Cut,
    /// They stay open, and nothing passes.
    Stalled,
    /// Each answer comes so much later.
    Slow(Duration),
}

/// A listening proxy; gone with this value.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    mode: Arc<watch::Sender<Mode>>,
    traps: Arc<Traps>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of a socket.
    pub async fn start(socket: &Path) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (mode, traps) = (Arc::new(watch::Sender::new(Mode::Open)), Arc::default());
        let accepting = tokio::spawn(accept(listener, socket.to_owned(), Arc::clone(&mode), Arc::clone(&traps)));
        Ok(Self { port, mode, traps, accepting })
    }

    /// Where it listens, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections, and every new one.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Lets nothing pass any more, and closes nothing.
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stalled);
    }

    /// Lets each answer come so much later.
    pub fn slow_down(&self, by: Duration) {
        self.mode.send_replace(Mode::Slow(by));
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.mode.send_replace(Mode::Open);
    }

    /// The next COMMIT of a transaction in which these bytes were sent reaches the database; its answer does not come
    /// back, and the connection is closed.
    pub fn hide_commit_of(&self, bytes: &[u8]) {
        set(&self.traps.hide, bytes);
    }

    /// Stalls once these bytes have been sent.
    pub fn stall_after(&self, bytes: &[u8]) {
        set(&self.traps.stall, bytes);
    }

    /// Whether it has stalled after them.
    pub fn has_stalled(&self) -> bool {
        *self.mode.borrow() == Mode::Stalled
    }

    /// Whether such a commit has passed.
    pub fn has_hidden(&self) -> bool {
        self.traps.hide.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// What is waited for among the bytes that are sent.
#[derive(Debug, Default)]
struct Traps {
    hide: Mutex<Option<Vec<u8>>>,
    stall: Mutex<Option<Vec<u8>>>,
}

fn set(trap: &Mutex<Option<Vec<u8>>>, bytes: &[u8]) {
    *trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes.to_vec());
}

/// Whether a trap's bytes are among these.
fn is_met(trap: &Mutex<Option<Vec<u8>>>, bytes: &[u8]) -> bool {
    let trap = trap.lock().unwrap_or_else(PoisonError::into_inner);
    trap.as_ref().is_some_and(|needle| contains(bytes, needle))
}

fn clear(trap: &Mutex<Option<Vec<u8>>>) {
    *trap.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, socket: PathBuf, mode: Arc<watch::Sender<Mode>>, traps: Arc<Traps>) {
    while let Ok((client, _)) = listener.accept().await {
        let (socket, mode, traps) = (socket.clone(), Arc::clone(&mode), Arc::clone(&traps));
        tokio::spawn(async move {
            // Nobody is told when a connection ends: its ends see it.
            let mut seen = mode.subscribe();
            let Ok(_) = seen.wait_for(|mode| *mode != Mode::Stalled).await else { return };
            if *seen.borrow() == Mode::Cut {
                return;
            }
            let Ok(server) = UnixStream::connect(&socket).await else { return };
            join(client, server, &mode, &traps).await;
        });
    }
}

async fn join(client: TcpStream, server: UnixStream, mode: &watch::Sender<Mode>, traps: &Traps) {
    let _ = client.set_nodelay(true);
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (is_meant, is_committed) = (AtomicBool::new(false), AtomicBool::new(false));
    let requests = pump(from_client, to_server, mode.subscribe(), false, |bytes| {
        if is_met(&traps.hide, bytes) {
            is_meant.store(true, Ordering::Relaxed);
        }
        if is_meant.load(Ordering::Relaxed) && contains(bytes, b"COMMIT") {
            clear(&traps.hide);
            is_committed.store(true, Ordering::Relaxed);
        }
        if is_met(&traps.stall, bytes) {
            // These still pass, and nothing after them.
            clear(&traps.stall);
            mode.send_replace(Mode::Stalled);
        }
        true
    });
    let answers = pump(from_server, to_client, mode.subscribe(), true, |_| !is_committed.load(Ordering::Relaxed));
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}

/// Passes bytes on until either side ends, `may_pass` says no, or the proxy is cut.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut mode: watch::Receiver<Mode>,
    are_answers: bool,
    may_pass: impl Fn(&[u8]) -> bool,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            cut = mode.wait_for(|mode| *mode == Mode::Cut) => { drop(cut); return }
        };
        let Ok(count @ 1..) = read else { return };
        match mode.wait_for(|mode| *mode != Mode::Stalled).await.map(|mode| *mode) {
            Ok(Mode::Open) => {}
            Ok(Mode::Slow(by)) if are_answers => tokio::time::sleep(by).await,
            Ok(Mode::Slow(_)) => {}
            _ => return,
        }
        if !may_pass(&bytes[..count]) || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
