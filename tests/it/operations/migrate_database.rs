//! `keyward migrate-database`

use std::process::Output;

use serde_json::json;

use crate::harness::{Database, FakeProvider, Home, PostgresDatabase, TestServer, World, shared_cluster};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn moved(home: &Home, target: &PostgresDatabase) -> (Option<i32>, String) {
    let done = home.run(&["migrate-database", "--to", &target.url()], "").await;
    (done.status.code(), said(&done))
}

/// A stopped server on SQLite that was used, and what agents have of it.
async fn used() -> (Home, World, FakeProvider) {
    let keyward = TestServer::start_on_sqlite().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(World::MODEL).await.expect(200);
    let gone = keyward.api().agent_key("Größe ✓ \\ \" '; --").await;
    keyward.api().delete(&format!("/agent-keys/{}", gone["id"].as_str().unwrap())).await.expect(204);
    (keyward.stop().await, world, provider)
}

#[tokio::test]
async fn moves_everything_and_what_is_moved_goes_on() {
    let (home, world, provider) = used().await;
    let target = PostgresDatabase::new(shared_cluster());
    let (code, said) = moved(&home, &target).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("agent_keys: 1 rows, checksum "), "{said}");
    assert!(said.contains("KEYWARD_DATABASE_URL"), "what next? {said}");
    let (code, said) = moved(&home, &target).await;
    assert!(code == Some(1) && said.contains("this installation already"), "{said}");

    // The old one is served no more, unless somebody insists.
    let (refused, home) = home.serve().refused().await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("was moved to PostgreSQL") && why.contains("moved-to-postgresql"), "{why}");

    let home = home.with_database_url(target.url());
    assert_eq!(home.run(&["audit", "verify"], "").await.status.code(), Some(0));
    let keyward = home.serve().start().await;
    assert!(!keyward.log().contains("no rollback mark was there"), "the mark goes on");
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    assert_eq!(provider.last_call().header("authorization"), Some(format!("Bearer {}", World::VALUE).as_str()));
    let usage = keyward.api().get("/usage?group_by=agent_key").await.expect(200).json();
    assert_eq!(usage["items"][0]["requests"], 2, "{usage}");
    keyward.api().agent_key("made there").await;
}

#[tokio::test]
async fn interrupted_it_serves_nobody_and_goes_on_where_it_was_also_where_rows_changed_meanwhile() {
    let (home, world, _provider) = used().await;
    let target = PostgresDatabase::new(shared_cluster());
    let cluster = target.cluster();
    let sql = |sql: &str| cluster.sql(target.name(), sql).unwrap();
    // The schema is there, and the models cannot be written.
    let there = home.beside_on(&target);
    there.run(&["check"], "").await;
    sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no models today'; END $$");
    sql("CREATE TRIGGER refuse BEFORE INSERT ON models EXECUTE FUNCTION refuse()");
    let (code, said) = moved(&home, &target).await;
    assert!(code == Some(1) && said.contains("begin again"), "{said}");
    let (refused, _there) = there.serve().refused().await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("keyward migrate-database"), "{said}");

    let keyward = home.serve().start().await;
    keyward.api().patch(&world.agent_key_path(), json!({ "name": "renamed meanwhile" })).await.expect(200);
    keyward.api().agent_key("made meanwhile").await;
    let home = keyward.stop().await;
    sql("DROP TRIGGER refuse ON models");
    let (code, said) = moved(&home, &target).await;
    assert_eq!(code, Some(0), "{said}");
    let keyward = home.with_database_url(target.url()).serve().start().await;
    let names = keyward.api().get("/agent-keys?sort=name").await.expect(200).json();
    assert_eq!(names["items"][0]["name"], "made meanwhile", "{names}");
    assert_eq!(names["items"][1]["name"], "renamed meanwhile", "{names}");
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn refuses_beside_a_running_server_and_into_another_installation() {
    let keyward = TestServer::start_on_sqlite().await;
    let target = PostgresDatabase::new(shared_cluster());
    let (code, said) = moved(keyward.home(), &target).await;
    assert!(code == Some(1) && said.contains("another keyward serve runs"), "{said}");
    let home = keyward.stop().await;
    let other = Home::new_on(PostgresDatabase::new(shared_cluster())).await;
    let (code, said) = moved(&home, other.postgres().unwrap()).await;
    assert!(code == Some(1) && said.contains("another installation"), "{said}");
    let done = home.run(&["migrate-database", "--to", "mysql://example"], "").await;
    assert_eq!(done.status.code(), Some(1));
    let events = Database::open(&other).await.count("audit_events", "1 = 1").await;
    assert_eq!(events, 2, "nothing was changed there");
}
