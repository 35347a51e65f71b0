//! The connection to a Redis or Valkey: made when it is first needed, made again once it is lost.
//!
//! All that is asked of it is about keys of one slot, so that one connection does on a cluster as well: a node that says that
//! another one has them is left for that one.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, Pipeline, RedisError, RedisResult,
    aio::MultiplexedConnection,
};
use tokio::{sync::Mutex, time::Instant};

/// How long a connection may take, signing in and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long nothing is tried after a failure, so that nobody waits for what has just failed.
const PAUSE: Duration = Duration::from_millis(500);

/// A way to a Redis.
pub struct RedisLink {
    /// As it was set.
    info: ConnectionInfo,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// The node of a cluster that has the keys, where it is another one than was set.
    node: Option<ConnectionAddr>,
    /// The last failure, and until when it is answered again.
    failure: Option<(Instant, RedisError)>,
}

impl RedisLink {
    /// To the Redis of a URL. Connects to nobody yet.
    ///
    /// # Errors
    /// What is wrong, without the URL.
    pub fn new(url: &str) -> Result<RedisLink, String> {
        // The library's own words could hold parts of it.
        let client = Client::open(url).map_err(|_| String::from("is no URL of a Redis that can be connected to"))?;
        Ok(RedisLink { info: client.get_connection_info().clone(), state: Mutex::default() })
    }

    /// Its address, without a password.
    pub fn place(&self) -> String {
        self.info.addr().to_string()
    }

    /// An error in words that may be logged: without the password, which a server repeats that does not know `AUTH`.
    pub fn words(&self, error: &RedisError) -> String {
        let words = error.to_string();
        match self.info.redis_settings().password() {
            Some(password) if !password.is_empty() => words.replace(password, "***"),
            _ => words,
        }
    }

    /// Sends commands and reads what is answered to each. `commands` makes them right before they are sent: over a connection
    /// that turns out to be lost, or by a node that has not got the keys, they are sent once more, and it is told `true` then,
    /// since the first ones may have been carried out. One at a time.
    ///
    /// # Errors
    /// Where it cannot be connected to or does not answer in time. It may have carried the commands out.
    pub async fn send<T: FromRedisValue>(
        &self,
        commands: impl Fn(bool) -> Pipeline,
    ) -> RedisResult<Vec<RedisResult<T>>> {
        let mut state = self.state.lock().await;
        if let Some((until, error)) = &state.failure
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let is_kept = state.connection.is_some();
        let mut answers = state.send(&self.info, || commands(false)).await;
        let is_lost = matches!(&answers, Err(error) if is_kept && error.is_connection_dropped());
        let node = answers.as_ref().ok().and_then(|answers| self.another_node(answers));
        if is_lost || node.is_some() {
            (state.connection, state.node) = (None, node);
            answers = state.send(&self.info, || commands(true)).await;
        }
        state.failure = None;
        match &answers {
            Ok(answers) if answers.iter().all(Result::is_ok) => {}
            // Of its own accord a server that became another one's replica, or wants a password now, changes nothing.
            Ok(_) => state.leave(),
            Err(error) => {
                state.failure = Some((Instant::now() + PAUSE, error.clone()));
                state.leave();
            }
        }
        answers
    }

    /// The node that has the keys, where this one says that it has not.
    fn another_node<T>(&self, answers: &[RedisResult<T>]) -> Option<ConnectionAddr> {
        let moved =
            answers.iter().filter_map(|answer| answer.as_ref().err()).find(|error| error.code() == Some("MOVED"))?;
        let (host, port) = moved.redirect_node()?.0.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host_or = |own: &String| if host.is_empty() { own.clone() } else { host.to_owned() };
        match self.info.addr() {
            ConnectionAddr::Tcp(own, _) => Some(ConnectionAddr::Tcp(host_or(own), port)),
            ConnectionAddr::TcpTls { host: own, insecure, tls_params, .. } => Some(ConnectionAddr::TcpTls {
                host: host_or(own),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            }),
            _ => None,
        }
    }
}

impl State {
    /// Over the connection that there is, or a new one; `commands` is asked once there is one.
    async fn send<T: FromRedisValue>(
        &mut self,
        info: &ConnectionInfo,
        commands: impl FnOnce() -> Pipeline,
    ) -> RedisResult<Vec<RedisResult<T>>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(info.clone(), self.node.clone()).await?),
        };
        commands().ignore_errors().query_async(connection).await
    }

    /// Begins anew with the address that was set.
    fn leave(&mut self) {
        (self.connection, self.node) = (None, None);
    }
}

async fn connect(info: ConnectionInfo, node: Option<ConnectionAddr>) -> RedisResult<MultiplexedConnection> {
    let info = match node {
        Some(node) => info.set_addr(node),
        None => info,
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
}
