//! `keyward recover`

use crate::harness::{Home, TestServer};

const NEW: &str = "a password set by recover";

#[tokio::test]
async fn sets_a_password_beside_a_running_server_and_ends_the_sessions() {
    let keyward = TestServer::start().await;
    let session =
        keyward.signed_in(&keyward.sign_in("owner@example.com", "a password for tests only").await.expect(303));
    session.get("/members").await.expect(200);
    let arguments = ["recover", "--email", " OWNER@example.com", "--password-stdin"];
    let done = keyward.home().run(&arguments, &format!("{NEW}\n")).await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    session.get("/members").await.problem(401);
    keyward.sign_in("owner@example.com", "a password for tests only").await.expect(401);
    keyward.sign_in("owner@example.com", NEW).await.expect(303);
    let events = keyward.api().audit_events().await;
    let event = events.iter().find(|event| event["action"] == "member.recover").expect("an event");
    assert_eq!((&event["actor"]["kind"], &event["actor"]["name"]), (&"command".into(), &"keyward recover".into()));
    assert!(!keyward.log().contains(NEW));
}

#[tokio::test]
async fn removes_the_second_factor_and_says_so() {
    let keyward = TestServer::start().await;
    let password = "a password for tests only";
    let session = keyward.signed_in(&keyward.sign_in("owner@example.com", password).await.expect(303));
    let app = keyward.enrol(&session, password).await;
    let pending = keyward.signed_in(&keyward.sign_in("owner@example.com", password).await.expect(303));
    let arguments = ["recover", "--email", "owner@example.com", "--password-stdin"];
    let done = keyward.home().run(&arguments, &format!("{NEW}\n")).await;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("their second factor was removed"), "{said}");
    session.get("/members").await.problem(401);
    let late = pending.form("/sign-in/code", &[("code", &app.recovery_codes[0])]).await.expect(303);
    assert_eq!(late.header("location"), Some("/sign-in?done=start-again"));
    let signed_in = keyward.signed_in(&keyward.sign_in("owner@example.com", NEW).await.expect(303));
    signed_in.get("/members").await.expect(200);
    let events = keyward.api().audit_events().await;
    let event = events.iter().find(|event| event["action"] == "member.recover").expect("an event");
    assert_eq!(event["changes"]["second_factor"], serde_json::json!({ "before": true, "after": false }));
}

#[tokio::test]
async fn refuses_an_unknown_address_a_bad_password_and_an_empty_directory() {
    let home = Home::new().await;
    let recover = async |home: &Home, email: &str, password: &str| {
        let done = home.run(&["recover", "--email", email, "--password-stdin"], &format!("{password}\n")).await;
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, said) = recover(&home, "nobody@example.com", NEW).await;
    assert!(code == Some(1) && said.contains("there is no member"), "{said}");
    let (code, said) = recover(&home, "owner@example.com", "short").await;
    assert!(code == Some(1) && said.contains("the password on standard input must have at least"), "{said}");
    let empty = Home::empty_on_sqlite();
    let (code, said) = recover(&empty, "owner@example.com", NEW).await;
    assert!(code == Some(1) && said.contains("there is no database yet"), "{said}");
    assert!(!empty.data().exists() || std::fs::read_dir(empty.data()).unwrap().next().is_none());
    let keyward = home.serve().start().await;
    keyward.sign_in("owner@example.com", "a password for tests only").await.expect(303);
}
