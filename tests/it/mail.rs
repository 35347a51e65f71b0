//! Warnings by e-mail: who is told, by which mail server, and what becomes of it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{Certificate, FakeProvider, Home, MailServer, Person, Reply, TestServer, World, until};

const OWNER: &str = "owner@example.com";
const PASSWORD: &str = "canary-password-of-the-mail-server";

/// A key of that member's, which was used.
async fn used_key(keyward: &TestServer, person: &Person, name: &str) -> Value {
    let key = person.api.agent_key(name).await;
    keyward.agent(key["secret"].as_str().unwrap()).chat(World::MODEL).await.expect(200);
    key
}

/// The log of messages, as the console shows it.
async fn log(person: &Person) -> String {
    person.api.page("/settings/webhooks").await.expect(200).text()
}

async fn times_in_log(person: &Person, words: &str) -> usize {
    log(person).await.matches(words).count()
}

#[tokio::test]
async fn the_owner_of_a_key_is_told_of_its_end_once_and_in_words() {
    let mail = MailServer::start(&[]).await;
    let keyward = Home::new().await.serve().with(&mail.settings("")).start().await;
    let provider = FakeProvider::start().await;
    keyward.with_linked_model(&provider).await;
    let ada = keyward.person("ada", "member").await;
    ada.api.post("/agent-keys", json!({ "name": "a\r\nBcc: eve@example.com" })).await.problem(422);
    let key = used_key(&keyward, &ada, "Schlüssel für “Ada” 🗝").await;
    let other = ada.api.agent_key("never used").await;

    let keyward = keyward.stop_to_restart().await.with(&mail.settings("")).days_later(80).start().await;
    let letter = mail.letter_to("ada@example.com").await;
    assert_eq!(letter["subject"], "Agent key “Schlüssel für “Ada” 🗝” ends within 14 days");
    assert_eq!(
        (&letter["from"], &letter["sender"]),
        (&json!("keyward@example.com"), &json!("Keyward <keyward@example.com>"))
    );
    let text = letter["text"].as_str().unwrap();
    assert!(text.contains("is in use and ends within 14 days"), "{text}");
    let page = format!("{}/keys/agent/{}", keyward.url(), key["id"].as_str().unwrap());
    assert!(text.contains(&page), "{text}");
    assert!(!letter.to_string().contains(key["secret"].as_str().unwrap()));
    let headers = letter["headers"].as_array().unwrap();
    assert!(headers.contains(&json!("auto-submitted")) && !headers.contains(&json!("bcc")), "{headers:?}");

    assert_eq!(mail.letters().len(), 1, "of a key never used, nothing: {:#?}", mail.letters());
    // Looked at again, only the one that is used by now is told of.
    keyward.agent(other["secret"].as_str().unwrap()).get("/v1/models").await.expect(200);
    let keyward = keyward.stop_to_restart().await.with(&mail.settings("")).days_later(80).start().await;
    until("the other key's letter", async || mail.letters().len() > 1).await;
    keyward.stop().await;
    let subjects: Vec<_> = mail.letters().iter().map(|letter| letter["subject"].clone()).collect();
    assert_eq!(subjects[1..], ["Agent key “never used” ends within 14 days"], "each once");
}

#[tokio::test]
async fn who_switched_it_off_is_told_nothing_and_a_refused_general_key_is_told_to_owners_and_admins() {
    let mail = MailServer::start(&[]).await;
    let keyward = Home::new().await.serve().with(&mail.settings("")).start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (ada, bob) = (keyward.person("ada", "member").await, keyward.person("bob", "member").await);
    let (boss, deaf) = (keyward.person("boss", "admin").await, keyward.person("deaf", "admin").await);
    for person in [&ada, &deaf] {
        let account = person.api.page("/settings/account").await.expect(200).text();
        assert!(account.contains("Warnings by e-mail") && account.contains("Switch off"), "{account}");
        person.api.form("/settings/account/mail", &[("mail", "off")]).await.expect(303);
        assert!(person.api.page("/settings/account").await.expect(200).text().contains("Switch on"));
    }
    for (person, key) in [(&ada, "ada's"), (&bob, "bob's")] {
        used_key(&keyward, person, key).await;
    }
    world.agent.chat(World::MODEL).await.expect(200);
    provider.next(Reply::error(401, "Incorrect API key\r\nBcc: eve@example.com"));
    world.agent.chat(World::MODEL).await.expect(502);
    for address in [OWNER, &boss.email] {
        let letter = mail.letter_to(address).await;
        assert_eq!(letter["subject"], "A provider refuses the general key “MY_API”");
        let text = letter["text"].as_str().unwrap();
        assert!(text.contains("Incorrect API key") && !text.contains("\nBcc"), "{text}");
        assert!(!letter["headers"].as_array().unwrap().contains(&json!("bcc")), "{letter}");
        assert!(!letter.to_string().contains(world.value));
    }

    let keyward = keyward.stop_to_restart().await.with(&mail.settings("")).days_later(80).start().await;
    mail.letter_to(&bob.email).await;
    until("the owner's key as well", async || mail.letters_to(OWNER).len() == 2).await;
    keyward.stop().await;
    for person in [&ada, &deaf] {
        assert_eq!(mail.letters_to(&person.email), Vec::<Value>::new());
    }
    assert_eq!(mail.letters_to(&boss.email).len(), 1, "a key of somebody's is told to nobody else");
}

#[tokio::test]
async fn a_4xx_is_tried_again_and_a_5xx_is_not() {
    let mail = MailServer::start(&["--replies", "451,250,550"]).await;
    let keyward = Home::new().await.serve().with(&mail.settings("")).start().await;
    let boss = keyward.person("boss", "admin").await;
    assert!(log(&boss).await.contains("Send me a test e-mail"));
    let sent = boss.api.post("/mail/test", json!({})).await.expect(200).json();
    assert_eq!(sent["event"], "mail.test");
    until("the first try", async || log(&boss).await.contains("not this time")).await;
    assert!(log(&boss).await.contains("Next try"));
    let letter = mail.letter_to("boss@example.com").await;
    assert_eq!(letter["id"], json!(format!("<{}@example.com>", sent["id"].as_str().unwrap())));
    until("its delivery", async || times_in_log(&boss, "Delivered").await == 1).await;
    assert!(log(&boss).await.contains("boss@example.com"), "to whom it went");
    boss.api.form("/settings/mail/test", &[]).await.expect(303);
    until("the end of it", async || times_in_log(&boss, "Given up").await == 1).await;
    assert_eq!(mail.letters().len(), 1);
}

#[tokio::test]
async fn a_mail_server_that_is_down_loses_nothing_and_holds_up_nobody() {
    let mut mail = MailServer::down();
    let keyward = Home::new().await.serve().with(&mail.settings("")).start().await;
    let (provider, receiver) = (FakeProvider::start().await, FakeProvider::start().await);
    receiver.always(200, &[], "");
    let world = keyward.with_linked_model(&provider).await;
    let hook = json!({ "name": "on-call", "url": receiver.origin() });
    keyward.api().post("/webhooks", hook).await.expect(201);
    provider.next(Reply::error(401, "Incorrect API key"));
    world.agent.chat(World::MODEL).await.expect(502);
    until("the webhook's message", async || receiver.calls().len() == 1).await;
    until("a failed try", async || keyward.log().contains("a message was not delivered")).await;
    keyward.agent(world.agent.secret()).get("/v1/models").await.expect(200);

    let home = keyward.stop().await;
    mail.go_up(&[]).await;
    let keyward = home.serve().with(&mail.settings("")).seconds_later(600).start().await;
    mail.letter_to(OWNER).await;
    keyward.stop().await;
    assert_eq!((mail.letters().len(), receiver.calls().len()), (1, 1));
}

#[tokio::test]
async fn one_that_hangs_holds_up_no_webhook() {
    let mail = MailServer::start(&["--hang"]).await;
    let keyward = Home::new().await.serve().with(&mail.settings("")).start().await;
    let receiver = FakeProvider::start().await;
    receiver.always(200, &[], "");
    let boss = keyward.person("boss", "admin").await;
    // More than are sent at once in all.
    for _ in 0..20 {
        boss.api.post("/mail/test", json!({})).await.expect(200);
    }
    let hook = json!({ "name": "on-call", "url": receiver.origin() });
    let hook = boss.api.post("/webhooks", hook).await.expect(201).json();
    boss.api.post(&format!("/webhooks/{}/test", hook["id"].as_str().unwrap()), json!({})).await.expect(200);
    until("the webhook's message", async || receiver.calls().len() == 1).await;
    assert_eq!(mail.letters(), Vec::<Value>::new());
}

#[tokio::test]
async fn it_signs_in_over_tls_to_whom_it_trusts_and_the_password_is_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    Certificate::new().write_into(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (mode, scheme, query) in [("implicit", "smtps", ""), ("starttls", "smtp", "?tls=starttls")] {
        let (cert, key) = (file("tls.crt"), file("tls.key"));
        let arguments = ["--tls", mode, "--cert", &cert, "--key", &key, "--login", "me", PASSWORD];
        let mail = MailServer::start(&arguments).await;
        let mut settings = mail.settings_over(scheme, query);
        settings.push((String::from("KEYWARD_SMTP_USER"), String::from("me")));
        settings.push((String::from("KEYWARD_SMTP_PASSWORD"), PASSWORD.to_owned()));

        let keyward = Home::new().await.serve().with(&settings).start().await;
        let boss = keyward.person("boss", "admin").await;
        boss.api.post("/mail/test", json!({})).await.expect(200);
        until("a refused certificate", async || log(&boss).await.contains("TLS with it failed")).await;
        assert_eq!(mail.letters(), Vec::<Value>::new());

        settings.push((String::from("SSL_CERT_FILE"), cert.clone()));
        let keyward = keyward.stop_to_restart().await.with(&settings).seconds_later(600).start().await;
        let letter = mail.letter_to(&boss.email).await;
        assert_eq!((&letter["is_tls"], &letter["is_signed_in"]), (&json!(true), &json!(true)), "{mode}");
        assert!(!keyward.transcript().contains(PASSWORD));
        let home = keyward.stop().await;
        let plain = format!("\0me\0{PASSWORD}");
        for secret in [PASSWORD.to_owned(), STANDARD.encode(PASSWORD), STANDARD.encode(plain)] {
            for (path, bytes) in home.files() {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{mode}: the password is in {}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn one_that_refuses_the_login_or_offers_no_tls_gets_no_letter() {
    let mail = MailServer::start(&["--login", "me", PASSWORD]).await;
    let mut settings = mail.settings("");
    settings.push((String::from("KEYWARD_SMTP_USER"), String::from("me")));
    settings.push((String::from("KEYWARD_SMTP_PASSWORD"), String::from("another one")));
    let keyward = Home::new().await.serve().with(&settings).start().await;
    let boss = keyward.person("boss", "admin").await;
    boss.api.post("/mail/test", json!({})).await.expect(200);
    until("a refused login", async || times_in_log(&boss, "Next try").await == 1).await;
    let settings = mail.settings("?tls=starttls");
    let keyward = keyward.stop_to_restart().await.with(&settings).start().await;
    let boss = keyward.signed_in(&keyward.sign_in(&boss.email, Person::PASSWORD).await.expect(303));
    boss.post("/mail/test", json!({})).await.expect(200);
    let page = async || boss.page("/settings/webhooks").await.expect(200).text();
    until("no TLS", async || page().await.contains("it offers no STARTTLS")).await;
    assert_eq!(mail.letters(), Vec::<Value>::new());
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_and_named() {
    let url = ("KEYWARD_SMTP_URL", "smtps://mail.example.com");
    let from = ("KEYWARD_SMTP_FROM", "Keyward <keyward@example.com>");
    let cases: [(&[(&str, &str)], &str); 12] = [
        (&[from], "KEYWARD_SMTP_FROM"),
        (&[("KEYWARD_SMTP_PASSWORD", PASSWORD)], "KEYWARD_SMTP_PASSWORD"),
        (&[("KEYWARD_SMTP_ALLOW_PRIVATE", "true")], "KEYWARD_SMTP_ALLOW_PRIVATE"),
        (&[url], "KEYWARD_SMTP_FROM"),
        (&[url, ("KEYWARD_SMTP_FROM", "not a mailbox")], "KEYWARD_SMTP_FROM"),
        (&[url, from, ("KEYWARD_SMTP_USER", "me")], "KEYWARD_SMTP_USER"),
        (&[url, from, ("KEYWARD_SMTP_PASSWORD", PASSWORD)], "KEYWARD_SMTP_PASSWORD"),
        (&[("KEYWARD_SMTP_URL", "smtp://10.0.0.1"), from], "KEYWARD_SMTP_ALLOW_PRIVATE"),
        (
            &[("KEYWARD_SMTP_URL", "smtp://169.254.169.254"), ("KEYWARD_SMTP_ALLOW_PRIVATE", "1"), from],
            "KEYWARD_SMTP_URL",
        ),
        (
            &[("KEYWARD_SMTP_URL", "smtps://me:canary-password-of-the-mail-server@mail.example.com"), from],
            "KEYWARD_SMTP_URL",
        ),
        (&[("KEYWARD_SMTP_URL", "https://mail.example.com"), from], "KEYWARD_SMTP_URL"),
        (
            &[
                ("KEYWARD_SMTP_URL", "smtp://mail.example.com?tls=none"),
                ("KEYWARD_SMTP_USER", "me"),
                ("KEYWARD_SMTP_PASSWORD", PASSWORD),
                from,
            ],
            "KEYWARD_SMTP_PASSWORD",
        ),
    ];
    let variables = |settings: &[(&str, &str)]| -> Vec<(String, String)> {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let home = Home::new().await;
    for (settings, named) in cases {
        let refused = home.run_with(&variables(settings), &["check"]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{settings:?}: {said}");
        assert!(said.contains(named) && !said.contains(PASSWORD), "{settings:?}: {said}");
    }
    let private = [("KEYWARD_SMTP_URL", "smtp://10.0.0.1"), ("KEYWARD_SMTP_ALLOW_PRIVATE", "true"), from];
    let good = home.run_with(&variables(&private), &["check"]).await;
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(said.contains("e-mail: by the mail server 10.0.0.1:587"), "{said}");
}

#[tokio::test]
async fn without_a_mail_server_the_console_says_so() {
    let keyward = TestServer::start().await;
    let boss = keyward.person("boss", "admin").await;
    boss.api.post("/mail/test", json!({})).await.problem(422);
    boss.api.form("/settings/mail/test", &[]).await.expect(422);
    assert!(log(&boss).await.contains("no mail server is set"));
    let account = boss.api.page("/settings/account").await.expect(200).text();
    assert!(account.contains("no mail server is set up") && !account.contains("Switch off"), "{account}");
    let auditor = keyward.person("auditor", "auditor").await;
    auditor.api.post("/mail/test", json!({})).await.problem(403);
}

#[tokio::test]
async fn a_leak_is_told_to_the_owner_and_to_who_administers_whatever_they_switched_off() {
    let mail = MailServer::start(&[]).await;
    let keyward = Home::new().await.serve().with(&mail.settings("")).start().await;
    let (ada, boss) = (keyward.person("ada", "member").await, keyward.person("boss", "admin").await);
    for person in [&ada, &boss] {
        person.api.form("/settings/account/mail", &[("mail", "off")]).await.expect(303);
    }
    let key = ada.api.agent_key("crawler").await;
    keyward.api_with(None).post("/agent-keys/revoke-leaked", json!({ "key": key["secret"] })).await.expect(200);
    for address in [&ada.email, &boss.email, OWNER] {
        let letter = mail.letter_to(address).await;
        assert_eq!(letter["subject"], "Agent key “crawler” was reported as leaked");
        assert!(!letter.to_string().contains(key["secret"].as_str().unwrap()));
    }
}
