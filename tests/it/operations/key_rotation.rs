//! The keys inside are replaced beside a running server: no call fails, nothing that is good becomes unreadable, nothing
//! that is not becomes good, at whatever moment it is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::{Api, Cell, Database, FakeProvider, FakeTransit, Home, TestServer, World, eventually, until};

/// Every table whose rows a key authenticates.
const TABLES: [&str; 12] = [
    "members",
    "sessions",
    "setup_tokens",
    "invitations",
    "management_tokens",
    "general_keys",
    "general_key_secrets",
    "agent_keys",
    "agent_secrets",
    "providers",
    "models",
    "links",
];

async fn rotate(home: &Home) -> Output {
    home.run(&["master-key", "rotate-data"], "").await
}

#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The ids of the stored keys of a purpose, without their random part, in their order.
async fn keys_of(api: &Api, purpose: &str) -> Vec<String> {
    let overview = api.get("/installation").await.expect(200).json();
    let keys = overview["keys"].as_array().unwrap().iter().filter(|key| key["purpose"] == purpose);
    keys.map(|key| key["id"].as_str().unwrap().rsplit_once('-').unwrap().0.to_owned()).collect()
}

/// How many rows name a key of that ordinal, or an older one.
async fn rows_naming(database: &mut Database, key: &str) -> i64 {
    let mut all = 0;
    for table in TABLES {
        let filter = format!("mac LIKE '%{key}%'");
        all += database.count(table, &filter).await;
    }
    all + database.count("general_key_secrets", &format!("sealed LIKE '%{key}%'")).await
        + database.count("general_keys", &format!("value_mark LIKE '%{key}%'")).await
}

/// Calls and changes that go on until they are told to stop; each has to succeed.
struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn begin(keyward: &TestServer, world: &World) -> Self {
        Self::begin_again(keyward, world, "meanwhile")
    }

    fn begin_again(keyward: &TestServer, world: &World, when: &'static str) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (agent, stopped, counted) = (world.agent.clone(), Arc::clone(&stop), Arc::clone(&rounds));
        let calls = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                agent.chat(World::MODEL).await.expect(200);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (api, path, stopped) = (keyward.api(), world.general_key_path(), Arc::clone(&stop));
        let anybody = world.agent.clone();
        let changes = tokio::spawn(async move {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let key = api.agent_key(&format!("made {when} {number}")).await;
                anybody.with_secret(key["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
                api.patch(&path, json!({ "name": format!("MY_API {when} {number}") })).await.expect(200);
                api.general_key(&format!("SEALED {when} {number}"), &format!("sk-test-sealed-{number}")).await;
                api.get("/agent-keys?limit=200").await.expect(200);
            }
        });
        Self { stop, rounds, tasks: vec![calls, changes] }
    }

    /// Waits for further calls, and ends it: no call failed.
    async fn end(self) {
        let seen = self.rounds.load(Ordering::Relaxed);
        until("calls after the rotation", async || self.rounds.load(Ordering::Relaxed) > seen + 10).await;
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no call failed");
        }
    }
}

#[tokio::test]
async fn under_load_the_keys_inside_are_replaced_without_a_failed_call_and_the_old_ones_are_gone() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let unlinked = keyward.api().general_key("UNLINKED", "sk-test-never-linked-until-later").await;
    let load = Load::begin(&keyward, &world);
    let said = done(&rotate(keyward.home()).await);
    load.end().await;
    assert!(said.contains("finished: the older keys are deleted") && !said.contains("warning"), "{said}");

    let mut database = keyward.database().await;
    assert!(rows_naming(&mut database, "row_mac-000002").await > 0, "nothing is made with the new key");
    assert_eq!(rows_naming(&mut database, "row_mac-000001").await, 0);
    assert_eq!(rows_naming(&mut database, "data-000001").await, 0);
    let api = keyward.api();
    assert_eq!(keys_of(&api, "data").await, ["data-000002"]);
    assert_eq!(keys_of(&api, "row_mac").await, ["row_mac-000002"]);
    assert_eq!(keys_of(&api, "audit").await, ["audit-000001"]);
    assert_eq!(keys_of(&api, "pepper").await, ["pepper-000001", "pepper-000002"]);

    let keyward = keyward.stop_to_restart().await.start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    let sent = provider.calls().last().unwrap().header("authorization").map(str::to_owned);
    assert_eq!(sent, Some(format!("Bearer {}", world.value)));
    // Whether a value entered again is the key's own is still known.
    let api = keyward.api();
    let other = FakeProvider::start().await;
    let link = async |value: &str| {
        let body = json!({
            "name": "second", "kind": "openai-compatible", "base_url": other.base_url(),
            "general_key_id": world.general_key["id"], "general_key_value": value,
        });
        api.post("/providers", body).await
    };
    link("sk-test-value-that-is-not-this-key-s-xyz").await.expect(422);
    link(world.value).await.expect(201);
    // And one that was never bound is bound by its first link.
    api.provider("third", "openai-compatible", &provider.base_url(), &unlinked).await;
    let actions: Vec<Value> = api.audit_events().await.into_iter().map(|event| event["action"].clone()).collect();
    for action in ["keyring.rotate", "keyring.activate", "keyring.retire"] {
        assert!(actions.iter().any(|other| other == action), "{action}");
    }
    assert!(done(&keyward.home().run(&["audit", "verify"], "").await).starts_with("good"));
}

#[tokio::test]
async fn killed_at_any_moment_a_rotation_of_the_keys_inside_is_resumed_beside_a_server_and_without_one() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    // Each time a little later, until the command comes to its end: before the first step, in every one, after the last.
    let is_killed_after = async |home: &Home, milliseconds: u32| {
        let seconds = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
        let ended = home.run_by(&["timeout", "-s", "KILL", &seconds], &["master-key", "rotate-data"]).await;
        ended.status.code() != Some(0)
    };
    // Beside a server, which each step waits for.
    let mut after = 10;
    while is_killed_after(keyward.home(), after).await {
        let overview = keyward.api().get("/installation").await.expect(200).json();
        keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
        keyward.api().agent_key(&format!("made after {after}")).await;
        if !overview["rotation"].is_null() {
            assert!(done(&keyward.home().run(&["check"], "").await).contains("a rotation is under way"));
        }
        assert!(done(&rotate(keyward.home()).await).contains("finished"));
        after += 40;
    }
    let mut home = keyward.stop().await;
    let mut after = 10;
    while is_killed_after(&home, after).await {
        let keyward = home.serve().start().await;
        keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
        home = keyward.stop().await;
        assert!(done(&rotate(&home).await).contains("finished"));
        after += 8;
    }
    let keyward = home.serve().start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    let api = keyward.api();
    let newest = keys_of(&api, "row_mac").await;
    assert_eq!(newest.len(), 1, "{newest:?}");
    assert_eq!(keys_of(&api, "data").await.len(), 1);
    let mut database = keyward.database().await;
    let rows: i64 = rows_naming(&mut database, "v1.").await;
    let named = rows_naming(&mut database, &newest[0]).await + rows_naming(&mut database, "data-").await;
    assert!(rows > 0 && named >= rows, "{rows} {named}");
    assert!(done(&keyward.home().run(&["audit", "verify"], "").await).starts_with("good"));
}

#[tokio::test]
async fn a_row_that_was_tampered_with_stays_refused_after_a_rotation_and_holds_none_up() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let victim = api.agent_key("victim").await;
    let sealed = api.general_key("VICTIM_API", "sk-test-the-value-of-a-victim").await;
    let mut database = keyward.database().await;
    database.execute("UPDATE agent_keys SET expires_at = expires_at + 1 WHERE name = 'victim'").await;
    let copy = format!("general_key_id = '{}'", sealed["id"].as_str().unwrap());
    let Cell::Text(text) = database.cell("general_key_secrets", "sealed", &copy).await else { panic!("a text") };
    let flipped = Cell::Text(text.clone()).flipped(text.len() - 5);
    database.set("general_key_secrets", "sealed", &copy, &flipped).await;
    let mac = database.cell("agent_keys", "mac", "name = 'victim'").await;

    let said = done(&rotate(keyward.home()).await);
    assert!(said.contains("warning: 2 rows fail their integrity check, and stay refused"), "{said}");
    assert_eq!(database.cell("agent_keys", "mac", "name = 'victim'").await, mac, "a row that fails was blessed");
    assert_eq!(database.cell("general_key_secrets", "sealed", &copy).await, flipped);
    let keyward = keyward.stop_to_restart().await.start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    let is_refused = async || {
        keyward.agent(victim["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(401);
    };
    is_refused().await;
    assert_eq!(keys_of(&keyward.api(), "row_mac").await, ["row_mac-000002"], "a row that fails keeps an old key alive");
    // Not even as it was is it good any more: nobody can tell.
    database.execute("UPDATE agent_keys SET expires_at = expires_at - 1 WHERE name = 'victim'").await;
    is_refused().await;
}

#[tokio::test]
async fn a_deleted_key_put_back_or_one_put_there_is_noticed_at_the_start() {
    let home = Home::new().await;
    let mut database = Database::open(&home).await;
    database.execute("CREATE TABLE kept AS SELECT * FROM purpose_keys").await;
    database.execute("CREATE TABLE kept_row AS SELECT keyring_version, keyring_mac FROM installation").await;
    done(&rotate(&home).await);
    let old = "SELECT * FROM kept WHERE purpose = 'row_mac'";
    database.execute(format!("INSERT INTO purpose_keys {old}")).await;
    let (output, home) = home.serve().refused().await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the set of stored keys was changed outside Keyward"), "{said}");
    // Nor with the number and proof of the set it was of.
    database
        .execute(
            "UPDATE installation SET keyring_version = (SELECT keyring_version FROM kept_row), \
             keyring_mac = (SELECT keyring_mac FROM kept_row)",
        )
        .await;
    let (output, home) = home.serve().refused().await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("changed outside Keyward"));
    drop(home);
}

#[tokio::test]
async fn a_pepper_ends_with_the_last_secret_that_is_kept_under_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    done(&rotate(keyward.home()).await);
    let api = keyward.api();
    let scopes =
        ["agent-keys:read", "agent-keys:write", "management-tokens:read", "management-tokens:write", "audit:read"];
    let token = json!({ "name": "new", "scopes": scopes });
    let token = api.post("/management-tokens", token).await.expect(201).json();
    let later = keyward.api_with(token["secret"].as_str());
    for row in api.get("/management-tokens").await.expect(200).json()["items"].as_array().unwrap() {
        if row["id"] != token["id"] {
            let path = format!("/management-tokens/{}", row["id"].as_str().unwrap());
            later.delete(&path).await.expect(204);
        }
    }
    let keyward = keyward.stop_to_restart().await.start().await;
    let later = keyward.api_with(token["secret"].as_str());
    until("a look through all rows", async || {
        later.get("/installation").await.expect(200).json()["integrity"].is_object()
    })
    .await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    assert_eq!(
        keys_of(&later, "pepper").await,
        ["pepper-000001", "pepper-000002"],
        "an agent key is still kept under it"
    );

    later.delete(&world.agent_key_path()).await.expect(204);
    let keyward = keyward.stop_to_restart().await.start().await;
    let later = keyward.api_with(token["secret"].as_str());
    eventually("the end of the old pepper", async || {
        (keys_of(&later, "pepper").await == ["pepper-000002"]).then_some(())
    })
    .await;
    let made = later.agent_key("afterwards").await;
    keyward.agent(made["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn after_others_had_the_master_key_every_key_inside_is_replaced_and_the_general_keys_are_listed() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let next = keyward.home().path().join("next.key");
    fs::write(&next, keyward.home().run(&["master-key", "new"], "").await.stdout).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    let home = keyward.home();
    done(&home.run(&["master-key", "rotate", "--new-master-key-file", next.to_str().unwrap()], "").await);
    let refused = rotate(home).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("a change of the master key is under way"), "{said}");
    fs::rename(&next, home.master_key()).unwrap();
    let load = Load::begin(&keyward, &world);
    let said = done(&home.run(&["master-key", "rotate", "--finish", "--compromised"], "").await);
    load.end().await;
    assert!(said.contains("MY_API") && !said.contains(world.value), "{said}");
    let api = keyward.api();
    for purpose in ["data", "row_mac", "session"] {
        assert_eq!(keys_of(&api, purpose).await, [format!("{purpose}-000002")]);
    }
    for purpose in ["pepper", "audit", "other"] {
        assert_eq!(keys_of(&api, purpose).await, [format!("{purpose}-000001"), format!("{purpose}-000002")]);
    }
    let keyward = keyward.stop_to_restart().await.start().await;
    keyward.agent(world.agent.secret()).chat(World::MODEL).await.expect(200);
    assert!(done(&keyward.home().run(&["audit", "verify"], "").await).starts_with("good"));
}

#[tokio::test]
async fn a_server_that_cannot_take_new_keys_up_holds_a_rotation_and_no_call_fails() {
    let transit = FakeTransit::start().await;
    let provider = FakeProvider::start().await;
    let home = Home::empty();
    let settings = transit.settings(home.path());
    let home = home.bootstrapped_with(&settings).await;
    let keyward = home.serve().with(&settings).start().await;
    let world = keyward.with_linked_model(&provider).await;
    // The server's token ends, and whoever rotates has another one.
    transit.take_only("hvs.another-token-for-tests");
    let others: Vec<(String, String)> = settings
        .iter()
        .map(|(name, value)| match name.as_str() {
            "KEYWARD_TRANSIT_TOKEN_FILE" => {
                (String::from("KEYWARD_TRANSIT_TOKEN"), String::from("hvs.another-token-for-tests"))
            }
            _ => (name.clone(), value.clone()),
        })
        .collect();
    let words: Vec<String> = others.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut launcher = vec!["timeout", "-s", "KILL", "1.5", "env"];
    launcher.extend(words.iter().map(String::as_str));
    let load = Load::begin(&keyward, &world);
    keyward.home().run_by(&launcher, &["master-key", "rotate-data"]).await;
    load.end().await;
    let overview = keyward.api().get("/installation").await.expect(200).json();
    assert_eq!(overview["rotation"]["stage"], "announced", "{overview}");
    assert!(keyward.log().contains("another set of keys cannot be taken up"));
    // A renewed token in its file is all that it takes.
    transit.settings(keyward.home().path());
    let load = Load::begin_again(&keyward, &world, "once more");
    let output = keyward.home().run_with(&others, &["master-key", "rotate-data"]).await;
    load.end().await;
    assert!(done(&output).contains("going on with the rotation that is under way"));
    assert_eq!(keys_of(&keyward.api(), "data").await, ["data-000002"]);
}

#[tokio::test]
async fn the_installation_tells_of_itself() {
    let keyward = TestServer::start().await;
    let overview = keyward.api().get("/installation").await.expect(200).json();
    let database = keyward.home().postgres().map_or("sqlite", |_| "postgresql");
    assert_eq!(overview["database"], database);
    assert_eq!(overview["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&overview["wrapped_by"], &overview["wrapped_next_by"]), (&json!("master_key"), &Value::Null));
    assert_eq!(overview["rotation"], Value::Null);
    assert_eq!(overview["agent_key_max_days"], 90);
    let keys = overview["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 6);
    assert!(keys.iter().all(|key| key["is_current"] == true), "{overview}");
    let head = &overview["audit_head"];
    let kept = format!("{}:{}", head["seq"], head["head"].as_str().unwrap());
    done(&keyward.home().run(&["audit", "verify", "--from-head", &kept], "").await);
    let said = done(&keyward.home().run(&["check"], "").await);
    assert!(said.contains("keys inside: audit 0 days, data 0 days"), "{said}");
}
