//! Several servers on one PostgreSQL, and what becomes of them without it. These run on it in any case.

mod changes;
mod first_run;
mod keyring;
mod leases;
mod limits;
mod look_ups;
mod outages;
mod redis;
mod rolling;
mod usage;

use crate::harness::{Cluster, FakeProvider, Home, PostgresDatabase, Proxy, TestServer, World, shared_cluster};

/// Two servers on one database, the second one behind a proxy, with a linked model and an agent key.
struct Pair {
    first: TestServer,
    second: TestServer,
    proxy: Proxy,
    provider: FakeProvider,
    world: World,
}

impl Pair {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these variables in the environment of both.
    async fn start_with(variables: &[(String, String)]) -> Self {
        let database = PostgresDatabase::new(shared_cluster());
        let proxy = Proxy::start(&database.cluster().socket()).await.unwrap();
        let url = database.url_at(proxy.port());
        let home = Home::new_on(database).await;
        let second = home.beside().with_database_url(url);
        let first = home.serve().with(variables).start().await;
        let second = second.serve().with(variables).start().await;
        let provider = FakeProvider::start().await;
        let world = first.with_linked_model(&provider).await;
        let pair = Self { first, second, proxy, provider, world };
        pair.second_is_good().await;
        pair
    }

    /// Waits until the second server takes the agent key.
    async fn second_is_good(&self) {
        let agent = self.second.agent(self.world.agent.secret());
        crate::harness::until("the second server's good answer", async || agent.chat(World::MODEL).await.status == 200)
            .await;
    }
}

/// A server on a database in a cluster of its own, reached over a proxy.
struct Alone {
    keyward: TestServer,
    cluster: std::sync::Arc<Cluster>,
    proxy: Proxy,
    world: World,
    _provider: FakeProvider,
}

impl Alone {
    async fn start(settings: &str) -> Self {
        let cluster = std::sync::Arc::new(Cluster::private(settings).unwrap());
        let database = PostgresDatabase::new(std::sync::Arc::clone(&cluster));
        let proxy = Proxy::start(&cluster.socket()).await.unwrap();
        let url = database.url_at(proxy.port());
        let keyward = Home::new_on(database).await.with_database_url(url).serve().start().await;
        let provider = FakeProvider::start().await;
        let world = keyward.with_linked_model(&provider).await;
        world.agent.chat(World::MODEL).await.expect(200);
        Self { keyward, cluster, proxy, world, _provider: provider }
    }
}
