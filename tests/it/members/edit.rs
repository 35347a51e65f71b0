//! PATCH /members/{id}

use http::Method;
use serde_json::{Value, json};

use crate::harness::TestServer;

async fn owner_of(keyward: &TestServer) -> Value {
    keyward.api().get("/members?search=owner@example.com").await.expect(200).json()["items"][0].clone()
}

#[tokio::test]
async fn a_role_holds_from_the_next_request_on() {
    let keyward = TestServer::start().await;
    let person = keyward.person("grace", "auditor").await;
    person.api.get("/audit-events").await.expect(200);
    person.api.post("/agent-keys", json!({ "name": "x" })).await.problem(403);
    keyward.api().patch(&person.path(), json!({ "role": "member" })).await.expect(200);
    person.api.get("/audit-events").await.problem(403);
    person.api.post("/agent-keys", json!({ "name": "x" })).await.expect(201);
}

#[tokio::test]
async fn nobody_raises_themselves_or_touches_who_may_more() {
    let keyward = TestServer::start().await;
    let owner = owner_of(&keyward).await;
    let owner_path = format!("/members/{}", owner["id"].as_str().unwrap());
    let admin = keyward.person("admin", "admin").await;
    admin.api.patch(&admin.path(), json!({ "role": "owner" })).await.problem(403);
    for edit in [json!({ "role": "auditor" }), json!({ "email": "mine@example.com" }), json!({ "name": "x" })] {
        admin.api.patch(&owner_path, edit).await.problem(403);
    }
    admin.api.delete(&owner_path).await.problem(403);
    let other = keyward.person("other", "operator").await;
    admin.api.patch(&other.path(), json!({ "role": "owner" })).await.problem(403);
    admin.api.patch(&other.path(), json!({ "role": "admin", "name": "Other" })).await.expect(200);
    for role in ["operator", "member", "auditor"] {
        let person = keyward.person(role, role).await;
        person.api.patch(&person.path(), json!({ "role": "owner" })).await.problem(403);
    }
    assert_eq!(owner_of(&keyward).await["name"], owner["name"]);
}

#[tokio::test]
async fn the_last_owner_stays_one() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let path = format!("/members/{}", owner_of(&keyward).await["id"].as_str().unwrap());
    // One who has not joined could not sign in.
    api.post("/members", json!({ "email": "invited@example.com", "role": "owner" })).await.expect(201);
    api.patch(&path, json!({ "role": "admin" })).await.problem_called(409, "last_owner");
    api.delete(&path).await.problem_called(409, "last_owner");
    let second = keyward.person("second", "owner").await;
    api.patch(&path, json!({ "role": "admin" })).await.expect(200);
    second.api.delete(&second.path()).await.problem_called(409, "last_owner");
}

#[tokio::test]
async fn of_two_owners_who_leave_at_once_one_stays() {
    let keyward = TestServer::start().await;
    let first = format!("/members/{}", owner_of(&keyward).await["id"].as_str().unwrap());
    let second = keyward.person("second", "owner").await;
    let (api, second_path) = (keyward.api(), second.path());
    let (one, other) = tokio::join!(
        second.api.patch(&first, json!({ "role": "auditor" })),
        api.patch(&second_path, json!({ "role": "auditor" }))
    );
    let mut answers = [one.status, other.status];
    answers.sort_unstable();
    assert!(answers == [200, 409] || answers == [200, 403], "{answers:?}");
}

#[tokio::test]
async fn an_edit_of_what_somebody_else_changed_is_refused_and_so_is_a_field_that_is_none() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let person = keyward.person("grace", "operator").await;
    let etag = api.etag(&person.path()).await;
    api.patch(&person.path(), json!({ "name": "Grace Hopper" })).await.expect(200);
    let request = api.request(Method::PATCH, &person.path()).header("if-match", etag);
    api.send(request.json(&json!({ "role": "owner" }))).await.problem(412);
    for edit in [
        json!({ "password": "a password for tests only" }),
        json!({ "status": "active" }),
        json!({ "id": "mb_1" }),
        json!({ "name": null }),
        json!({ "role": null }),
    ] {
        api.patch(&person.path(), edit).await.problem(422);
    }
    api.patch(&person.path(), json!({ "email": "OWNER@example.com" })).await.problem(409).at("/email");
    let read = api.read("/members", &person.member["id"]).await;
    assert_eq!((&read["role"], &read["name"]), (&json!("operator"), &json!("Grace Hopper")));
}

#[tokio::test]
async fn lists_by_search_status_and_page() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    keyward.person("grace", "operator").await;
    api.post("/members", json!({ "email": "invited@example.com", "name": "Ada" })).await.expect(201);
    let emails = async |query: &str| {
        let list = api.get(&format!("/members{query}")).await.expect(200).json();
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|one| one["email"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(emails("").await, ["grace@example.com", "invited@example.com", "owner@example.com"]);
    assert_eq!(emails("?status=invited").await, ["invited@example.com"]);
    assert_eq!(emails("?search=ADA").await, ["invited@example.com"]);
    assert_eq!(emails("?sort=-email&limit=1").await, ["owner@example.com"]);
    let first = api.get("/members?limit=2").await.expect(200).json();
    let next = first["next_cursor"].as_str().unwrap();
    assert_eq!(emails(&format!("?limit=2&cursor={next}")).await, ["owner@example.com"]);
    api.get("/members?status=gone").await.problem(422).at("?status");
}
