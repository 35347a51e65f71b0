//! Three servers behind Debian's nginx, with the very configuration of `deploy/`, restarted one after another under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::harness::{
    Agent, EventStream, FakeProvider, Home, Nginx, PostgresDatabase, Stage, Start, TestServer, World, in_repository,
    shared_cluster, until,
};

const CALLERS: usize = 8;

/// The settings that such a server needs.
fn settings(home: Home) -> Start {
    home.serve().env("KEYWARD_DRAIN_SECONDS", "1").env("KEYWARD_STOP_TIMEOUT_SECONDS", "60")
}

async fn nginx_before(servers: &[TestServer]) -> Nginx {
    let text = std::fs::read_to_string(in_repository("deploy/nginx/replicas.conf")).unwrap();
    let places: Vec<_> = servers
        .iter()
        .zip([8081, 8082, 8083])
        .map(|(server, port)| {
            let own = server.url().strip_prefix("http://").unwrap().to_owned();
            (format!("server 127.0.0.1:{port} "), format!("server {own} "))
        })
        .collect();
    Nginx::start(&text, &places).await
}

/// A stream that the provider has not ended yet.
struct Held {
    stage: Stage,
    stream: EventStream,
}

impl Held {
    async fn open(agent: &Agent, provider: &FakeProvider) -> Self {
        let stage = provider.stage();
        stage.open();
        let stream = agent.stream(json!({ "model": World::MODEL, "stream": true, "messages": [] })).await;
        Self { stage, stream }
    }

    async fn goes_on(&mut self) {
        self.stage.event("{\"choices\":[{\"n\":1}]}");
        assert_eq!(self.stream.next().await.unwrap().as_deref(), Some("{\"choices\":[{\"n\":1}]}"));
    }

    async fn ends(self) {
        self.stage.event("[DONE]");
        self.stage.end();
        assert_eq!(self.stream.rest().await, ["[DONE]"]);
    }
}

#[tokio::test]
async fn restarted_one_after_another_under_load_no_call_fails_and_no_stream_breaks() {
    let first = Home::new_on(PostgresDatabase::new(shared_cluster())).await;
    let others = [first.beside(), first.beside()];
    let mut servers = vec![settings(first).start().await];
    for home in others {
        servers.push(settings(home).start().await);
    }
    let provider = FakeProvider::start().await;
    let world = servers[0].with_linked_model(&provider).await;
    for server in &servers {
        let agent = world.agent.at(server.url());
        until("a good answer from each", async || agent.chat(World::MODEL).await.status == 200).await;
    }
    let nginx = nginx_before(&servers).await;
    let agent = world.agent.at(nginx.url());

    let mut streams = Vec::new();
    for server in &servers {
        streams.push(Held::open(&world.agent.at(server.url()), &provider).await);
    }

    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (agent, over, answered) = (agent.clone(), Arc::clone(&over), Arc::clone(&answered));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    agent.chat(World::MODEL).await.expect(200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut restarted = Vec::new();
    let load_goes_on = async || {
        let before = answered.load(Ordering::Relaxed);
        until("calls that go on", async || {
            assert!(!callers.iter().any(tokio::task::JoinHandle::is_finished), "a call failed");
            answered.load(Ordering::Relaxed) > before + 5 * CALLERS
        })
        .await;
    };
    for (server, mut stream) in servers.into_iter().zip(streams) {
        load_goes_on().await;
        let url = server.url();
        server.ask_to_stop();
        until("the word that it leaves", async || {
            crate::harness::http().get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status() == 503)
        })
        .await;
        stream.goes_on().await;
        let address = url.strip_prefix("http://").unwrap();
        until("no new connection being accepted", async || tokio::net::TcpStream::connect(address).await.is_err())
            .await;
        load_goes_on().await;
        stream.ends().await;
        let home = server.stopped().await;
        restarted.push(settings(home).start().await);
    }
    load_goes_on().await;
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no call fails");
    }
}
