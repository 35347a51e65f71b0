//! `KEYWARD_TRUSTED_PROXIES`: whom a request came from.

use http::Method;

use crate::harness::{Answer, Home, Start, TestServer};

fn behind(networks: &str, home: Home) -> Start {
    home.serve().env("KEYWARD_TRUSTED_PROXIES", networks)
}

/// The address in the audit log of a key that was made with these headers.
async fn noted(keyward: &TestServer, headers: &[(&str, &str)]) -> String {
    let api = keyward.api();
    let mut request = api.request(Method::POST, "/agent-keys").json(&serde_json::json!({ "name": "ABC-Key" }));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let key = api.send(request).await.expect(201).json();
    let events = api.audit_events().await;
    let made = events.iter().find(|event| event["target"]["id"] == key["id"]).expect("it was recorded");
    let id = key["id"].as_str().unwrap();
    api.delete(&format!("/agent-keys/{id}")).await.expect(204);
    made["address"].as_str().expect("an address").to_owned()
}

/// A try to sign in with a wrong password.
async fn guess(keyward: &TestServer, email: &str, from: &str) -> Answer {
    let nobody = keyward.api_with(None);
    let form = format!("email={email}&password=wrong+wrong+wrong&next=");
    let request =
        nobody.outside(Method::POST, "/sign-in").header("origin", keyward.url()).header("x-forwarded-for", from);
    nobody.send(request.header("content-type", "application/x-www-form-urlencoded").body(form)).await
}

#[tokio::test]
async fn the_audit_log_names_who_stands_before_the_proxies() {
    let keyward = behind("127.0.0.0/8, 10.0.0.7", Home::new().await).start().await;
    for (hops, address) in [
        ("198.51.100.7", "198.51.100.7"),
        ("192.0.2.66, 198.51.100.7, 10.0.0.7", "198.51.100.7"),
        ("192.0.2.66, 198.51.100.7, 10.0.0.8", "10.0.0.8"),
        ("2001:db8::7", "2001:db8::7"),
        ("unknown", "127.0.0.1"),
    ] {
        assert_eq!(noted(&keyward, &[("x-forwarded-for", hops)]).await, address, "{hops}");
    }
    assert_eq!(noted(&keyward, &[]).await, "127.0.0.1");
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let said = [("x-forwarded-for", "198.51.100.7"), ("x-real-ip", "198.51.100.7"), ("forwarded", "for=198.51.100.7")];
    let keyward = TestServer::start().await;
    assert_eq!(noted(&keyward, &said).await, "127.0.0.1");
    let keyward = behind("10.0.0.0/8", Home::new().await).start().await;
    assert_eq!(noted(&keyward, &said).await, "127.0.0.1");
}

#[tokio::test]
async fn who_guesses_through_a_proxy_does_not_delay_the_others_behind_it() {
    let keyward = behind("127.0.0.1", Home::new().await).start().await;
    let mut refused = 0;
    while guess(&keyward, &format!("nobody{refused}%40example.com"), "203.0.113.66").await.status != 429 {
        refused += 1;
        assert!(refused < 50, "an address may guess without end");
    }
    let other = guess(&keyward, "somebody%40example.com", "198.51.100.7").await;
    assert_ne!(other.status, 429, "{other}");
}

#[tokio::test]
async fn a_cookie_that_leaves_by_https_is_kept_to_it() {
    let keyward = behind("127.0.0.1", Home::new().await).start().await;
    let nobody = keyward.api_with(None);
    let sign_in = async |scheme: &str| {
        let form = "email=owner%40example.com&password=a+password+for+tests+only&next=";
        let request = nobody.outside(Method::POST, "/sign-in").header("origin", keyward.url());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = nobody.send(request.header("x-forwarded-proto", scheme).body(form)).await.expect(303);
        answer.header("set-cookie").expect("a session").to_owned()
    };
    assert!(sign_in("https").await.contains("; Secure"));
    assert!(!sign_in("http").await.contains("; Secure"));
}
