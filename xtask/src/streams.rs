//! Many open streams through one server: a provider that sends events at a steady pace, and callers that note when each
//! arrives. Both live in this process, so that one clock tells the delays.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the provider sends on each stream.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Events with text, before the one that tells the usage.
    pub events: u32,
    /// Time between two.
    pub every: Duration,
}

/// What came of the streams.
#[derive(Debug, Default)]
pub struct Seen {
    /// Delay of the first event of each stream.
    pub first: Vec<Duration>,
    /// Delay of each further event.
    pub further: Vec<Duration>,
    /// Streams that came whole, with every event and their end.
    pub whole: u64,
    /// Why others did not, by what went wrong.
    pub broken: Vec<String>,
}

/// The streaming provider.
pub struct Provider {
    /// Where it listens.
    pub port: u16,
    /// Tokens it has told callers of, in the usage of streams that were sent whole.
    pub tokens: Arc<AtomicU64>,
}

/// Starts the provider in the running runtime.
pub async fn provider(start: Instant, pace: Pace) -> Result<Provider, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    let tokens = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&tokens);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tokens = Arc::clone(&counted);
            // A caller that breaks off is seen on its own side.
            tokio::spawn(async move { answer(stream, start, pace, &tokens).await.unwrap_or_default() });
        }
    });
    Ok(Provider { port, tokens })
}

async fn answer(stream: TcpStream, start: Instant, pace: Pace, tokens: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(2048, stream);
    loop {
        let Some(length) = head(&mut stream).await? else { return Ok(()) };
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let tells_usage = body.windows(15).any(|part| part == b"\"include_usage\"");
        let out = stream.get_mut();
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await?;
        for _ in 0..pace.events {
            let sent = start.elapsed().as_nanos();
            let event =
                format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word \"}}}}],\"t\":{sent}}}\n\n");
            chunk(out, &event).await?;
            tokio::time::sleep(pace.every).await;
        }
        if tells_usage {
            let usage = format!(
                "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":7,\"completion_tokens\":{},\"total_tokens\":{}}}}}\n\n",
                pace.events,
                pace.events + 7
            );
            chunk(out, &usage).await?;
            tokens.fetch_add(u64::from(pace.events), Ordering::Relaxed);
        }
        chunk(out, "data: [DONE]\n\n").await?;
        out.write_all(b"0\r\n\r\n").await?;
    }
}

async fn chunk(out: &mut TcpStream, text: &str) -> std::io::Result<()> {
    out.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}

/// Reads a head; the length of the body, or `None` where the other side has gone.
async fn head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<usize>> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let text = line.trim_end().to_ascii_lowercase();
        if text.is_empty() {
            return Ok(Some(length));
        }
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

/// Opens `count` streams at `port`, spread over `ramp`, and reads each to its end.
pub async fn callers(
    start: Instant,
    port: u16,
    count: usize,
    secret: &str,
    ramp: Duration,
    pace: Pace,
) -> Result<Seen, String> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let request = {
        let body = "{\"model\":\"small\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}";
        Arc::new(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {secret}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let mut all = JoinSet::new();
    for number in 0..count {
        let (seen, request) = (Arc::clone(&seen), Arc::clone(&request));
        let wait = ramp.mul_f64(number as f64 / count as f64);
        all.spawn(async move {
            tokio::time::sleep(wait).await;
            let stream = call(start, SocketAddr::from(([127, 0, 0, 1], port)), &request, pace).await;
            let mut seen = seen.lock().expect("no caller panics");
            match stream {
                Ok(delays) => {
                    seen.whole += 1;
                    seen.first.extend(delays.first());
                    seen.further.extend(delays.iter().skip(1));
                }
                Err(why) => seen.broken.push(why),
            }
        });
    }
    while all.join_next().await.is_some() {}
    let mut seen = seen.lock().expect("no caller panics");
    Ok(std::mem::take(&mut *seen))
}

/// One stream: the delay of each event.
async fn call(start: Instant, address: SocketAddr, request: &str, pace: Pace) -> Result<Vec<Duration>, String> {
    let stream = TcpStream::connect(address).await.map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let mut stream = BufReader::with_capacity(1024, stream);
    stream.get_mut().write_all(request.as_bytes()).await.map_err(text)?;
    let mut delays = Vec::with_capacity(pace.events as usize);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await.map_err(text)? == 0 {
            return Err(format!("ended after {} of {} events", delays.len(), pace.events));
        }
        if line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.1 200") {
            return Err(line.trim_end().to_owned());
        }
        if line.starts_with("data: [DONE]") {
            let whole = delays.len() == pace.events as usize;
            return if whole { Ok(delays) } else { Err(format!("{} of {} events", delays.len(), pace.events)) };
        }
        if line.contains("\"usage\":{") {
            return Err(String::from("saw the chunk that only tells the usage"));
        }
        if let Some((_, sent)) = line.split_once("\"t\":") {
            let sent: u64 = sent.trim_end().trim_end_matches('}').parse().map_err(text)?;
            delays.push(start.elapsed().saturating_sub(Duration::from_nanos(sent)));
        }
    }
}

/// The value below which that share of the delays lies, in milliseconds.
pub fn percentile(delays: &mut [Duration], share: f64) -> f64 {
    if delays.is_empty() {
        return f64::NAN;
    }
    delays.sort();
    let at = ((delays.len() - 1) as f64 * share).round() as usize;
    delays[at].as_secs_f64() * 1e3
}

/// As many open files as this process may have.
pub fn take_all_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("the number of open files cannot be raised: {error}");
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
