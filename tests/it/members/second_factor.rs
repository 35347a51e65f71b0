//! /settings/account/second-factor, and signing in with it.

use serde_json::json;

use crate::harness::{
    Api, Authenticator, Database, Person, SECOND_FACTOR, TestServer, recovery_codes_of, sealed_of, until,
};

const CHANGE: &str = "/settings/account/second-factor/change";

async fn enrolled(keyward: &TestServer, name: &str, role: &str) -> (Person, Authenticator) {
    let person = keyward.person(name, role).await;
    let app = keyward.enrol(&person.api, Person::PASSWORD).await;
    (person, app)
}

async fn change(session: &Api, password: &str, code: &str, what: &str) -> crate::harness::Answer {
    session.form(CHANGE, &[("password", password), ("code", code), ("what", what)]).await
}

async fn actions(keyward: &TestServer, id: &str) -> Vec<String> {
    let events = keyward.api().audit_events().await;
    let of = events.iter().filter(|event| event["target"]["id"] == id);
    of.map(|event| event["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn is_set_up_with_a_code_and_asked_for_from_then_on() {
    let keyward = TestServer::start().await;
    let person = keyward.person("grace", "operator").await;
    let elsewhere = keyward.signed_in(&keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303));
    let page = person.api.page(SECOND_FACTOR).await.expect(200);
    assert!(page.text().contains("<path class=\"qr-dark\" d=\"M"), "{page}");
    assert!(page.header("cache-control").is_some_and(|text| text.contains("no-store")));
    let app = Authenticator::scanned(&page);
    let sealed = sealed_of(&page);
    let confirm = async |session: &Api, password: &str, code: &str| {
        session.form(SECOND_FACTOR, &[("sealed", &sealed), ("password", password), ("code", code)]).await
    };
    // It counts for nothing until password and code prove it, in the session it was begun in.
    let refused = confirm(&person.api, Person::PASSWORD, &app.wrong_code()).await.expect(422);
    assert_eq!(Authenticator::scanned(&refused).secret, app.secret, "another secret than the one that was scanned");
    confirm(&person.api, "not their password", &app.code()).await.expect(422);
    confirm(&elsewhere, Person::PASSWORD, &app.code()).await.expect(422);
    assert_eq!(keyward.api().read("/members", &person.member["id"]).await["second_factor"], false);
    keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303);

    let codes = recovery_codes_of(&confirm(&person.api, Person::PASSWORD, &app.code()).await.expect(200));
    assert_eq!(codes.len(), 10);
    assert_eq!(keyward.api().read("/members", &person.member["id"]).await["second_factor"], true);
    person.api.get("/general-keys").await.expect(200);
    elsewhere.get("/general-keys").await.problem(401);
    let account = person.api.page("/settings/account").await.expect(200).text();
    assert!(account.contains("On since") && account.contains("10 recovery codes left"), "{account}");
    // Sent again, the form shows nothing again.
    let again = confirm(&person.api, Person::PASSWORD, &app.code()).await.expect(422).text();
    assert!(again.contains("is on already") && !again.contains(&codes[0]), "{again}");

    let first = keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303);
    assert_eq!(first.header("location"), Some("/sign-in/code"));
    let cookie = first.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("keyward-code=") && cookie.contains("; HttpOnly; SameSite=Strict; Max-Age=300"),
        "{cookie}"
    );
    let pending = keyward.signed_in(&first);
    pending.page("/sign-in/code").await.expect(200);
    pending.form("/sign-in/code", &[("code", &app.wrong_code())]).await.expect(401);
    let done = pending.form("/sign-in/code", &[("code", &app.next_code()), ("next", "/members")]).await.expect(303);
    assert_eq!(done.header("location"), Some("/members"));
    keyward.signed_in(&done).get("/general-keys").await.expect(200);
    let told = actions(&keyward, person.id()).await;
    for action in ["member.second_factor_on", "member.sign_in_refused", "member.sign_in"] {
        assert!(told.iter().any(|told| told == action), "{action}: {told:?}");
    }
}

#[tokio::test]
async fn a_code_is_good_once_also_for_two_at_once() {
    let keyward = TestServer::start().await;
    let (person, app) = enrolled(&keyward, "grace", "operator").await;
    let code = app.next_code();
    let sign_in = async || keyward.sign_in_with_code(&person.email, Person::PASSWORD, &code).await.status;
    let mut answers: [u16; 3] = tokio::join!(sign_in(), sign_in(), sign_in()).into();
    answers.sort_unstable();
    assert_eq!(answers, [303, 401, 401]);
    assert_eq!(sign_in().await, 401);
}

#[tokio::test]
async fn recovery_codes_are_good_once_each_until_there_are_new_ones() {
    let keyward = TestServer::start().await;
    let (person, app) = enrolled(&keyward, "grace", "operator").await;
    let [one, two, three, ..] = &app.recovery_codes[..] else { panic!("{app:?}") };
    let sign_in = async |code: &str| keyward.sign_in_with_code(&person.email, Person::PASSWORD, code).await.status;
    let typed = one.to_uppercase().replace('-', " ");
    let mut answers: [u16; 2] = tokio::join!(sign_in(&typed), sign_in(one)).into();
    answers.sort_unstable();
    assert_eq!(answers, [303, 401]);
    assert_eq!(sign_in(one).await, 401);
    assert!(actions(&keyward, person.id()).await.contains(&String::from("member.recovery_code")));

    change(&person.api, "not their password", two, "codes").await.expect(422);
    let page = change(&person.api, Person::PASSWORD, two, "codes").await.expect(200);
    assert!(page.header("cache-control").is_some_and(|text| text.contains("no-store")));
    let fresh = recovery_codes_of(&page);
    assert!(fresh.len() == 10 && !app.recovery_codes.iter().any(|old| fresh.contains(old)));
    assert_eq!(sign_in(three).await, 401);
    assert_eq!(sign_in(&fresh[9]).await, 303);
    for (path, bytes) in keyward.home().files() {
        for secret in [one, three, &fresh[0], &app.secret] {
            assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none(), "in {}", path.display());
        }
    }
}

#[tokio::test]
async fn nobody_gets_in_with_the_password_alone_or_with_the_code_alone() {
    let keyward = TestServer::start().await;
    let (person, app) = enrolled(&keyward, "grace", "owner").await;
    // A wrong password is told as to everybody else, whatever code there may be.
    let wrong = keyward.sign_in(&person.email, "not their password").await.expect(401);
    assert!(wrong.text().contains("Wrong email or password."), "{wrong}");
    let first = keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303);
    let token = first.header("set-cookie").unwrap().split([';', '=']).nth(1).unwrap().to_owned();
    // What waits for its code is no session, under whatever name it is sent.
    keyward.signed_in(&first).get("/members").await.problem(401);
    let stranger = keyward.api_with(None);
    let as_session = stranger.request(http::Method::GET, "/members").header("cookie", format!("keyward={token}"));
    stranger.send(as_session).await.problem(401);
    // A code without the password's cookie, or with another one, is asked for the password.
    let code = app.next_code();
    for cookie in [String::new(), format!("keyward-code={}", "A".repeat(43))] {
        let request = stranger.outside(http::Method::POST, "/sign-in/code").header("origin", keyward.url());
        let request = request.header("cookie", cookie).header("content-type", "application/x-www-form-urlencoded");
        let answer = stranger.send(request.body(format!("code={code}&next="))).await.expect(303);
        assert_eq!(answer.header("location"), Some("/sign-in?done=start-again"));
    }
    keyward.signed_in(&first).form("/sign-in/code", &[("code", &code)]).await.expect(303);
    // The first step is used up with the second.
    let again = keyward.signed_in(&first).form("/sign-in/code", &[("code", &app.recovery_codes[0])]).await.expect(303);
    assert_eq!(again.header("location"), Some("/sign-in?done=start-again"));
}

#[tokio::test]
async fn after_five_wrong_codes_the_password_is_asked_for_again() {
    let keyward = TestServer::start().await;
    let (person, app) = enrolled(&keyward, "grace", "operator").await;
    let pending = keyward.signed_in(&keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303));
    for _ in 0..5 {
        pending.form("/sign-in/code", &[("code", &app.wrong_code())]).await.expect(401);
    }
    // The next one waits, and is not tried then either: not even where it is right.
    let waits = pending.form("/sign-in/code", &[("code", &app.next_code())]).await.expect(429);
    assert!(waits.header("retry-after").is_some());
    let mut last = None;
    until("the end of the delay", async || {
        let answer = pending.form("/sign-in/code", &[("code", &app.next_code())]).await;
        let is_over = answer.status != 429;
        last = Some(answer);
        is_over
    })
    .await;
    assert_eq!(last.unwrap().expect(303).header("location"), Some("/sign-in?done=start-again"));
}

#[tokio::test]
async fn the_second_step_takes_five_minutes_at_most() {
    let keyward = TestServer::start().await;
    let (person, app) = enrolled(&keyward, "grace", "operator").await;
    let first = keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303);
    let keyward = keyward.stop_to_restart().await.seconds_later(301).start().await;
    let late = keyward.signed_in(&first);
    let page = late.page("/sign-in/code").await.expect(303);
    assert_eq!(page.header("location"), Some("/sign-in"));
    let app = app.seconds_later(301);
    let answer = late.form("/sign-in/code", &[("code", &app.code())]).await.expect(303);
    assert_eq!(answer.header("location"), Some("/sign-in?done=start-again"));
    keyward.sign_in_with_code(&person.email, Person::PASSWORD, &app.code()).await.expect(303);
}

#[tokio::test]
async fn a_new_password_ends_what_waits_for_its_code() {
    let keyward = TestServer::start().await;
    let (person, app) = enrolled(&keyward, "grace", "operator").await;
    let first = keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303);
    let fields = [("old_password", Person::PASSWORD), ("password", "another password of hers")];
    person.api.form("/settings/account", &fields).await.expect(303);
    let answer = keyward.signed_in(&first).form("/sign-in/code", &[("code", &app.next_code())]).await.expect(303);
    assert_eq!(answer.header("location"), Some("/sign-in?done=start-again"));
}

#[tokio::test]
async fn is_turned_off_with_password_and_code() {
    let keyward = TestServer::start().await;
    let (person, app) = enrolled(&keyward, "grace", "operator").await;
    change(&person.api, Person::PASSWORD, &app.wrong_code(), "off").await.expect(422);
    change(&person.api, "not their password", &app.next_code(), "off").await.expect(422);
    let done = change(&person.api, Person::PASSWORD, &app.next_code(), "off").await.expect(303);
    assert_eq!(done.header("location"), Some("/settings/account?done=second-factor-off"));
    let signed_in = keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303);
    keyward.signed_in(&signed_in).get("/general-keys").await.expect(200);
    assert_eq!(keyward.api().read("/members", &person.member["id"]).await["second_factor"], false);
    assert!(actions(&keyward, person.id()).await.contains(&String::from("member.second_factor_off")));
    // Set up again, it is another one.
    let again = keyward.enrol(&person.api, Person::PASSWORD).await;
    assert_ne!(again.secret, app.secret);
    keyward.sign_in_with_code(&person.email, Person::PASSWORD, &app.recovery_codes[0]).await.expect(401);
}

#[tokio::test]
async fn others_remove_it_who_may_as_much() {
    let keyward = TestServer::start().await;
    let (owner, _) = enrolled(&keyward, "second-owner", "owner").await;
    let (admin, _) = enrolled(&keyward, "admin", "admin").await;
    let (operator, app) = enrolled(&keyward, "operator", "operator").await;
    let path = |person: &Person| format!("{}/second-factor", person.path());
    admin.api.delete(&path(&owner)).await.problem_called(403, "forbidden");
    operator.api.delete(&path(&admin)).await.problem_called(403, "forbidden");
    // Nor one's own without password and code.
    admin.api.delete(&path(&admin)).await.problem_called(403, "forbidden");
    let page = admin.api.page(&format!("{}/edit", operator.path())).await.expect(200).text();
    assert!(page.contains("Remove second factor"), "{page}");

    admin.api.delete(&path(&operator)).await.expect(204);
    admin.api.delete(&path(&operator)).await.problem(404);
    let events = keyward.api().audit_events().await;
    let removed = events.iter().find(|event| event["action"] == "member.second_factor_remove").expect("an event");
    assert_eq!((&removed["actor"]["id"], &removed["target"]["id"]), (&json!(admin.id()), &json!(operator.id())));
    let done = keyward.sign_in(&operator.email, Person::PASSWORD).await.expect(303);
    keyward.signed_in(&done).get("/general-keys").await.expect(200);
    drop(app);

    // From the page as well.
    let etag = keyward.api().etag(&admin.path()).await;
    let form = format!("/members/{}/second-factor", admin.id());
    owner.api.form(&form, &[("version", "1")]).await.expect(409);
    owner.api.form(&form, &[("version", etag.trim_matches('"'))]).await.expect(303);
    assert_eq!(keyward.api().read("/members", &admin.member["id"]).await["second_factor"], false);
}

#[tokio::test]
async fn one_that_is_taken_out_of_the_database_lets_nobody_in() {
    let keyward = TestServer::start().await;
    let (person, app) = enrolled(&keyward, "grace", "owner").await;
    let (other, _) = enrolled(&keyward, "ada", "owner").await;
    let mine = format!("member_id = '{}'", person.id());
    let me = format!("id = '{}'", person.id());
    let mut database = Database::open(keyward.home()).await;
    let id = database.cell("second_factors", "id", &mine).await;
    // Another's factor put in its place, its own deleted, the member said to have none.
    let theirs = format!("member_id = '{}'", other.id());
    let their_id = database.cell("second_factors", "id", &theirs).await;
    database.set("members", "second_factor", &me, &their_id).await;
    keyward.sign_in(&person.email, Person::PASSWORD).await.expect(503);
    database.set("members", "second_factor", &me, &crate::harness::Cell::Text(String::new())).await;
    keyward.sign_in(&person.email, Person::PASSWORD).await.expect(503);
    database.set("members", "second_factor", &me, &id).await;
    let last_step = database.cell("second_factors", "last_step", &mine).await;
    database.set("second_factors", "last_step", &mine, &crate::harness::Cell::Integer(0)).await;
    keyward.sign_in_with_code(&person.email, Person::PASSWORD, &app.next_code()).await.expect(503);
    database.set("second_factors", "last_step", &mine, &last_step).await;
    database.execute(format!("DELETE FROM second_factors WHERE {mine}")).await;
    for code in [&app.next_code(), &app.recovery_codes[0]] {
        keyward.sign_in_with_code(&person.email, Person::PASSWORD, code).await.expect(503);
    }
}

#[tokio::test]
async fn where_it_is_required_nothing_else_is_open_before() {
    let keyward = TestServer::start().await;
    let person = keyward.person("grace", "admin").await;
    let keyward = keyward.stop_to_restart().await.env("KEYWARD_REQUIRE_SECOND_FACTOR", "true").start().await;
    let session = keyward.signed_in(&keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303));
    for path in ["/keys/general", "/members", "/settings/account", "/members/new"] {
        let led = session.page(path).await.expect(303);
        assert_eq!(led.header("location"), Some(SECOND_FACTOR), "{path}");
    }
    session.form("/members/new", &[("email", "x@example.com"), ("nonce", "n")]).await.expect(303);
    session.get("/general-keys").await.problem_called(403, "second_factor_required");
    session.post("/agent-keys", json!({ "name": "x" })).await.problem_called(403, "second_factor_required");
    assert_eq!(keyward.api().get("/members").await.expect(200).json()["total"], 2);
    let page = session.page(SECOND_FACTOR).await.expect(200).text();
    assert!(page.contains("asks every member for a second factor"), "{page}");
    keyward.enrol(&session, Person::PASSWORD).await;
    session.get("/general-keys").await.expect(200);
    session.page("/members").await.expect(200);
}
