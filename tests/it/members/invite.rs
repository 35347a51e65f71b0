//! POST /members, and the invitation that comes of it.

use serde_json::json;

use crate::harness::{Person, TestServer, token_of};
use crate::management::{BAD_NAMES, assert_fields, assert_time, days_between};

const FIELDS: [&str; 8] = ["id", "email", "name", "role", "status", "second_factor", "created_at", "updated_at"];

#[tokio::test]
async fn shows_a_link_once_under_which_the_invited_sets_a_password() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let body = json!({ "email": " Grace@Example.com ", "name": "Grace Hopper", "role": "operator" });
    let answer = api.post("/members", body).await.expect(201);
    let made = answer.json();
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("mb_"), "{id}");
    assert_eq!(answer.header("location"), Some(format!("/api/v1/members/{id}").as_str()));
    assert!(answer.header("cache-control").is_some_and(|text| text.contains("no-store")));
    assert_fields(&made, &[&FIELDS[..], &["invitation_url", "invitation_expires_at"]].concat());
    assert_eq!((&made["email"], &made["status"]), (&json!("Grace@Example.com"), &json!("invited")));
    assert_time(&made["invitation_expires_at"]);
    assert_eq!(days_between(&made["created_at"], &made["invitation_expires_at"]), 7);
    let token = token_of(&made);
    let read = api.read("/members", &made["id"]).await;
    assert_fields(&read, &FIELDS);

    // Nobody signs in before, with whatever password.
    for password in ["", Person::PASSWORD] {
        keyward.sign_in("grace@example.com", password).await.expect(401);
    }
    let page = keyward.api_with(None).page("/invitation").await.expect(200).text();
    assert!(page.contains("Paste the whole invitation link"), "{page}");
    let pasted = format!("{}/invitation#token={token} ", keyward.url());
    let fields = [("token", pasted.as_str()), ("password", Person::PASSWORD)];
    let joined = keyward.api_with(None).form("/invitation", &fields).await.expect(303);
    let session = keyward.signed_in(&joined);
    session.get("/general-keys").await.expect(200);
    session.post("/general-keys", json!({})).await.problem(403);
    assert_eq!(api.read("/members", &made["id"]).await["status"], "active");
    keyward.sign_in("GRACE@example.com", Person::PASSWORD).await.expect(303);

    // Once.
    keyward.api_with(None).form("/invitation", &fields).await.expect(422);
    for (path, bytes) in keyward.home().files() {
        assert!(memchr::memmem::find(&bytes, token.as_bytes()).is_none(), "in {}", path.display());
    }
}

#[tokio::test]
async fn of_two_claims_at_once_one_is_good() {
    let keyward = TestServer::start().await;
    let made = keyward.api().post("/members", json!({ "email": "grace@example.com" })).await.expect(201).json();
    let token = token_of(&made);
    let stranger = keyward.api_with(None);
    let claim =
        async |password: &str| stranger.form("/invitation", &[("token", &token), ("password", password)]).await.status;
    let mut answers: [u16; 2] = tokio::join!(claim("the first password"), claim("the other password")).into();
    answers.sort_unstable();
    assert_eq!(answers, [303, 422]);
    let signed_in = [
        keyward.sign_in("grace@example.com", "the first password").await.status,
        keyward.sign_in("grace@example.com", "the other password").await.status,
    ];
    assert_eq!(signed_in.iter().filter(|status| **status == 303).count(), 1, "{signed_in:?}");
}

#[tokio::test]
async fn an_invitation_ends_after_a_week_or_with_a_new_one_or_with_its_member() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let mut tokens = Vec::new();
    let mut made = Vec::new();
    for name in ["late", "again", "gone"] {
        let member = api.post("/members", json!({ "email": format!("{name}@example.com") })).await.expect(201).json();
        tokens.push(token_of(&member));
        made.push(format!("/members/{}", member["id"].as_str().unwrap()));
    }
    let renewed = api.act(&format!("{}/invitation", made[1])).await.expect(200).json();
    api.delete(&made[2]).await.expect(204);
    let claim = async |keyward: &TestServer, token: &str| {
        let fields = [("token", token), ("password", Person::PASSWORD)];
        keyward.api_with(None).form("/invitation", &fields).await.status
    };
    assert_eq!(claim(&keyward, &tokens[1]).await, 422);
    assert_eq!(claim(&keyward, &tokens[2]).await, 422);
    assert_eq!(claim(&keyward, &token_of(&renewed)).await, 303);
    api.act(&format!("{}/invitation", made[1])).await.problem(422);
    let keyward = keyward.stop_to_restart().await.days_later(8).start().await;
    assert_eq!(claim(&keyward, &tokens[0]).await, 422);
}

#[tokio::test]
async fn refuses_what_is_no_member() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let with = |field: &str, value: serde_json::Value| {
        let mut body = json!({ "email": "grace@example.com" });
        body[field] = value;
        body
    };
    for email in ["", "nobody", "a b@example.com", "a@b@c", "@example.com"] {
        api.post("/members", json!({ "email": email })).await.problem(422).at("/email");
    }
    api.post("/members", json!({ "name": "x" })).await.problem(422).at("/email");
    for name in BAD_NAMES {
        api.post("/members", with("name", json!(name))).await.problem(422).at("/name");
    }
    for role in [json!("root"), json!("Owner"), json!(""), json!(1), json!(null)] {
        api.post("/members", with("role", role)).await.problem(422).at("/role");
    }
    for (field, value) in [
        ("password", json!("a password for tests only")),
        ("password_hash", json!("x")),
        ("status", json!("active")),
        ("id", json!("mb_1")),
    ] {
        api.post("/members", with(field, value)).await.problem(422);
    }
    api.post("/members", json!({ "email": "grace@example.com" })).await.expect(201);
    for email in ["grace@example.com", "  GRACE@Example.COM ", "Ｇrace@example.com"] {
        api.post("/members", json!({ "email": email })).await.problem_called(409, "name_taken").at("/email");
    }
}

#[tokio::test]
async fn a_password_of_a_megabyte_is_refused_and_the_invitation_stays() {
    let keyward = TestServer::start().await;
    let made = keyward.api().post("/members", json!({ "email": "grace@example.com" })).await.expect(201).json();
    let token = token_of(&made);
    let stranger = keyward.api_with(None);
    let claim = async |password: &str| stranger.form("/invitation", &[("token", &token), ("password", password)]).await;
    claim(&"x".repeat(1024 * 1024)).await.expect(413);
    claim(&"x".repeat(1025)).await.expect(422);
    claim("too short").await.expect(422);
    claim(&"x".repeat(1024)).await.expect(303);
    stranger
        .form("/sign-in", &[("email", "grace@example.com"), ("password", &"x".repeat(1024 * 1024))])
        .await
        .expect(413);
}

#[tokio::test]
async fn nobody_invites_somebody_who_may_more_than_they() {
    let keyward = TestServer::start().await;
    let admin = keyward.person("admin", "admin").await;
    let invite = async |role: &str| {
        let body = json!({ "email": format!("{role}-2@example.com"), "role": role });
        admin.api.post("/members", body).await
    };
    let refused = invite("owner").await.problem_called(403, "forbidden");
    assert_eq!(refused.json()["allowed_roles"], json!(["owner"]));
    for role in ["admin", "operator", "member", "auditor"] {
        invite(role).await.expect(201);
    }
    // A token of the owner's gives no role that may what the token may not.
    let body = json!({ "name": "inviter", "scopes": ["members:read", "members:write"] });
    let token = keyward.api().post("/management-tokens", body).await.expect(201).json();
    let inviter = keyward.api_with(token["secret"].as_str());
    for role in ["owner", "auditor"] {
        let body = json!({ "email": "by-token@example.com", "role": role });
        inviter.post("/members", body).await.problem(403);
    }
}

#[tokio::test]
async fn the_same_post_again_makes_nothing_and_shows_no_link() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let post = async || {
        let request = api.request(http::Method::POST, "/members").header("idempotency-key", "one");
        api.send(request.json(&json!({ "email": "grace@example.com" }))).await.expect(201).json()
    };
    let (first, again) = (post().await, post().await);
    assert_eq!(first["id"], again["id"]);
    assert!(first["invitation_url"].is_string() && again.get("invitation_url").is_none(), "{again}");
}

#[tokio::test]
async fn an_invitation_ends_with_another_role_so_that_its_link_makes_nobody_more_than_was_meant() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let made = api.post("/members", json!({ "email": "grace@example.com", "role": "member" })).await.expect(201).json();
    let path = format!("/members/{}", made["id"].as_str().unwrap());
    // Another name is no other person.
    api.patch(&path, json!({ "name": "Grace" })).await.expect(200);
    let stranger = keyward.api_with(None);
    stranger.form("/invitation", &[("token", &token_of(&made)), ("password", "short")]).await.expect(422);
    api.patch(&path, json!({ "role": "owner" })).await.expect(200);
    let fields = [("token", token_of(&made)), ("password", Person::PASSWORD.to_owned())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let refused = stranger.form("/invitation", &fields).await.expect(422);
    assert!(refused.text().contains("ask for a new one"), "{refused}");
    assert_eq!(api.read("/members", &made["id"]).await["status"], "invited");
}

#[tokio::test]
async fn an_invitation_ends_with_the_right_of_whoever_made_it() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let stranger = keyward.api_with(None);
    let claim = async |invited: &serde_json::Value| {
        let token = token_of(invited);
        stranger.form("/invitation", &[("token", &token), ("password", Person::PASSWORD)]).await
    };
    // One admin is made less, one is removed, one stays.
    for (name, ends) in [("lessened", true), ("removed", true), ("staying", false)] {
        let admin = keyward.person(name, "admin").await;
        let body = json!({ "email": format!("of-{name}@example.com"), "role": "admin" });
        let invited = admin.api.post("/members", body).await.expect(201).json();
        let path = format!("/members/{}", admin.member["id"].as_str().unwrap());
        match name {
            "lessened" => drop(api.patch(&path, json!({ "role": "auditor" })).await.expect(200)),
            "removed" => drop(api.delete(&path).await.expect(204)),
            _ => {}
        }
        let answer = claim(&invited).await;
        if ends {
            assert!(answer.expect(422).text().contains("may not invite any more"), "{name}");
            // Who may invite now makes another link.
            let path = format!("/members/{}/invitation", invited["id"].as_str().unwrap());
            let renewed = api.post(&path, json!({})).await.expect(200).json();
            claim(&renewed).await.expect(303);
        } else {
            answer.expect(303);
        }
    }
}
