//! Who may do what: every operation of the description, by every role, on one's own thing and on another's.

use std::collections::HashMap;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Api, Person, TestServer, until};

const ROLES: [&str; 5] = ["owner", "admin", "operator", "member", "auditor"];
const ALL: &str = "owner admin operator member auditor";

/// An operation, who may do it with a thing of their own (or where nobody has one), and with another's.
type Rule = (&'static str, &'static str, &'static str);

/// What is expected, written down apart from the code that decides. An operation that is not here fails the test.
const EXPECTED: [Rule; 66] = [
    ("GET /general-keys", "owner admin operator auditor", ""),
    ("POST /general-keys", "owner admin", ""),
    ("GET /general-keys/{id}", "owner admin operator auditor", ""),
    ("PATCH /general-keys/{id}", "owner admin operator", ""),
    ("DELETE /general-keys/{id}", "owner admin", ""),
    ("POST /general-keys/{id}/test", "owner admin operator", ""),
    ("GET /agent-keys", ALL, ""),
    ("POST /agent-keys", "owner admin member", ""),
    ("GET /agent-keys/{id}", ALL, "owner admin operator auditor"),
    ("PATCH /agent-keys/{id}", "owner admin operator member", "owner admin operator"),
    ("DELETE /agent-keys/{id}", "owner admin member", "owner admin"),
    ("POST /agent-keys/{id}/disable", "owner admin operator member", "owner admin operator"),
    ("POST /agent-keys/{id}/enable", "owner admin operator member", "owner admin operator"),
    ("POST /agent-keys/bulk-create", "owner admin member", ""),
    ("POST /agent-keys/import", "owner admin", ""),
    ("POST /agent-keys/bulk-disable", "owner admin operator member", ""),
    ("POST /agent-keys/bulk-enable", "owner admin operator member", ""),
    ("POST /agent-keys/bulk-delete", "owner admin member", ""),
    ("POST /agent-keys/bulk-tag", "owner admin operator member", ""),
    // Whoever has a key may end it, signed in or not.
    ("POST /agent-keys/revoke-leaked", ALL, ""),
    ("POST /agent-keys/{id}/rotate", "owner admin member", "owner admin"),
    ("POST /agent-keys/{id}/retire", "owner admin operator member", "owner admin operator"),
    ("GET /agent-keys/{id}/secrets", ALL, "owner admin operator auditor"),
    ("GET /agent-key-defaults", "owner admin operator auditor", ""),
    ("PATCH /agent-key-defaults", "owner admin", ""),
    ("GET /providers", "owner admin operator auditor", ""),
    ("POST /providers", "owner admin", ""),
    ("GET /providers/{id}", "owner admin operator auditor", ""),
    ("PATCH /providers/{id}", "owner admin", ""),
    ("DELETE /providers/{id}", "owner admin", ""),
    ("GET /providers/{id}/available-models", "owner admin", ""),
    ("POST /providers/{id}/import-models", "owner admin", ""),
    ("GET /models", ALL, ""),
    ("POST /models", "owner admin", ""),
    ("GET /models/{id}", ALL, ""),
    ("PATCH /models/{id}", "owner admin", ""),
    ("DELETE /models/{id}", "owner admin", ""),
    ("GET /policies", "owner admin operator auditor", ""),
    ("POST /policies", "owner admin", ""),
    ("GET /policies/{id}", "owner admin operator auditor", ""),
    ("PATCH /policies/{id}", "owner admin", ""),
    ("DELETE /policies/{id}", "owner admin", ""),
    ("GET /webhooks", "owner admin auditor", ""),
    ("POST /webhooks", "owner admin", ""),
    ("GET /webhooks/{id}", "owner admin auditor", ""),
    ("PATCH /webhooks/{id}", "owner admin", ""),
    ("DELETE /webhooks/{id}", "owner admin", ""),
    ("POST /webhooks/{id}/test", "owner admin", ""),
    ("GET /webhooks/{id}/deliveries", "owner admin auditor", ""),
    ("POST /mail/test", "owner admin", ""),
    ("GET /members", "owner admin auditor", ""),
    ("POST /members", "owner admin", ""),
    // Of members, one's own is oneself, and another's is an owner.
    ("GET /members/{id}", "owner admin auditor", "owner admin auditor"),
    ("PATCH /members/{id}", "owner admin", "owner"),
    ("DELETE /members/{id}", "owner admin", "owner"),
    ("POST /members/{id}/invitation", "owner admin", "owner"),
    ("DELETE /members/{id}/second-factor", "owner admin", "owner"),
    ("GET /management-tokens", ALL, ""),
    ("POST /management-tokens", "owner admin operator member", ""),
    ("GET /management-tokens/{id}", ALL, "owner admin auditor"),
    ("PATCH /management-tokens/{id}", "owner admin operator member", "owner"),
    ("DELETE /management-tokens/{id}", "owner admin operator member", "owner"),
    ("GET /audit-events", "owner admin auditor", ""),
    ("GET /usage", "owner admin operator auditor", ""),
    ("GET /installation", "owner admin auditor", ""),
    ("POST /oauth2/introspect", "owner admin", ""),
];

/// A body that is refused as such, but only to those who may; where the domain decides, one that is good.
fn body_of(operation: &str) -> Option<Value> {
    match operation.split_once(' ').unwrap() {
        ("PATCH", path) if path.starts_with("/members") => Some(json!({ "name": "renamed" })),
        ("POST", "/agent-keys/import") => Some(json!({ "issuer": "sha256", "agent_keys": [] })),
        ("POST", path) if path.ends_with("/invitation") || path.starts_with("/oauth2/") => None,
        ("POST" | "PATCH", _) => Some(json!({ "no_such_field": 1 })),
        _ => None,
    }
}

struct Things {
    /// By collection and role: what that role's member has.
    own: HashMap<(String, &'static str), String>,
    /// By collection: what another member has.
    others: HashMap<String, String>,
}

#[tokio::test]
async fn every_operation_is_open_to_the_roles_it_is_for_and_to_no_other() {
    let keyward = TestServer::start().await;
    let mut people = HashMap::new();
    let mut things = common_things(&keyward).await;
    for role in ROLES {
        people.insert(role, person_with_things(&keyward, role, &mut things).await);
    }
    let request = keyward.api().outside(Method::GET, "/openapi.json");
    let description = keyward.api().send(request).await.expect(200).json();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let operation = format!("{} {}", method.to_uppercase(), path.trim_start_matches("/api/v1"));
            let Some((_, own, others)) = EXPECTED.iter().find(|(name, _, _)| *name == operation) else {
                panic!("{operation} is described, and nothing here says who may do it");
            };
            seen += 1;
            for role in ROLES {
                for (whose, expected) in [("own", own), ("another's", others)] {
                    let Some(path) = things.path(&operation, role, whose) else { continue };
                    let answer = call(&people[role].api, &operation, &path).await;
                    let is_allowed = match answer.0 {
                        403 => false,
                        200 | 201 | 204 | 409 | 412 | 422 => true,
                        // Its provider is not there.
                        502 if operation.ends_with("available-models") => true,
                        other => panic!("{operation} as {role} on {whose}: {other} {}", answer.1),
                    };
                    if is_allowed != expected.split(' ').any(|may| may == role) {
                        wrong.push(format!("{operation} as {role} on {whose}: {} {}", answer.0, answer.1));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(seen, EXPECTED.len(), "an operation that is expected is not described");
}

async fn call(api: &Api, operation: &str, path: &str) -> (u16, String) {
    let method: Method = operation.split_once(' ').unwrap().0.parse().unwrap();
    // No version is that high: who may gets 412 instead of the change.
    let request = match path.starts_with("/oauth2/") {
        true => {
            api.outside(method, path).header("content-type", "application/x-www-form-urlencoded").body("token=whatever")
        }
        false => api.request(method, path).header("if-match", "\"999999\""),
    };
    let request = match body_of(operation) {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = api.send(request).await;
    (answer.status, answer.text())
}

impl Things {
    /// Where an operation is tried; `None` where it is about no thing, or about one that nobody owns, a second time.
    fn path(&self, operation: &str, role: &'static str, whose: &str) -> Option<String> {
        let path = operation.split_once(' ').unwrap().1;
        let collection = path.split('/').nth(1).unwrap().to_owned();
        let id = match (path.contains("{id}"), whose) {
            (false, "own") => return Some(path.to_owned()),
            (false, _) => return None,
            (true, "own") => self.own.get(&(collection.clone(), role)).or_else(|| self.own.get(&(collection, "")))?,
            (true, _) => self.others.get(&collection)?,
        };
        Some(path.replace("{id}", id))
    }
}

/// What the bootstrapped owner has: keys and tokens that are another's to everybody else, and what belongs to nobody.
async fn common_things(keyward: &TestServer) -> Things {
    let api = keyward.api();
    let mut things = Things { own: HashMap::new(), others: HashMap::new() };
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let general = api.general_key("GENERAL", "sk-test-value-of-the-matrix").await;
    let provider = api.provider("p", "openai-compatible", "http://127.0.0.1:9/v1", &Value::Null).await;
    let model = api.model("m", &provider).await;
    let webhook = json!({ "name": "webhook", "url": "http://127.0.0.1:9/hook" });
    let webhook = api.post("/webhooks", webhook).await.expect(201).json();
    let policy = api.post("/policies", json!({ "name": "policy" })).await.expect(201).json();
    for (collection, thing) in [
        ("general-keys", &general),
        ("providers", &provider),
        ("models", &model),
        ("policies", &policy),
        ("webhooks", &webhook),
    ] {
        things.own.insert((collection.to_owned(), ""), id(thing));
    }
    things.others.insert(String::from("agent-keys"), id(&api.agent_key("the owner's").await));
    things.others.insert(String::from("management-tokens"), id(&token(&api, "the owner's").await));
    let members = api.get("/members").await.expect(200).json();
    things.others.insert(String::from("members"), id(&members["items"][0]));
    things
}

/// A member who had things made while an admin, and has the role now.
async fn person_with_things(keyward: &TestServer, role: &'static str, things: &mut Things) -> Person {
    let person = keyward.person(&format!("the-{role}"), "admin").await;
    let key = person.api.agent_key(role).await;
    let token = token(&person.api, role).await;
    let other = keyward.api().post("/members", json!({ "email": format!("{role}-2@example.com") })).await.expect(201);
    keyward.api().patch(&person.path(), json!({ "role": role })).await.expect(200);
    // Another invited member stands for oneself: who tries this out must not be gone afterwards.
    for (collection, thing) in [("agent-keys", &key), ("management-tokens", &token), ("members", &other.json())] {
        things.own.insert((collection.to_owned(), role), thing["id"].as_str().unwrap().to_owned());
    }
    person
}

async fn token(api: &Api, name: &str) -> Value {
    let body = json!({ "name": name, "scopes": ["agent-keys:read"] });
    api.post("/management-tokens", body).await.expect(201).json()
}

#[tokio::test]
async fn a_refusal_says_which_role_may_and_a_flood_of_them_makes_few_events() {
    let keyward = TestServer::start().await;
    let auditor = keyward.person("auditor", "auditor").await;
    for _ in 0..30 {
        let refused = auditor.api.post("/providers", json!({})).await.problem_called(403, "forbidden");
        assert_eq!(refused.json()["allowed_roles"], json!(["owner", "admin"]));
        assert!(refused.json()["detail"].as_str().unwrap().contains("owner or admin"), "{refused}");
    }
    let refusals = async || {
        let events = keyward.api().audit_events().await;
        events.into_iter().filter(|event| event["action"] == "access.refused").collect::<Vec<_>>()
    };
    until("the refusal in the audit log", async || !refusals().await.is_empty()).await;
    let events = refusals().await;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["actor"]["id"], auditor.id());
    assert_eq!(events[0]["target"]["name"], "change providers");
}

#[tokio::test]
async fn lists_hold_one_s_own_keys_only_where_the_role_reaches_no_further() {
    let keyward = TestServer::start().await;
    keyward.api().agent_key("the owner's").await;
    let member = keyward.person("member", "member").await;
    let own = member.api.agent_key("their own").await;
    let listed = member.api.get("/agent-keys").await.expect(200).json();
    assert_eq!((&listed["total"], &listed["items"][0]["id"]), (&json!(1), &own["id"]));
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(keyward.api().get("/agent-keys").await.json()["total"], 2);
    let shown = member.api.page("/keys/agent").await.expect(200).text();
    assert!(shown.contains("their own") && !shown.contains("the owner"), "{shown}");
}

#[tokio::test]
async fn pages_are_closed_to_those_whose_role_may_not_see_them() {
    let keyward = TestServer::start().await;
    let general = keyward.api().general_key("GENERAL", "sk-test-value-of-the-pages").await;
    let edit = format!("/keys/general/{}/edit", general["id"].as_str().unwrap());
    let member = keyward.person("member", "member").await;
    let home = member.api.page("/keys/general").await.expect(303);
    assert_eq!(home.header("location"), Some("/keys/agent"));
    for path in [
        "/catalog",
        "/audit",
        "/members",
        "/members/new",
        "/keys/general/new",
        "/settings/policies",
        "/settings/installation",
        &edit,
    ] {
        let refused = member.api.page(path).await.expect(403).text();
        assert!(refused.contains("Your role does not allow this"), "{path}: {refused}");
    }
    let auditor = keyward.person("auditor", "auditor").await;
    for path in
        ["/keys/general", "/keys/agent", "/catalog", "/audit", "/members", "/settings/tokens", "/settings/policies"]
    {
        let shown = auditor.api.page(path).await.expect(200).text();
        assert!(path == "/audit" || shown.contains("Your role is auditor."), "{path}: {shown}");
    }
    for path in [
        "/keys/general/new",
        "/catalog/providers/new",
        "/members/new",
        "/settings/tokens/new",
        "/settings/policies/new",
    ] {
        auditor.api.page(path).await.expect(403);
        auditor.api.form(path, &[("name", "x")]).await.expect(403);
    }
    for person in [&member, &auditor] {
        person.api.page("/settings/account").await.expect(200);
    }
    let shown = auditor.api.page("/settings/installation").await.expect(200).text();
    assert!(shown.contains("Nothing is changed here") && shown.contains("row_mac-000001"), "{shown}");
    let account = member.api.page("/settings/account").await.expect(200).text();
    assert!(!account.contains("/settings/installation"), "a tab that leads nowhere for this role");
}

#[tokio::test]
async fn an_operator_edits_a_general_key_and_links_it_nowhere() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let general = api.general_key("GENERAL", "sk-test-value-of-the-operator").await;
    let provider = api.provider("p", "openai-compatible", "http://127.0.0.1:9/v1", &Value::Null).await;
    let operator = keyward.person("operator", "operator").await;
    let path = format!("/keys/general/{}/edit", general["id"].as_str().unwrap());
    operator.api.form(&path, &[("name", "RENAMED"), ("version", "1"), ("value", "")]).await.expect(303);
    let provider_id = provider["id"].as_str().unwrap();
    let fields = [("name", "RENAMED"), ("version", "2"), ("value", ""), ("provider_id", provider_id)];
    operator.api.form(&path, &fields).await.expect(403);
    let read = api.read("/general-keys", &general["id"]).await;
    assert_eq!((&read["name"], &read["linked_to"]), (&json!("RENAMED"), &json!([])));
}
