//! `keyward audit`: the chain proves that no event was changed, removed or put in; a head kept elsewhere, that none was cut off.

use std::process::Output;

use serde_json::Value;

use crate::harness::{Cell, Database, Home, TestServer};

/// A stopped installation with this many agent keys made on it: events 1 and 2 are bootstrap's.
async fn with_events(keys: usize) -> Home {
    let keyward = TestServer::start().await;
    for number in 0..keys {
        keyward.api().agent_key(&format!("key {number}")).await;
    }
    keyward.stop().await
}

async fn audit(home: &Home, arguments: &[&str]) -> Output {
    home.run(&[&["audit"], arguments].concat(), "").await
}

async fn head(home: &Home) -> String {
    let done = audit(home, &["head"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `verify` fails, names this event and ends with 1.
async fn refuses(home: &Home, arguments: &[&str], says: &str) {
    let done = audit(home, &[&["verify"], arguments].concat()).await;
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(stderr(&done).contains(says), "not a word of {says:?}: {}", stderr(&done));
}

async fn proves(home: &Home, arguments: &[&str]) {
    let done = audit(home, &[&["verify"], arguments].concat()).await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
}

#[tokio::test]
async fn a_chain_that_nobody_touched_is_proven_and_leads_through_its_earlier_heads() {
    let home = with_events(2).await;
    let kept = head(&home).await;
    assert!(kept.starts_with("4:v1."), "{kept}");
    proves(&home, &[]).await;
    let keyward = home.serve().start().await;
    keyward.api().agent_key("later").await;
    // Beside a server that runs, too.
    proves(keyward.home(), &["--from-head", &kept]).await;
    let home = keyward.stop().await;
    proves(&home, &["--from-head", &kept]).await;
    assert_ne!(head(&home).await, kept);
    let wrong = audit(&home, &["verify", "--from-head", "no head"]).await;
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn an_event_changed_in_any_column_is_found_and_is_the_first_that_is_told() {
    let home = with_events(3).await;
    let mut database = Database::open(&home).await;
    for column in database.columns("audit_events").await {
        let before = database.cell("audit_events", &column, "seq = 4").await;
        let (changed, says) = match &before {
            _ if column == "seq" => (Cell::Integer(77), "event 4 is missing"),
            Cell::Text(text) if text.is_empty() => (Cell::Text("x".to_owned()), "event 4 is not what"),
            other => (other.flipped(0), "event 4 is not what"),
        };
        database.set("audit_events", &column, "seq = 4", &changed).await;
        refuses(&home, &[], says).await;
        let id = if column == "seq" { "seq = 77" } else { "seq = 4" };
        database.set("audit_events", &column, id, &before).await;
    }
    proves(&home, &[]).await;
}

#[tokio::test]
async fn an_event_removed_or_put_elsewhere_is_found() {
    let home = with_events(4).await;
    let kept = head(&home).await;
    let mut database = Database::open(&home).await;
    database.execute("CREATE TABLE saved AS SELECT * FROM audit_events").await;
    for (sql, says) in [
        ("DELETE FROM audit_events WHERE seq = 1", "event 1 is missing"),
        ("DELETE FROM audit_events WHERE seq = 3", "event 3 is missing"),
        ("DELETE FROM audit_events WHERE seq = 6", "event 6 is missing"),
        ("DELETE FROM audit_events", "event 1 is missing"),
        (
            "UPDATE audit_events SET seq = -seq WHERE seq IN (4, 5); UPDATE audit_events SET seq = 9 + seq WHERE seq < 0",
            "event 4 is not what",
        ),
        (
            "DELETE FROM audit_events WHERE seq = 3; UPDATE audit_events SET seq = seq - 1 WHERE seq > 3",
            "event 3 is not",
        ),
    ] {
        database.execute(sql).await;
        refuses(&home, &[], says).await;
        database.execute("DELETE FROM audit_events; INSERT INTO audit_events SELECT * FROM saved").await;
    }
    proves(&home, &["--from-head", &kept]).await;
}

#[tokio::test]
async fn events_cut_off_the_end_are_found_with_a_head_that_was_kept_elsewhere() {
    let home = with_events(3).await;
    let kept = head(&home).await;
    let mut database = Database::open(&home).await;
    let Cell::Text(mac) = database.cell("audit_events", "mac", "seq = 4").await else { panic!("no text") };
    database.execute("DELETE FROM audit_events WHERE seq > 4").await;
    database.execute(format!("UPDATE chain_head SET seq = 4, head = '{mac}'")).await;
    // What is left is whole in itself.
    proves(&home, &[]).await;
    refuses(&home, &["--from-head", &kept], "before event 5").await;

    // Gone on from there, as far as before: another event stands at that number.
    std::fs::remove_file(home.data().join("rollback.mark")).ok();
    let keyward = home.serve().start().await;
    keyward.api().agent_key("another").await;
    let home = keyward.stop().await;
    proves(&home, &[]).await;
    refuses(&home, &["--from-head", &kept], "event 5 is another one").await;
}

#[tokio::test]
async fn the_log_says_itself_which_events_were_touched() {
    let keyward = TestServer::start().await;
    for number in 0..4 {
        keyward.api().agent_key(&format!("key {number}")).await;
    }
    let failed = async || {
        let events = keyward.api().audit_events().await;
        let failed = events.iter().filter(|event| event["integrity"] == "failed");
        failed.map(|event| event["seq"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert!(failed().await.is_empty());
    let mut database = keyward.database().await;
    database.execute("UPDATE audit_events SET target_name = 'another' WHERE seq = 4").await;
    assert_eq!(failed().await, [4]);
    database.execute("DELETE FROM audit_events WHERE seq = 4").await;
    assert_eq!(failed().await, [5], "the one behind a gap is not proven");
    // Also where a filter leaves its predecessor out.
    let one = keyward.api().get("/audit-events?search=key+2").await.expect(200).json();
    assert_eq!(one["items"][0]["integrity"], "failed", "{one}");
}

#[tokio::test]
async fn an_export_has_every_event_once_in_order_with_its_mac() {
    let keyward = TestServer::start().await;
    for number in 0..3 {
        keyward.api().agent_key(&format!("key {number}")).await;
    }
    let api = keyward.api();
    let request = |path: &str| api.request(http::Method::GET, path).header("accept", "application/x-ndjson");
    let answer = api.send(request("/audit-events")).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    for (line, event) in lines.iter().rev().zip(api.audit_events().await) {
        let mut shown = line.clone();
        let mac = shown.as_object_mut().unwrap().remove("mac").unwrap();
        assert!(mac.as_str().unwrap().starts_with("v1."));
        assert_eq!(shown, event);
    }
    let some = api.send(request("/audit-events?action=agent_key.create&search=key+1")).await.expect(200).text();
    assert_eq!(some.lines().count(), 1, "{some}");
    api.send(request("/audit-events?limit=2")).await.problem(422).at("?limit");

    let printed = audit(keyward.home(), &["export"]).await;
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), answer.text());
    assert!(head(keyward.home()).await.ends_with(lines[4]["mac"].as_str().unwrap()));
}

#[tokio::test]
async fn members_or_events_deleted_in_the_database_open_no_first_run() {
    for sql in [
        "DELETE FROM members",
        "DELETE FROM members; DELETE FROM audit_events",
        "DELETE FROM members; DELETE FROM audit_events; UPDATE chain_head SET seq = 0, head = ''",
    ] {
        let home = with_events(1).await;
        Database::open(&home).await.execute(sql).await;
        let again = home.bootstrap("thief@example.com").await;
        assert_eq!(again.status.code(), Some(1), "{sql}");
        let said = stderr(&again);
        assert!(said.contains("keyward"), "{said}");
        assert!(again.stdout.is_empty(), "{sql}");
    }
    let home = with_events(0).await;
    Database::open(&home).await.execute("DELETE FROM members").await;
    let said = stderr(&home.bootstrap("thief@example.com").await);
    assert!(said.contains("restore") && said.contains("keyward recover"), "{said}");
    let keyward = home.serve().start().await;
    crate::harness::until("the warning", async || keyward.log().contains("keyward recover")).await;
    assert!(!keyward.log().contains("/setup#token="), "{}", keyward.log());
}

#[tokio::test]
async fn where_there_is_no_installation_nothing_is_made() {
    let home = Home::empty_on_sqlite();
    let done = audit(&home, &["verify"]).await;
    assert_eq!(done.status.code(), Some(1));
    assert!(stderr(&done).contains("no installation"), "{}", stderr(&done));
    assert!(home.files().is_empty());
}
