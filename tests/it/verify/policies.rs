//! `/policies`, and verifications that go by them.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, FakeProvider, TestServer, World, eventually};

async fn ask(keyward: &TestServer, secret: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let agent = keyward.agent(secret);
    let mut request = agent.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    agent.send(request).await
}

#[tokio::test]
async fn a_key_is_let_in_that_has_all_that_is_asked() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    let secret = world.agent.secret();
    let made = api.post("/policies", json!({ "name": "Innere Suche" })).await.expect(201);
    let path = made.header("location").unwrap().trim_start_matches("/api/v1").to_owned();
    let at = "/auth/policies/Innere%20Suche/verify";
    // Nothing is asked yet but a good key.
    for path in [at, "/auth/policies/Innere%20Suche/verify/", "/auth/policies/Innere%20Suche/verify/x?y=z"] {
        let answer = ask(&keyward, secret, path, &[]).await.expect(200);
        assert_eq!(answer.header("x-keyward-key-id"), world.agent_key["id"].as_str());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    ask(&keyward, "kw_nonsense", at, &[]).await.expect(401);
    ask(&keyward, "kw_nonsense", "/auth/policies/none/verify", &[]).await.expect(401);
    ask(&keyward, secret, "/auth/policies/none/verify", &[]).await.refused(404, "policy_not_found");

    api.patch(&path, json!({ "requires": { "tags": ["prod", "search"] } })).await.expect(200);
    let refused = ask(&keyward, secret, at, &[]).await.refused(403, "policy_not_met").text();
    assert!(refused.contains("prod"), "{refused}");
    api.patch(&world.agent_key_path(), json!({ "tags": ["search", "more", "prod"] })).await.expect(200);
    ask(&keyward, secret, at, &[]).await.expect(200);

    api.patch(&path, json!({ "requires": { "models": [World::MODEL], "tags": null } })).await.expect(200);
    ask(&keyward, secret, at, &[]).await.expect(200);
    api.patch(&world.agent_key_path(), json!({ "limits": { "allowed_models": ["other*"] } })).await.expect(200);
    ask(&keyward, secret, at, &[]).await.refused(403, "model_not_allowed");
    api.patch(&world.agent_key_path(), json!({ "limits": { "allowed_models": ["fake/*"] } })).await.expect(200);
    ask(&keyward, secret, at, &[]).await.expect(200);

    let routes = json!({ "models": [], "routes": ["/search", "/search/*"] });
    api.patch(&path, json!({ "requires": routes })).await.expect(200);
    for (rest, status) in [
        ("/search", 200),
        ("/search/a/b?c=/x", 200),
        ("/searching", 403),
        ("", 403),
        ("/", 403),
        ("/search/%2e%2e/admin", 403),
        ("/search//x", 403),
    ] {
        let answer = ask(&keyward, secret, &format!("{at}{rest}"), &[("x-forwarded-uri", "/search")]).await;
        assert_eq!(answer.status, status, "{rest}: {answer}");
    }
    api.patch(&path, json!({ "requires": { "routes_from": "x-forwarded-uri" } })).await.expect(200);
    for (told, status) in [("/search?x=1", 200), ("/admin", 403), ("", 403)] {
        let answer = ask(&keyward, secret, &format!("{at}/search"), &[("x-forwarded-uri", told)]).await;
        assert_eq!(answer.status, status, "{told}: {answer}");
    }
    ask(&keyward, secret, &format!("{at}/search"), &[]).await.refused(403, "route_not_allowed");
}

#[tokio::test]
async fn an_answer_may_be_kept_for_as_long_as_the_policy_says_and_no_refusal() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.agent_key("ABC-Key").await;
    let secret = key["secret"].as_str().unwrap();
    api.post("/policies", json!({ "name": "kept", "requires": { "cache_seconds": 30 } })).await.expect(201);
    let answer = ask(&keyward, secret, "/auth/policies/kept/verify", &[]).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("private, max-age=30"));
    assert_eq!(ask(&keyward, secret, "/auth/verify", &[]).await.header("cache-control"), Some("no-store"));
    let refused = ask(&keyward, "kw_nonsense", "/auth/policies/kept/verify", &[]).await.expect(401);
    assert_eq!(refused.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn are_made_listed_edited_and_deleted_and_every_change_is_recorded() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let made = api
        .post("/policies", json!({ "name": "one", "requires": { "tags": ["b", "a", "b"] } }))
        .await
        .expect(201)
        .json();
    let wanted = json!({ "models": [], "tags": ["a", "b"], "routes": [], "routes_from": "path", "cache_seconds": 0 });
    assert_eq!(made["requires"], wanted);
    assert!(made["id"].as_str().unwrap().starts_with("po_"), "{made}");
    api.post("/policies", json!({ "name": "ONE" })).await.problem_called(409, "name_taken");
    for bad in [
        json!({ "name": "a/b" }),
        json!({ "name": "" }),
        json!({ "name": "x", "requires": { "tags": ["A"] } }),
        json!({ "name": "x", "requires": { "models": ["gpt*"] } }),
        json!({ "name": "x", "requires": { "routes": ["search"] } }),
        json!({ "name": "x", "requires": { "routes_from": "query" } }),
        json!({ "name": "x", "requires": { "cache_seconds": 301 } }),
        json!({ "name": "x", "requires": { "cache_seconds": -1 } }),
        json!({ "name": "x", "requires": { "scope": "all" } }),
    ] {
        api.post("/policies", bad).await.problem(422);
    }
    let path = format!("/policies/{}", made["id"].as_str().unwrap());
    let wrong = json!({ "name": "a/b", "requires": { "tags": ["A"], "routes": ["search"], "cache_seconds": 301 } });
    for refused in [api.post("/policies", wrong.clone()).await, api.patch(&path, wrong).await] {
        let refused = refused.problem(422);
        ["/name", "/requires/tags", "/requires/routes", "/requires/cache_seconds"]
            .into_iter()
            .fold(refused, |refused, field| refused.at(field));
    }
    let edited = api.patch(&path, json!({ "name": "two" })).await.expect(200).json();
    assert_eq!((&edited["name"], &edited["requires"]), (&json!("two"), &wanted));
    let stale = api.request(Method::PATCH, &path).header("if-match", "\"1\"").json(&json!({ "name": "three" }));
    api.send(stale).await.problem(412);
    let listed = api.get("/policies?search=TW").await.expect(200).json();
    assert_eq!((&listed["items"][0]["id"], &listed["total"]), (&made["id"], &json!(1)));
    api.delete(&path).await.expect(204);
    api.get(&path).await.problem(404);
    let events = api.audit_events().await;
    let actions: Vec<_> = events.iter().map(|event| event["action"].as_str().unwrap()).collect();
    for action in ["policy.create", "policy.edit", "policy.delete"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
}

#[tokio::test]
async fn one_that_was_altered_outside_keyward_lets_nobody_in() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let secret = api.agent_key("ABC-Key").await["secret"].as_str().unwrap().to_owned();
    api.post("/policies", json!({ "name": "narrow", "requires": { "tags": ["x"] } })).await.expect(201);
    ask(&keyward, &secret, "/auth/policies/narrow/verify", &[]).await.expect(403);
    let mut database = keyward.database().await;
    database.execute("UPDATE policies SET requires = '{}'").await;
    let answer = eventually("a refusal", async || {
        let answer = ask(&keyward, &secret, "/auth/policies/narrow/verify", &[]).await;
        assert_ne!(answer.status, 200, "{answer}");
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.json()["error"]["code"], "storage_unavailable");
    let listed: Value = api.get("/policies").await.expect(200).json();
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn its_pages_tell_how_it_is_used_and_all_that_is_wrong_with_it() {
    let keyward = TestServer::start().await;
    let owner = keyward.person("boss", "owner").await.api;
    let made = owner.post("/policies", json!({ "name": "one", "requires": { "routes": ["/a"] } })).await.expect(201);
    let page = format!("/settings/policies/{}", made.json()["id"].as_str().unwrap());
    let shown = owner.page(&format!("{page}/use")).await.expect(200).text();
    assert!(shown.contains("path_prefix: /auth/policies/one/verify"), "{shown}");
    let form = [("name", "a/b"), ("tags", "A"), ("routes", "a"), ("routes_from", "path"), ("cache_seconds", "x")];
    let refused =
        owner.form(&format!("{page}/edit"), &[&form[..], &[("version", "1")]].concat()).await.expect(422).text();
    for field in ["name", "tags", "routes", "cache_seconds"] {
        assert!(refused.contains(&format!("id=\"{field}-error\"")), "{field}: {refused}");
    }
    // No place of the path that the form offers.
    let forged = [("name", "x"), ("routes_from", "query"), ("version", "1")];
    owner.form(&format!("{page}/edit"), &forged).await.expect(400);
    owner.page(&format!("{page}/delete")).await.expect(200);
    owner.form(&format!("{page}/delete"), &[("version", "7")]).await.expect(409);
    owner.form(&format!("{page}/delete"), &[("version", "1")]).await.expect(303);
    owner.page(&format!("{page}/use")).await.expect(404);
}
