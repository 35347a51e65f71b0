//! `KEYWARD_TLS_CERT_FILE` and `KEYWARD_TLS_KEY_FILE`.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Certificate, FakeProvider, Home, Port, Start, TestServer, TlsCaller, World, eventually, until};

fn start_on(home: Home, certificate: &Certificate) -> Start {
    certificate.write_into(home.path());
    home.serve().env("KEYWARD_TLS_CERT_FILE", "tls.crt").env("KEYWARD_TLS_KEY_FILE", "tls.key")
}

fn address(keyward: &TestServer) -> String {
    keyward.url().trim_start_matches("http://").to_owned()
}

/// Makes what an agent needs; gives the headers it calls with.
async fn furnish(caller: &mut TlsCaller, token: &str, base_url: &str) -> String {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let mut make = async |path: &str, body: Value| {
        caller.send("POST", &format!("/api/v1{path}"), &headers, &body.to_string()).await.expect(201).json()
    };
    let key = make("/general-keys", json!({ "name": "MY_API", "value": World::VALUE })).await;
    let provider =
        json!({ "name": "fake", "kind": "openai-compatible", "base_url": base_url, "general_key_id": key["id"] });
    let provider = make("/providers", provider).await;
    make("/models", json!({ "name": World::MODEL, "provider_id": provider["id"] })).await;
    let key = make("/agent-keys", json!({ "name": "ABC-Key" })).await;
    format!("Bearer {}", key["secret"].as_str().unwrap())
}

#[tokio::test]
async fn every_face_answers_over_http_1_and_2_and_the_url_is_https() {
    let certificate = Certificate::new();
    let keyward = start_on(Home::new().await, &certificate).start_on_tls().await;
    let provider = FakeProvider::start().await;
    assert!(
        keyward.log().contains(&format!("Keyward listens at https://{}\n", address(&keyward))),
        "{}",
        keyward.log()
    );

    let mut http1 = certificate.caller(&address(&keyward)).await;
    let bearer = furnish(&mut http1, keyward.home().token(), &provider.base_url()).await;
    let mut http2 = certificate.http2_caller(&address(&keyward)).await;
    for caller in [&mut http1, &mut http2] {
        let chat = json!({ "model": World::MODEL, "messages": [{ "role": "user", "content": "hello" }] }).to_string();
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        caller.send("POST", "/v1/chat/completions", &headers, &chat).await.expect(200);
        caller.send("GET", "/auth/verify", &headers[..1], "").await.expect(200);
        caller.send("GET", "/sign-in", &[], "").await.expect(200);
    }
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn who_signs_in_gets_a_cookie_for_https_and_this_host_alone() {
    let certificate = Certificate::new();
    let keyward = start_on(Home::new().await, &certificate).start_on_tls().await;
    for is_http2 in [false, true] {
        let mut caller = match is_http2 {
            false => certificate.caller(&address(&keyward)).await,
            true => certificate.http2_caller(&address(&keyward)).await,
        };
        let origin = format!("https://{}", address(&keyward));
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin.as_str())];
        let typed = "email=owner%40example.com&password=a+password+for+tests+only&next=";
        let answer = caller.send("POST", "/sign-in", &headers, typed).await.expect(303);
        let cookie = answer.header("set-cookie").expect("a session");
        assert!(cookie.starts_with("__Host-keyward=") && cookie.contains("; Secure"), "{cookie}");
        let session = cookie.split(';').next().unwrap();
        caller.send("GET", "/keys/general", &[("cookie", session)], "").await.expect(200);
    }
}

#[tokio::test]
async fn the_console_s_own_address_speaks_it_as_well() {
    let certificate = Certificate::new();
    let admin = Port::claim();
    let start = start_on(Home::new().await, &certificate).env("KEYWARD_ADMIN_LISTEN", admin.address());
    let keyward = start.start_on_tls().await;
    let mut caller = certificate.caller(&admin.address()).await;
    caller.send("GET", "/metrics", &[], "").await.expect(200);
    until("where the console is", async || keyward.log().contains(&format!("https://{}", admin.address()))).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_open_connections_go_on() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let keyward = start_on(Home::new().await, &old).start_on_tls().await;
    let mut open = old.caller(&address(&keyward)).await;
    open.send("GET", "/readyz", &[], "").await.expect(200);

    new.write_into(keyward.home().path());
    until("the new certificate", async || new.connect(&address(&keyward), &[]).await.is_ok()).await;
    open.send("GET", "/readyz", &[], "").await.expect(200);
    assert!(old.connect(&address(&keyward), &[]).await.is_err(), "the old certificate is still shown");
}

#[tokio::test]
async fn a_renewal_that_cannot_be_used_changes_nothing_and_is_logged() {
    let (old, other) = (Certificate::new(), Certificate::new());
    let keyward = start_on(Home::new().await, &old).start_on_tls().await;
    let files = keyward.home().path().to_owned();
    let good = std::fs::read(files.join("tls.crt")).unwrap();
    let complaint = async |what: &str| {
        eventually(what, async || Some(()).filter(|()| keyward.log().contains(what))).await;
        let mut caller = old.caller(&address(&keyward)).await;
        caller.send("GET", "/readyz", &[], "").await.expect(200);
    };

    std::fs::write(files.join("tls.crt"), "no certificate").unwrap();
    complaint("there is no certificate in tls.crt").await;
    other.write_into(&files);
    std::fs::write(files.join("tls.crt"), &good).unwrap();
    complaint("tls.crt does not go with the key in tls.key").await;
    std::fs::remove_file(files.join("tls.crt")).unwrap();
    complaint("cannot read tls.crt").await;
    assert!(keyward.log().contains("the certificate in use stays"));
    old.write_into(&files);
    std::fs::set_permissions(files.join("tls.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    complaint("tls.key is open to others (mode 644)").await;
}

#[tokio::test]
async fn whoever_says_nothing_or_speaks_plain_http_is_not_kept() {
    let certificate = Certificate::new();
    let keyward = start_on(Home::new().await, &certificate).start_on_tls().await;
    let mut silent = tokio::net::TcpStream::connect(address(&keyward)).await.unwrap();
    let mut plain = tokio::net::TcpStream::connect(address(&keyward)).await.unwrap();
    plain.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = crate::harness::in_time("the end of a plain call", plain.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    let _ = crate::harness::in_time("the end of a silent connection", silent.read_to_end(&mut said)).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_and_named() {
    let certificate = Certificate::new();
    type Spoil = fn(&std::path::Path);
    let spoilt: [(&str, Spoil); 5] = [
        ("KEYWARD_TLS_KEY_FILE", |folder| {
            std::fs::set_permissions(folder.join("tls.key"), std::fs::Permissions::from_mode(0o604)).unwrap();
        }),
        ("KEYWARD_TLS_KEY_FILE", |folder| std::fs::write(folder.join("tls.key"), "no key").unwrap()),
        ("KEYWARD_TLS_CERT_FILE", |folder| std::fs::write(folder.join("tls.crt"), "no certificate").unwrap()),
        ("KEYWARD_TLS_CERT_FILE", |folder| std::fs::remove_file(folder.join("tls.crt")).unwrap()),
        ("KEYWARD_TLS_CERT_FILE", |folder| {
            let key = std::fs::read(folder.join("tls.key")).unwrap();
            Certificate::new().write_into(folder);
            std::fs::write(folder.join("tls.key"), key).unwrap();
        }),
    ];
    for (number, (setting, spoil)) in spoilt.into_iter().enumerate() {
        let home = Home::empty();
        let folder = home.path().to_owned();
        let start = start_on(home, &certificate);
        spoil(&folder);
        let (output, _) = start.refused().await;
        assert_eq!(output.status.code(), Some(1), "{number}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(setting), "{number}: {said}");
    }
    for (given, missing) in
        [("KEYWARD_TLS_CERT_FILE", "KEYWARD_TLS_KEY_FILE"), ("KEYWARD_TLS_KEY_FILE", "KEYWARD_TLS_CERT_FILE")]
    {
        let (output, _) = Home::empty().serve().env(given, "tls.pem").refused().await;
        assert!(String::from_utf8_lossy(&output.stderr).contains(missing));
    }
}
