//! The first run, where several servers start on one database.

use crate::harness::{Home, PostgresDatabase, TestServer, eventually, shared_cluster};

/// The token of the setup link that a server printed.
async fn setup_token(keyward: &TestServer) -> String {
    eventually("the setup link", async || {
        let log = keyward.log();
        let (_, rest) = log.split_once("/setup#token=")?;
        rest.split_whitespace().next().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn the_link_of_each_is_good_until_one_was_used() {
    let home = Home::empty_on_postgres(PostgresDatabase::new(shared_cluster()));
    let beside = home.beside();
    let first = home.serve().start().await;
    let earlier = setup_token(&first).await;
    let second = beside.serve().start().await;
    let later = setup_token(&second).await;
    assert_ne!(earlier, later);
    let claim = async |token: &str, email: &str| {
        let fields = [("token", token), ("name", "Ada"), ("email", email), ("password", "a password for tests only")];
        // Whoever made the first member is signed in; all others are led to where one signs in.
        second.api_with(None).form("/setup", &fields).await.header("set-cookie").is_some()
    };
    assert!(claim(&earlier, "ada@example.com").await);
    assert!(!claim(&later, "eve@example.com").await);
    assert!(!claim(&earlier, "eve@example.com").await);
}
