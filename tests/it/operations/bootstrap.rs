//! `keyward bootstrap`, and the command line's manners.

use serde_json::Value;

use crate::harness::{Home, TestServer};

#[tokio::test]
async fn makes_the_first_member_and_a_token_that_opens_everything() {
    let home = Home::empty();
    let done = home.bootstrap("owner@example.com").await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let printed: Value = serde_json::from_slice(&done.stdout).expect("one JSON object and nothing else");
    crate::management::assert_fields(&printed, &["member_id", "token"]);
    let token = printed["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("kwm_"), "{token}");

    let keyward = home.serve().start().await;
    let api = keyward.api_with(Some(&token));
    let key = api.general_key("MY_API", "sk-test-value-1").await;
    assert_eq!(api.get("/audit-events").await.status, 200);
    assert!(key["created_by"]["id"].is_string());
}

#[tokio::test]
async fn refuses_where_a_member_exists() {
    let home = Home::new().await;
    let again = home.bootstrap("other@example.com").await;
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stdout.is_empty());
    let said = String::from_utf8_lossy(&again.stderr);
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    // Nothing changed: the first token is good.
    let keyward = home.serve().start().await;
    keyward.api().get("/general-keys").await.expect(200);
}

#[tokio::test]
async fn refuses_a_bad_address_and_an_empty_password() {
    let home = Home::empty();
    let bad = home.run(&["bootstrap", "--email", "nobody", "--password-stdin"], "a password for tests only\n").await;
    assert_ne!(bad.status.code(), Some(0));
    let empty = home.run(&["bootstrap", "--email", "owner@example.com", "--password-stdin"], "\n").await;
    assert_eq!(empty.status.code(), Some(1), "{}", String::from_utf8_lossy(&empty.stderr));
    // And the door is still open for a good one.
    assert_eq!(home.bootstrap("owner@example.com").await.status.code(), Some(0));
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    let home = Home::empty();
    for arguments in [vec!["no-such-command"], vec!["serve", "--no-such-flag"], vec!["bootstrap"], vec!["master-key"]] {
        let done = home.run(&arguments, "").await;
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let version = home.run(&["--version"], "").await;
    assert!(version.status.success() && String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn no_password_of_the_default_kind_exists() {
    // A server on which nobody was bootstrapped accepts no token and says how to begin: a link, or the command.
    let keyward = Home::empty().serve().start().await;
    keyward.api_with(Some("admin")).get("/general-keys").await.problem(401);
    keyward.api_with(None).get("/general-keys").await.problem(401);
    let log = keyward.log();
    let link = log.lines().any(|line| line.contains(&keyward.url()) && line.contains('#'));
    assert!(link || log.contains("keyward bootstrap"), "it does not say how to begin: {log}");
}

#[tokio::test]
async fn a_refusal_calls_things_what_the_command_line_calls_them() {
    let home = Home::empty();
    let password = "a password for tests only\n";
    for (email, token_name, stdin, said) in [
        ("owner@example.com", "", password, "keyward: --token-name must not be empty\n"),
        ("nobody", "t", password, "keyward: --email must be an e-mail address"),
        ("owner@example.com", "t", "short\n", "keyward: the password on standard input must have at least"),
    ] {
        let arguments = ["bootstrap", "--password-stdin", "--email", email, "--token-name", token_name];
        let done = home.run(&arguments, stdin).await;
        assert_eq!(done.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(stderr.contains(said), "{said:?} is not in {stderr:?}");
    }
}

#[tokio::test]
async fn the_token_shown_is_stored_as_a_hash() {
    let keyward = TestServer::start().await;
    let token = keyward.home().token().to_owned();
    for (path, bytes) in keyward.home().files() {
        assert!(memchr::memmem::find(&bytes, token.as_bytes()).is_none(), "in {}", path.display());
    }
}
