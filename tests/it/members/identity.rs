//! Signing in at an issuer of OpenID Connect.

use serde_json::{Value, json};

use crate::harness::{Answer, Api, Cell, Database, FakeIssuer, Home, Person, Signed, TestServer, query_of, token_of};

async fn stage() -> (TestServer, FakeIssuer) {
    let issuer = FakeIssuer::start().await;
    let keyward = issuer.known_to(Home::new().await.serve()).start().await;
    (keyward, issuer)
}

/// What a token says of somebody.
fn of(subject: &str, email: &str, groups: &[&str]) -> impl FnOnce(&mut Value) {
    let said = json!({ "sub": subject, "email": email, "groups": groups });
    move |claims| {
        for (name, value) in said.as_object().unwrap() {
            claims[name] = value.clone();
        }
    }
}

async fn members(keyward: &TestServer) -> Vec<Value> {
    keyward.api().get("/members").await.expect(200).json()["items"].as_array().unwrap().clone()
}

async fn member(keyward: &TestServer, email: &str) -> Value {
    let found = members(keyward).await.into_iter().find(|member| member["email"] == email);
    found.unwrap_or_else(|| panic!("no member {email}"))
}

/// From a page of Keyward's that goes on to the issuer, and back.
async fn come_back(keyward: &TestServer, issuer: &FakeIssuer, page: &Answer, tell: impl FnOnce(&mut Value)) -> Answer {
    let text = page.text().replace("&#38;", "&").replace("&amp;", "&");
    let (_, rest) = text.split_once("content=\"0; url=").unwrap_or_else(|| panic!("no way on: {page}"));
    let url = rest.split('"').next().unwrap();
    let code = issuer.grant(url, Signed::Rs256, tell);
    let back = format!("/sign-in/oidc/callback?state={}&code={code}", query_of(url)["state"]);
    keyward.signed_in(page).page(&back).await
}

async fn link(person: &Api) -> Answer {
    person.form("/settings/account/identity", &[("password", Person::PASSWORD), ("what", "link")]).await
}

#[tokio::test]
async fn a_group_s_role_makes_a_member_who_comes_back_as_the_same() {
    let (keyward, issuer) = stage().await;
    let page = keyward.api_with(None).page("/sign-in?next=%2Fmembers").await.expect(200).text();
    assert!(page.contains("href=\"/sign-in/oidc?next=%2Fmembers\">Sign in with Example ID</a>"), "{page}");
    let outward = keyward.api_with(None).page("/sign-in/oidc").await.expect(303);
    let cookie = outward.header("set-cookie").unwrap();
    assert!(cookie.starts_with("keyward-oidc=") && cookie.contains("HttpOnly; SameSite=Lax; Max-Age=600"), "{cookie}");

    let mut ids = Vec::new();
    for signed in [Signed::Rs256, Signed::Es256] {
        let groups = ["everybody", "llm-ops", "platform-admins"];
        let done = issuer.sign_in(&keyward, signed, of("subject-1", "grace@example.com", &groups)).await.expect(200);
        // No redirect: the session's cookie would not come along from another site.
        assert!(done.text().contains("content=\"0; url=/keys/agent\""), "{done}");
        let session = keyward.signed_in(&done);
        session.get("/general-keys").await.expect(200);
        let grace = member(&keyward, "grace@example.com").await;
        assert_eq!(
            (&grace["role"], &grace["status"], &grace["name"]),
            (&json!("admin"), &json!("active"), &json!("Ada Lovelace"))
        );
        ids.push(grace["id"].clone());
        let account = session.page("/settings/account").await.expect(200).text();
        assert!(account.contains("You have none: you sign in with Example ID"), "{account}");
        // Signing out ends this session, whatever the issuer thinks.
        session.form("/sign-out", &[]).await.expect(303);
        session.get("/general-keys").await.problem(401);
    }
    assert_eq!(ids[0], ids[1]);
    // Nor is there a password to guess.
    for password in ["", "!", "a password of the invited"] {
        keyward.sign_in("grace@example.com", password).await.expect(401);
    }
    assert_eq!(issuer.key_calls(), 1, "what the issuer says of itself is kept");
    let events = keyward.api().audit_events().await;
    let told = |action: &str| {
        events.iter().filter(|event| event["action"] == action && event["target"]["id"] == ids[0]).count()
    };
    assert_eq!((told("member.create"), told("member.sign_in"), told("member.sign_out")), (1, 2, 2));
}

#[tokio::test]
async fn what_proves_nothing_signs_nobody_in() {
    let (keyward, issuer) = stage().await;
    let groups = || of("subject-1", "grace@example.com", &["platform-admins"]);
    for signed in [Signed::ByAStranger, Signed::None, Signed::WithPublicKey, Signed::WithClientSecret, Signed::Changed]
    {
        let refused = issuer.sign_in(&keyward, signed, groups()).await.expect(403);
        assert!(refused.header("set-cookie").is_none(), "{signed:?}: {refused}");
        assert!(refused.text().contains("does not prove who you are"), "{signed:?}: {refused}");
    }
    for (claim, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{}/", issuer.url()))),
        ("aud", json!("another client")),
        ("aud", json!([FakeIssuer::CLIENT_ID, "another client"])),
        ("nonce", json!("of another sign-in")),
        ("nonce", Value::Null),
        ("exp", json!(1_700_000_000)),
    ] {
        let told = groups();
        let refused = issuer.sign_in(&keyward, Signed::Rs256, |claims| {
            told(claims);
            claims[claim] = value.clone();
        });
        let refused = refused.await.expect(403);
        assert!(refused.text().contains("does not prove who you are"), "{claim} {value}: {refused}");
    }
    assert_eq!(members(&keyward).await.len(), 1);
    issuer.sign_in(&keyward, Signed::Rs256, groups()).await.expect(200);
}

#[tokio::test]
async fn an_answer_fits_only_the_browser_that_asked_and_once() {
    let (keyward, issuer) = stage().await;
    let stranger = keyward.api_with(None);
    let begin = async || {
        let outward = stranger.page("/sign-in/oidc").await.expect(303);
        let url = outward.header("location").unwrap().to_owned();
        let code = issuer.grant(&url, Signed::Rs256, of("subject-1", "grace@example.com", &["llm-ops"]));
        (keyward.signed_in(&outward), query_of(&url)["state"].clone(), code)
    };
    let back = |state: &str, code: &str| format!("/sign-in/oidc/callback?state={state}&code={code}");
    let (mine, state, code) = begin().await;
    let (other, other_state, other_code) = begin().await;
    for (browser, state, code) in [
        (&stranger, state.as_str(), code.as_str()),
        (&mine, "", &code),
        (&mine, &other_state, &other_code),
        (&other, &state, &code),
        (&mine, &"A".repeat(43), &code),
    ] {
        let refused = browser.page(&back(state, code)).await.expect(400);
        assert!(refused.text().contains("begin again") && refused.header("set-cookie").is_none(), "{refused}");
    }
    // The right browser with another's code: the issuer holds the code against the verifier.
    mine.page(&back(&state, &other_code)).await.expect(403);
    let (first, second) = (back(&state, &code), back(&state, &code));
    let (one, two) = tokio::join!(mine.page(&first), mine.page(&second));
    let mut answers = [one.status, two.status];
    answers.sort_unstable();
    assert_eq!(answers, [200, 400]);
    mine.page(&first).await.expect(400);
    // And not for longer than ten minutes.
    let (late, state, code) = begin().await;
    drop((mine, other));
    let restarted = issuer.known_to(keyward.stop_to_restart().await.seconds_later(601)).start().await;
    let cookie = late.cookie().unwrap().to_owned();
    let request = restarted.api_with(None).outside(http::Method::GET, &back(&state, &code)).header("cookie", cookie);
    restarted.api().send(request).await.expect(400);
}

#[tokio::test]
async fn the_issuer_s_refusal_is_told_and_an_outage_is_one() {
    let (keyward, issuer) = stage().await;
    let begin = async || {
        let outward = keyward.api_with(None).page("/sign-in/oidc").await.expect(303);
        let state = query_of(outward.header("location").unwrap())["state"].clone();
        (keyward.signed_in(&outward), state)
    };
    let (browser, state) = begin().await;
    let refused = browser.page(&format!("/sign-in/oidc/callback?state={state}&error=access_denied")).await.expect(403);
    assert!(refused.text().contains("Example ID refused this sign-in: access_denied"), "{refused}");
    let refused = browser.page(&format!("/sign-in/oidc/callback?state={state}&code=made-up")).await.expect(403);
    assert!(refused.text().contains("Example ID refused this sign-in: invalid_grant"), "{refused}");
    // Words of anybody else's are not put onto a page.
    let forged =
        browser.page("/sign-in/oidc/callback?state=x&error=send-your-password-to-evil.example").await.expect(400);
    assert!(!forged.text().contains("evil.example"), "{forged}");

    issuer.set_down(true);
    let (browser, state) = begin().await;
    let down = browser.page(&format!("/sign-in/oidc/callback?state={state}&code=code-1")).await.expect(503);
    assert!(down.text().contains("Example ID cannot be asked who you are just now"), "{down}");
    // Also before anything is known of it, and nobody else notices.
    let keyward = issuer.known_to(keyward.stop_to_restart().await).start().await;
    let down = keyward.api_with(None).page("/sign-in/oidc").await.expect(503);
    assert!(down.text().contains("Nobody can be asked who you are"), "{down}");
    keyward.sign_in("owner@example.com", "a password for tests only").await.expect(303);
    issuer.set_down(false);
    keyward.api_with(None).page("/sign-in/oidc").await.expect(303);
}

#[tokio::test]
async fn keys_that_the_issuer_changed_are_asked_for_once() {
    let (keyward, issuer) = stage().await;
    let told = || of("subject-1", "grace@example.com", &["llm-ops"]);
    issuer.sign_in(&keyward, Signed::Rs256, told()).await.expect(200);
    issuer.rotate();
    issuer.sign_in(&keyward, Signed::Es256, told()).await.expect(200);
    issuer.sign_in(&keyward, Signed::Rs256, told()).await.expect(200);
    assert_eq!(issuer.key_calls(), 2);
    issuer.sign_in(&keyward, Signed::ByAStranger, told()).await.expect(403);
    assert_eq!(issuer.key_calls(), 3);
}

#[tokio::test]
async fn the_role_follows_the_groups_and_the_last_owner_stays_one() {
    let (keyward, issuer) = stage().await;
    let sign_in =
        async |groups: &[&str]| issuer.sign_in(&keyward, Signed::Rs256, of("g", "grace@example.com", groups)).await;
    // Whose groups give no role is no member.
    let refused = sign_in(&["everybody"]).await.expect(403);
    assert!(refused.text().contains("ask an owner or admin"), "{refused}");
    assert_eq!(members(&keyward).await.len(), 1);
    let mut session = None;
    for (groups, role) in [
        (&["readers"][..], "auditor"),
        (&["llm-ops", "readers"], "operator"),
        (&["bosses"], "owner"),
        (&["platform-admins"], "admin"),
    ] {
        session = Some(keyward.signed_in(&sign_in(groups).await.expect(200)));
        assert_eq!(member(&keyward, "grace@example.com").await["role"], role, "{groups:?}");
    }
    let session = session.unwrap();
    session.get("/members").await.expect(200);
    sign_in(&[]).await.expect(403);
    session.get("/members").await.problem(401);

    sign_in(&["bosses"]).await.expect(200);
    let owner = member(&keyward, "owner@example.com").await;
    let path = format!("/members/{}", owner["id"].as_str().unwrap());
    keyward.api().patch(&path, json!({ "role": "auditor" })).await.expect(200);
    keyward.signed_in(&sign_in(&["readers"]).await.expect(200)).get("/members").await.expect(200);
    assert_eq!(member(&keyward, "grace@example.com").await["role"], "owner");
    let events = keyward.signed_in(&sign_in(&["bosses"]).await).audit_events().await;
    let followed: Vec<_> = events.iter().filter(|event| event["action"] == "member.role_follow").collect();
    assert_eq!(followed.len(), 4, "{followed:#?}");
    assert_eq!(followed[0]["changes"]["role"], json!({ "before": "admin", "after": "owner" }));
}

#[tokio::test]
async fn an_e_mail_proves_nothing() {
    let (keyward, issuer) = stage().await;
    // The owner's, and that of somebody who came the same way.
    issuer.sign_in(&keyward, Signed::Rs256, of("one", "ada@example.com", &["llm-ops"])).await.expect(200);
    for (subject, email) in [("evil", "OWNER@example.com"), ("two", "ada@example.com")] {
        let refused = issuer.sign_in(&keyward, Signed::Rs256, of(subject, email, &["bosses"])).await.expect(409);
        assert!(refused.text().contains("does not prove that it is you"), "{refused}");
    }
    assert_eq!(members(&keyward).await.len(), 2);
    let ada = member(&keyward, "ada@example.com").await;
    // The same subject with another e-mail is the same member.
    issuer.sign_in(&keyward, Signed::Rs256, of("one", "owner@example.com", &["readers"])).await.expect(200);
    let again = member(&keyward, "ada@example.com").await;
    assert_eq!((&again["id"], &again["role"]), (&ada["id"], &json!("auditor")));
    let none = issuer.sign_in(&keyward, Signed::Rs256, of("three", "no address", &["readers"])).await.expect(403);
    assert!(none.text().contains("told no e-mail address"), "{none}");
}

#[tokio::test]
async fn a_member_links_an_identity_with_their_password_and_keeps_their_role() {
    let (keyward, issuer) = stage().await;
    let person = keyward.person("grace", "operator").await;
    let wrong = [("password", "not their password"), ("what", "link")];
    person.api.form("/settings/account/identity", &wrong).await.expect(422);
    let page = link(&person.api).await.expect(200);
    assert!(page.text().contains("On to Example ID"), "{page}");
    let done = come_back(&keyward, &issuer, &page, of("g", "whatever@example.com", &["bosses"])).await.expect(200);
    assert!(done.text().contains("url=/settings/account?done=identity-linked"), "{done}");
    let account = person.api.page("/settings/account").await.expect(200).text();
    assert!(account.contains("Linked since"), "{account}");

    // In by either way, with the role that was given here.
    let other_way = issuer.sign_in(&keyward, Signed::Rs256, of("g", "x@example.com", &["bosses"])).await.expect(200);
    assert_eq!(keyward.signed_in(&other_way).get("/members").await.status, 403);
    keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303);
    assert_eq!(keyward.api().read("/members", &person.member["id"]).await["role"], "operator");

    // Nobody else gets it, and nobody has two.
    let other = keyward.person("ada", "operator").await;
    let taken = come_back(&keyward, &issuer, &link(&other.api).await, of("g", "x@example.com", &[])).await.expect(409);
    assert!(taken.text().contains("is linked to a member already"), "{taken}");
    come_back(&keyward, &issuer, &link(&person.api).await, of("second", "x@example.com", &[])).await.expect(409);

    let fields = [("password", Person::PASSWORD), ("what", "unlink")];
    person.api.form("/settings/account/identity", &fields).await.expect(303);
    issuer.sign_in(&keyward, Signed::Rs256, of("g", "x@example.com", &[])).await.expect(403);
    let events = keyward.api().audit_events().await;
    for action in ["member.identity_link", "member.identity_unlink"] {
        let event = events.iter().find(|event| event["action"] == action).expect(action);
        assert_eq!(event["target"]["id"], person.id());
    }
}

#[tokio::test]
async fn nothing_is_linked_once_the_session_has_ended() {
    let (keyward, issuer) = stage().await;
    let person = keyward.person("grace", "operator").await;
    let page = link(&person.api).await.expect(200);
    person.api.form("/sign-out", &[]).await.expect(303);
    come_back(&keyward, &issuer, &page, of("g", "grace@example.com", &[])).await.expect(401);
    issuer.sign_in(&keyward, Signed::Rs256, of("g", "g@example.com", &[])).await.expect(403);
}

#[tokio::test]
async fn an_invitation_is_accepted_without_a_password() {
    let (keyward, issuer) = stage().await;
    let body = json!({ "email": "grace@example.com", "role": "operator" });
    let made = keyward.api().post("/members", body).await.expect(201).json();
    let token = token_of(&made);
    let stranger = keyward.api_with(None);
    let page = stranger.page("/invitation").await.expect(200).text();
    assert!(page.contains("Join with Example ID, without a password"), "{page}");
    let bad = "A".repeat(43);
    stranger.form("/invitation/identity", &[("token", &bad), ("password", "")]).await.expect(422);
    let on = stranger.form("/invitation/identity", &[("token", &token), ("password", "")]).await.expect(200);
    assert!(!on.text().contains(&token), "{on}");
    let joined = come_back(&keyward, &issuer, &on, of("g", "other@example.com", &["bosses"])).await.expect(200);
    keyward.signed_in(&joined).get("/general-keys").await.expect(200);
    let grace = member(&keyward, "grace@example.com").await;
    assert_eq!((&grace["id"], &grace["role"], &grace["status"]), (&made["id"], &json!("operator"), &json!("active")));
    stranger.form("/invitation", &[("token", &token), ("password", Person::PASSWORD)]).await.expect(422);
    // Her role was given here, and stays.
    issuer.sign_in(&keyward, Signed::Rs256, of("g", "other@example.com", &["bosses"])).await.expect(200);
    assert_eq!(member(&keyward, "grace@example.com").await["role"], "operator");
    keyward.sign_in("grace@example.com", "").await.expect(401);
}

#[tokio::test]
async fn an_identity_moved_in_the_database_signs_nobody_in() {
    let (keyward, issuer) = stage().await;
    let told = || of("g", "grace@example.com", &["readers"]);
    issuer.sign_in(&keyward, Signed::Rs256, told()).await.expect(200);
    let owner = member(&keyward, "owner@example.com").await;
    let mut database = Database::open(keyward.home()).await;
    for (column, value) in
        [("member_id", Cell::Text(owner["id"].as_str().unwrap().to_owned())), ("follows_groups", Cell::Integer(0))]
    {
        let before = database.cell("identities", column, "1 = 1").await;
        database.set("identities", column, "1 = 1", &value).await;
        issuer.sign_in(&keyward, Signed::Rs256, told()).await.expect(503);
        database.set("identities", column, "1 = 1", &before).await;
    }
    issuer.sign_in(&keyward, Signed::Rs256, told()).await.expect(200);
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused_with_what_is_wrong() {
    let refused = async |pairs: &[(&str, &str)]| {
        let start = Home::new().await.serve();
        let start = pairs.iter().fold(start, |start, (name, value)| start.env(name, *value));
        let (output, _) = start.refused().await;
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let issuer = ("KEYWARD_OIDC_ISSUER", "https://id.example.com");
    let id = ("KEYWARD_OIDC_CLIENT_ID", "keyward");
    for (pairs, expected) in [
        (&[issuer][..], "KEYWARD_OIDC_CLIENT_ID: must be set"),
        (&[id], "KEYWARD_OIDC_CLIENT_ID: is for sign-in by OpenID Connect: set KEYWARD_OIDC_ISSUER too"),
        (&[("KEYWARD_OIDC_ISSUER", "id.example.com"), id], "KEYWARD_OIDC_ISSUER: must be the issuer"),
        (&[("KEYWARD_OIDC_ISSUER", "https://10.0.0.1"), id], "KEYWARD_OIDC_ALLOW_PRIVATE=true"),
        (&[("KEYWARD_OIDC_ISSUER", "http://id.example.com"), id], "KEYWARD_OIDC_ALLOW_PRIVATE=true"),
        (&[issuer, id, ("KEYWARD_OIDC_ROLE_MAP", "a=root")], "\"root\" is no role; there are owner, admin"),
        (&[issuer, id, ("KEYWARD_OIDC_ROLE_MAP", "a")], "a list of group=role"),
        (
            &[issuer, id, ("KEYWARD_OIDC_CLIENT_SECRET", "s"), ("KEYWARD_OIDC_CLIENT_SECRET_FILE", "f")],
            "both it and KEYWARD_OIDC_CLIENT_SECRET_FILE are set",
        ),
    ] {
        let said = refused(pairs).await;
        assert!(said.contains(expected), "{pairs:?}: {said}");
    }
}
