//! /settings/account: the password.

use crate::harness::{Person, TestServer};

const NEW: &str = "another password of hers";

#[tokio::test]
async fn is_changed_with_the_old_one_and_ends_the_other_sessions() {
    let keyward = TestServer::start().await;
    let person = keyward.person("grace", "operator").await;
    let other = keyward.signed_in(&keyward.sign_in(&person.email, Person::PASSWORD).await.expect(303));
    other.get("/general-keys").await.expect(200);
    let change = async |old: &str, new: &str| {
        person.api.form("/settings/account", &[("old_password", old), ("password", new)]).await
    };
    let refused = change("not the old one", NEW).await.expect(422).text();
    assert!(refused.contains("is not your password"), "{refused}");
    change(Person::PASSWORD, "short").await.expect(422);
    change(Person::PASSWORD, &"x".repeat(1024 * 1024)).await.expect(413);
    other.get("/general-keys").await.expect(200);
    change(Person::PASSWORD, NEW).await.expect(303);
    person.api.get("/general-keys").await.expect(200);
    other.get("/general-keys").await.problem(401);
    keyward.sign_in(&person.email, Person::PASSWORD).await.expect(401);
    keyward.sign_in(&person.email, NEW).await.expect(303);
    let events = keyward.api().audit_events().await;
    let changed: Vec<_> = events.iter().filter(|event| event["action"] == "member.password").collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0]["changes"]["password"], "changed");
}

#[tokio::test]
async fn guesses_at_the_old_one_have_to_wait() {
    let keyward = TestServer::start().await;
    let person = keyward.person("grace", "operator").await;
    let mut answers = Vec::new();
    for number in 0..7 {
        let old = format!("a wrong guess {number}");
        let fields = [("old_password", old.as_str()), ("password", NEW)];
        answers.push(person.api.form("/settings/account", &fields).await.status);
    }
    assert!(answers.contains(&429), "{answers:?}");
    assert_eq!(answers[0], 422);
}
