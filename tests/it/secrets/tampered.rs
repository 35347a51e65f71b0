//! A database writer can neither read, move, mint nor widen a key: what they changed is refused, and the log says why.

use serde_json::{Value, json};

use crate::harness::{Cell, Database, FakeProvider, TestServer, World, until};

const MODEL: &str = World::MODEL;

/// One change to one row: the row's id, as the log must name it, and what was done.
struct Damage {
    table: &'static str,
    column: String,
    at: usize,
}

/// Every single-byte change of every column of a row that authority rests on.
async fn damages(database: &mut Database, table: &'static str, filter: &str) -> Vec<Damage> {
    let mut damages = Vec::new();
    for column in database.columns(table).await {
        // Last use stands outside the MAC and grants nothing.
        if column == "last_used_at" {
            continue;
        }
        let bytes = database.cell(table, &column, filter).await.bytes();
        damages.extend((0..bytes).map(|at| Damage { table, column: column.clone(), at }));
    }
    damages
}

async fn do_damage(database: &mut Database, damage: &Damage, filter: &str) {
    let before = database.cell(damage.table, &damage.column, filter).await;
    database.set(damage.table, &damage.column, filter, &before.flipped(damage.at)).await;
}

async fn agent_keys(keyward: &TestServer, count: usize) -> Vec<Value> {
    let mut keys = Vec::with_capacity(count);
    for number in 0..count {
        keys.push(keyward.api().agent_key(&spaced_name(number)).await);
    }
    keys
}

/// Names of one length that differ by more than the bit that is flipped: even digits only, in base 5.
fn spaced_name(number: usize) -> String {
    let digit = |place: u32| char::from(b'0' + u8::try_from(number / 5_usize.pow(place) % 5 * 2).unwrap());
    format!("key-{}", (0..5).rev().map(digit).collect::<String>())
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}

/// One key for each byte, so that one start tells of all of them.
#[tokio::test]
async fn each_byte_of_an_agent_key_s_rows_flipped_is_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let sample = keyward.api().agent_key("key-xxxxx").await;
    let mut database = keyward.database().await;
    let of_key = |key: &Value| format!("id = '{}'", text(key, "id"));
    let of_secret = |key: &Value| format!("agent_key_id = '{}'", text(key, "id"));

    let mut damages_of_key = damages(&mut database, "agent_keys", &of_key(&sample)).await;
    let of_its_secret = damages(&mut database, "agent_secrets", &of_secret(&sample)).await;
    damages_of_key.extend(of_its_secret);
    assert!(damages_of_key.len() > 300, "{} changes cannot be all", damages_of_key.len());

    let keys = agent_keys(&keyward, damages_of_key.len()).await;
    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    database.execute("BEGIN").await;
    for (damage, key) in damages_of_key.iter().zip(&keys) {
        let filter = if damage.table == "agent_keys" { of_key(key) } else { of_secret(key) };
        do_damage(&mut database, damage, &filter).await;
    }
    database.execute("COMMIT").await;
    drop(database);

    let keyward = home.serve().start().await;
    for (damage, key) in damages_of_key.iter().zip(&keys) {
        let answer = keyward.agent(text(key, "secret")).chat(MODEL).await;
        let Damage { table, column, at } = damage;
        assert!([401, 503].contains(&answer.status), "byte {at} of {table}.{column} flipped: {answer}");
    }
    provider.received_nothing();

    // Each has its line in the log; where the id itself was changed, under the id it has now.
    let log = keyward.log();
    for (damage, key) in damages_of_key.iter().zip(&keys) {
        let Damage { table, column, at } = damage;
        let moved = ["id", "agent_key_id", "digest"].contains(&column.as_str());
        let told = log.lines().any(|line| line.contains("refused") && line.contains(text(key, "id")));
        let secret_told = *table == "agent_secrets" && log.contains("agent_secrets");
        assert!(told || moved || secret_told, "byte {at} of {table}.{column}: nothing in the log");
    }
    // The untouched are as good as before.
    world.agent.chat(MODEL).await.expect(200);
    keyward.agent(text(&sample, "secret")).chat(MODEL).await.expect(200);
}

#[tokio::test]
async fn each_byte_of_a_sealed_value_flipped_is_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let mut database = keyward.database().await;
    let of = |key: &Value| format!("general_key_id = '{}'", text(key, "id"));

    // A row more than it has bytes: the last one stays whole.
    let sealed = damages(&mut database, "general_key_secrets", &of(&world.general_key)).await;
    let mut keys = Vec::new();
    for number in 0..=sealed.len() {
        let key = api.general_key(&format!("key-{number:04}"), World::VALUE).await;
        let body = json!({ "name": format!("m-{number:04}"), "provider_id": world.provider["id"], "general_key_id": key["id"] });
        api.post("/models", body).await.expect(201);
        keys.push(key);
    }
    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    database.execute("BEGIN").await;
    for (damage, key) in sealed.iter().zip(&keys) {
        do_damage(&mut database, damage, &of(key)).await;
    }
    database.execute("COMMIT").await;
    drop(database);

    let keyward = home.serve().start().await;
    let agent = keyward.agent(world.agent.secret());
    for (number, damage) in sealed.iter().enumerate() {
        let answer = agent.chat(&format!("m-{number:04}")).await;
        let Damage { column, at, .. } = damage;
        assert!(answer.status >= 400 && answer.status != 401, "byte {at} of {column} flipped: {answer}");
    }
    provider.received_nothing();
    let log = keyward.log();
    let reasons = log.lines().filter(|line| line.contains("general_key_secrets") && line.contains("refused")).count();
    assert!(reasons > 0, "no reason in the log");

    agent.chat(&format!("m-{:04}", sealed.len())).await.expect(200);
    assert_eq!(provider.only_call().header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
}

#[tokio::test]
async fn a_sealed_value_moved_to_another_row_is_refused() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let other = api.general_key("OTHER", "sk-test-value-that-is-another").await;
    let body = json!({ "name": "other", "provider_id": world.provider["id"], "general_key_id": other["id"] });
    api.post("/models", body).await.expect(201);

    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    let (mine, theirs) = (secret_of(&world.general_key), secret_of(&other));
    for column in ["sealed", "version", "mac"] {
        let (left, right) = (
            database.cell("general_key_secrets", column, &mine).await,
            database.cell("general_key_secrets", column, &theirs).await,
        );
        database.set("general_key_secrets", column, &mine, &right).await;
        database.set("general_key_secrets", column, &theirs, &left).await;
    }
    let keyward = home.serve().start().await;
    let agent = keyward.agent(world.agent.secret());
    for model in [MODEL, "other"] {
        let answer = agent.chat(model).await;
        assert!(answer.status >= 500, "{answer}");
    }
    provider.received_nothing();
}

fn secret_of(key: &Value) -> String {
    format!("general_key_id = '{}'", text(key, "id"))
}

#[tokio::test]
async fn a_base_url_changed_in_the_database_sends_the_key_nowhere() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let evil = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let other = keyward.api().provider("evil", "openai-compatible", &evil.base_url(), &Value::Null).await;
    let row = format!("id = '{}'", text(&world.provider, "id"));

    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    database.set("providers", "base_url", &row, &Cell::Text(evil.base_url())).await;
    let keyward = home.serve().start().await;
    let agent = keyward.agent(world.agent.secret());
    let answer = agent.chat(MODEL).await;
    assert!(answer.status >= 400 && answer.status != 401, "{answer}");

    // With a whole row, MAC and all, copied from a provider of the writer's own.
    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    let from = format!("id = '{}'", text(&other, "id"));
    for column in database.columns("providers").await {
        if !["id", "name", "name_key"].contains(&column.as_str()) {
            let value = database.cell("providers", &column, &from).await;
            database.set("providers", &column, &row, &value).await;
        }
    }
    let keyward = home.serve().start().await;
    let answer = keyward.agent(world.agent.secret()).chat(MODEL).await;
    assert!(answer.status >= 400 && answer.status != 401, "{answer}");
    evil.received_nothing();
    provider.received_nothing();
}

#[tokio::test]
async fn a_link_a_model_or_a_key_made_up_in_the_database_counts_for_nothing() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let evil = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let bare = api.provider("evil", "openai-compatible", &evil.base_url(), &Value::Null).await;
    api.model("evil-model", &bare).await;
    let removed = api.agent_key("removed").await;
    let path = format!("/agent-keys/{}", text(&removed, "id"));
    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    let saved = rows(&mut database, &removed).await;
    drop(database);
    let keyward = home.serve().start().await;
    keyward.api().delete(&path).await.expect(204);

    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    // The link moved from its provider to the writer's.
    let link = format!("general_key_id = '{}'", text(&world.general_key, "id"));
    database.set("links", "target_id", &link, &Cell::Text(text(&bare, "id").to_owned())).await;
    let keyward = home.serve().start().await;
    let agent = keyward.agent(world.agent.secret());
    agent.chat("evil-model").await;
    agent.chat(MODEL).await;
    assert!(evil.calls().iter().chain(&provider.calls()).all(|call| !call.mentions(world.value)));

    // A key made up: another's digest under a new id.
    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    for sql in saved.made_up {
        database.execute(sql).await;
    }
    let keyward = home.serve().start().await;
    let calls = provider.calls().len() + evil.calls().len();
    let answer = keyward.agent(text(&removed, "secret")).chat("evil-model").await;
    assert!([401, 503].contains(&answer.status), "{answer}");
    assert_eq!(provider.calls().len() + evil.calls().len(), calls);
}

#[tokio::test]
async fn a_link_or_a_model_changed_in_the_database_falls_back_to_no_other_key() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let own = api.general_key("OWN", "sk-test-value-of-the-model-itself").await;
    let made = |name: &str| json!({ "name": name, "provider_id": world.provider["id"], "upstream_model": "cheap", "general_key_id": own["id"] });
    let model = api.post("/models", made("own")).await.expect(201).json();
    api.post("/models", made("fake/gpt")).await.expect(201);
    world.agent.chat("own").await.expect(200);
    assert_eq!(provider.only_call().header("authorization"), Some("Bearer sk-test-value-of-the-model-itself"));

    let link = format!("target_id = '{}'", text(&model, "id"));
    let of_provider = format!("target_id = '{}'", text(&world.provider, "id"));
    for (sql, called) in [
        (format!("UPDATE links SET weight = 2 WHERE {link}"), "own"),
        (format!("DELETE FROM links WHERE {link}"), "own"),
        (format!("DELETE FROM links WHERE {of_provider}"), World::MODEL),
        (String::from("UPDATE models SET created_at = created_at + 1 WHERE name = 'fake/gpt'"), "fake/gpt"),
        (String::from("UPDATE models SET name = 'renamed' WHERE name = 'fake/gpt'"), "fake/gpt"),
        (String::from("UPDATE providers SET created_at = created_at + 1"), "own"),
    ] {
        let mut database = Database::open(keyward.home()).await;
        database.execute(sql.clone()).await;
        until("the change to be noticed", async || world.agent.chat(called).await.status == 503).await;
    }
    let injected: Vec<_> =
        provider.calls().iter().map(|call| call.header("authorization").map(str::to_owned)).collect();
    let expected =
        [Some(String::from("Bearer sk-test-value-of-the-model-itself")), Some(format!("Bearer {}", world.value))];
    assert!(injected.iter().all(|header| expected.contains(header)), "{injected:?}");
    assert!(
        provider.calls().iter().all(|call| call.json()["model"] != "gpt"),
        "the name fell through to the provider's"
    );
}

/// Statements that bring a key back under another id, its MAC copied along.
struct Saved {
    made_up: Vec<String>,
}

async fn rows(database: &mut Database, key: &Value) -> Saved {
    let id = text(key, "id");
    // Another id in any case: a row put back as it was would be a rollback, which is not what this is about.
    let last = if id.ends_with('0') { '1' } else { '0' };
    let other = format!("{}{last}", &id[..id.len() - 1]);
    let mut made_up = Vec::new();
    for (table, filter) in [("agent_keys", format!("id = '{id}'")), ("agent_secrets", format!("agent_key_id = '{id}'"))]
    {
        let columns = database.columns(table).await;
        let mut values = Vec::new();
        for column in &columns {
            values.push(match database.cell(table, column, &filter).await {
                Cell::Integer(number) => number.to_string(),
                Cell::Text(text) => format!("'{}'", text.replace(id, &other).replace('\'', "''")),
            });
        }
        made_up.push(format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), values.join(", ")));
    }
    Saved { made_up }
}

#[tokio::test]
async fn a_life_made_longer_in_the_database_ends_at_once_instead() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let body = json!({ "name": "one day", "expires_in_days": 1 });
    let short = keyward.api().post("/agent-keys", body).await.expect(201).json();
    let row = format!("id = '{}'", text(&short, "id"));

    let home = keyward.stop().await;
    let mut database = Database::open(&home).await;
    database.set("agent_keys", "expires_at", &row, &Cell::Integer(4_102_444_800_000)).await;
    let keyward = home.serve().days_later(2).start().await;
    keyward.agent(text(&short, "secret")).chat(MODEL).await.expect(401);
    keyward.agent(world.agent.secret()).chat(MODEL).await.expect(200);
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn a_foreign_write_to_a_running_server_s_database_is_noticed() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let off = keyward.api().agent_key("off").await;
    keyward.api().act(&format!("/agent-keys/{}/disable", text(&off, "id"))).await.expect(200);
    world.agent.chat(MODEL).await.expect(200);

    let mut database = keyward.database().await;
    let row = format!("id = '{}'", text(&off, "id"));
    database.set("agent_keys", "disabled_at", &row, &Cell::Integer(0)).await;
    let mine = format!("id = '{}'", text(&world.agent_key, "id"));
    database.set("agent_keys", "name", &mine, &Cell::Text("ABC-Kez".into())).await;

    until("the tampered row's refusal", async || world.agent.chat(MODEL).await.status != 200).await;
    let answer = keyward.agent(text(&off, "secret")).chat(MODEL).await;
    assert!([401, 503].contains(&answer.status), "a key was enabled from outside: {answer}");
    assert!(keyward.log().lines().any(|line| line.contains(text(&world.agent_key, "id")) && line.contains("refused")));
}

#[tokio::test]
async fn a_member_s_role_or_a_token_s_scopes_changed_in_the_database_open_nothing() {
    for (table, column) in [("members", "role"), ("management_tokens", "scopes"), ("management_tokens", "expires_at")] {
        let keyward = TestServer::start().await;
        let home = keyward.stop().await;
        let mut database = Database::open(&home).await;
        let before = database.cell(table, column, "1 = 1").await;
        database.set(table, column, "1 = 1", &before.flipped(0)).await;
        let keyward = home.serve().start().await;
        let answer = keyward.api().get("/general-keys").await;
        assert!([401, 403, 503].contains(&answer.status), "{table}.{column}: {answer}");
    }
}

#[tokio::test]
async fn a_damaged_key_is_told_as_such_listed_nowhere_and_can_be_deleted() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let agent = api.agent_key("agent").await;
    let general = api.general_key("GENERAL", World::VALUE).await;
    let mut database = keyward.database().await;
    for (table, key) in [("agent_keys", &agent), ("general_keys", &general)] {
        let row = format!("id = '{}'", text(key, "id"));
        database.set(table, "name", &row, &Cell::Text("changed".into())).await;
    }
    for (list, key) in [("/agent-keys", &agent), ("/general-keys", &general)] {
        let path = format!("{list}/{}", text(key, "id"));
        api.get(&path).await.problem_called(503, "integrity_check_failed");
        assert_eq!(api.get(list).await.expect(200).json()["items"], json!([]));
        api.delete(&path).await.expect(204);
        api.get(&path).await.expect(404);
    }
}

#[tokio::test]
async fn a_damaged_provider_or_model_is_told_as_such_and_can_be_deleted() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let stray = api.model("stray", &world.provider).await;
    let kept = api.model("kept", &world.provider).await;
    let owner = keyward.sign_in("owner@example.com", "a password for tests only").await.expect(303);
    let console = keyward.signed_in(&owner);
    let path = |kind: &str, row: &Value| format!("/{kind}/{}", text(row, "id"));
    let row = |row: &Value| format!("id = '{}'", text(row, "id"));

    let mut database = keyward.database().await;
    database.set("models", "upstream_model", &row(&world.model), &Cell::Text("dearer".into())).await;
    database.set("models", "provider_id", &row(&stray), &Cell::Text("pr_gone".into())).await;
    until("the change to be noticed", async || world.agent.chat(MODEL).await.status == 503).await;
    for (model, shown) in [(&world.model, "Damaged"), (&stray, "names a provider that is not there")] {
        api.get(&path("models", model)).await.problem_called(503, "integrity_check_failed");
        let catalog = console.page("/catalog").await.expect(200).text();
        assert!(catalog.contains(shown), "not a word of {shown}: {catalog}");
        let page = console.page(&format!("/catalog{}/edit", path("models", model))).await.expect(200).text();
        assert!(page.contains("The integrity check failed."), "{page}");
        let delete = format!("/catalog{}/delete", path("models", model));
        console.page(&delete).await.expect(200);
        console.form(&delete, &[("version", "1")]).await.expect(303);
        api.get(&path("models", model)).await.problem(404);
        assert!(!console.page("/catalog").await.expect(200).text().contains(shown));
    }
    world.agent.chat(MODEL).await.refused(404, "model_not_found");
    world.agent.chat("kept").await.expect(200);

    database.set("providers", "base_url", &row(&world.provider), &Cell::Text("http://127.0.0.1:9/v1".into())).await;
    until("the change to be noticed", async || world.agent.chat("kept").await.status == 503).await;
    api.get(&world.provider_path()).await.problem_called(503, "integrity_check_failed");
    let page = console.page(&format!("/catalog{}/edit", world.provider_path())).await.expect(200).text();
    assert!(page.contains("The integrity check failed."), "{page}");
    let refused = api.delete(&world.provider_path()).await.problem_called(409, "has_models");
    assert!(refused.text().contains("kept"), "{refused}");
    api.delete(&format!("{}?force=true", world.provider_path())).await.expect(204);
    api.get(&world.provider_path()).await.problem(404);
    api.get(&path("models", &kept)).await.problem(404);
    world.agent.chat("kept").await.refused(404, "model_not_found");
    assert_eq!(api.read("/general-keys", &world.general_key["id"]).await["linked_to"], json!([]));
    drop(database);
    let home = keyward.stop().await;
    assert_eq!(home.run(&["audit", "verify"], "").await.status.code(), Some(0));
}
