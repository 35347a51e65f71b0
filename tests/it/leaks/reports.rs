//! `POST /leaks`: signed reports, in the shape of GitHub's secret scanning.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, FakeProvider, Home, Reply, TestServer, eventually};

/// Somebody who looks for leaked secrets.
struct Scanner {
    id: &'static str,
    pem: String,
    pair: EcdsaKeyPair,
}

impl Scanner {
    fn new(id: &'static str) -> Scanner {
        let key = rcgen::KeyPair::generate().unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der()).unwrap();
        Scanner { id, pem: key.public_key_pem(), pair }
    }

    fn listed(&self) -> Value {
        json!({ "key_identifier": self.id, "key": self.pem, "is_current": true })
    }

    fn sign(&self, body: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(&SystemRandom::new(), body).unwrap())
    }

    async fn report(&self, anybody: &Api, findings: &Value) -> Answer {
        let body = findings.to_string();
        send(anybody, self.id, &self.sign(body.as_bytes()), body).await
    }
}

async fn send(anybody: &Api, id: &str, signature: &str, body: String) -> Answer {
    let request = anybody.outside(Method::POST, "/leaks").header("content-type", "application/json");
    let request = request.header("Github-Public-Key-Identifier", id).header("Github-Public-Key-Signature", signature);
    anybody.send(request.body(body)).await
}

async fn believing(list: &FakeProvider) -> TestServer {
    let url = format!("{}/meta/public_keys/secret_scanning", list.origin());
    Home::new().await.serve().env("KEYWARD_LEAK_REPORT_KEYS_URL", url).start().await
}

fn found(token: &str) -> Value {
    json!({ "token": token, "type": "keyward_agent_key", "url": "https://github.example/a/b/blob/c/.env#L1", "source": "content" })
}

#[tokio::test]
async fn a_signed_report_ends_what_is_ours_and_says_what_was() {
    let (list, scanner) = (FakeProvider::start().await, Scanner::new("one"));
    list.always(200, &[], &json!({ "public_keys": [scanner.listed()] }).to_string());
    let keyward = believing(&list).await;
    let (api, anybody) = (keyward.api(), keyward.api_with(None));
    let receiver = FakeProvider::start().await;
    receiver.always(204, &[], "");
    api.post("/webhooks", json!({ "name": "on-call", "url": receiver.origin(), "events": ["agent_key.leaked"] }))
        .await
        .expect(201);
    let secret = |key: &Value| key["secret"].as_str().unwrap().to_owned();
    let (leaked, gone) = (api.agent_key("leaked").await, api.agent_key("gone").await);
    let token = api
        .post("/management-tokens", json!({ "name": "ci", "scopes": ["agent-keys:read"], "expires_in_days": 1 }))
        .await
        .expect(201)
        .json();
    api.delete(&format!("/agent-keys/{}", gone["id"].as_str().unwrap())).await.expect(204);

    let findings =
        json!([found(&secret(&leaked)), found(&secret(&gone)), found("sk-of-somebody-else"), found(&secret(&token))]);
    let verdicts = scanner.report(&anybody, &findings).await.expect(200).json();
    let labels: Vec<_> = verdicts.as_array().unwrap().iter().map(|one| one["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["true_positive", "false_positive", "false_positive", "true_positive"]);
    assert_eq!(
        (&verdicts[0]["token_raw"], &verdicts[0]["token_type"]),
        (&leaked["secret"], &json!("keyward_agent_key"))
    );

    let refused = verify(&keyward, &secret(&leaked)).await.refused(401, "expired_api_key");
    assert!(refused.text().contains("reported as leaked"), "{refused}");
    let path = format!("/agent-keys/{}", leaked["id"].as_str().unwrap());
    let told = api.get(&path).await.expect(200).json();
    assert_eq!(told["status"], "expired");
    assert_eq!(told["leaked_at"], told["expires_at"]);
    keyward.api_with(Some(&secret(&token))).get("/agent-keys").await.problem(401);
    for action in ["agent_key.revoke_leaked", "management_token.revoke_leaked"] {
        let events = api.get(&format!("/audit-events?action={action}")).await.expect(200).json();
        assert_eq!((&events["total"], &events["items"][0]["actor"]["name"]), (&json!(1), &json!("leak report")));
        assert!(events.to_string().contains("https://github.example/a/b/blob/c/.env#L1"), "{events}");
    }
    let message = eventually("the message", async || receiver.calls().into_iter().next()).await.json();
    assert_eq!(message["data"]["agent_key"]["id"], leaked["id"]);
    assert_eq!(message["data"]["found_at"], "https://github.example/a/b/blob/c/.env#L1");

    // Sent again it says the same of keys, and changes nothing.
    let again = scanner.report(&anybody, &findings).await.expect(200).json();
    assert_eq!((&again[0]["label"], &again[3]["label"]), (&json!("true_positive"), &json!("false_positive")));
    let events = api.get("/audit-events?action=agent_key.revoke_leaked").await.expect(200).json();
    assert_eq!(events["total"], 1);
    assert_eq!(list.calls().len(), 1, "the list is asked for once");
    assert!(!keyward.log().contains(&secret(&leaked)), "no secret in the log");
}

#[tokio::test]
async fn a_forged_report_ends_nothing() {
    let (list, scanner, other) = (FakeProvider::start().await, Scanner::new("one"), Scanner::new("one"));
    list.always(200, &[], &json!({ "public_keys": [scanner.listed()] }).to_string());
    let keyward = believing(&list).await;
    let (api, anybody) = (keyward.api(), keyward.api_with(None));
    let key = api.agent_key("mine").await;
    let secret = key["secret"].as_str().unwrap();
    let findings = json!([found(secret)]);
    let body = findings.to_string();
    // By another key under the same name, for another text, with a name that is not listed, and no signature at all.
    other.report(&anybody, &findings).await.problem(401);
    send(&anybody, "one", &scanner.sign(b"[]"), body.clone()).await.problem(401);
    send(&anybody, "two", &scanner.sign(body.as_bytes()), body.clone()).await.problem(401);
    send(&anybody, "one", "no base64!", body.clone()).await.problem(401);
    anybody.send(anybody.outside(Method::POST, "/leaks").body(body.clone())).await.problem(401);
    verify(&keyward, secret).await.expect(200);
    assert_eq!(list.calls().len(), 1, "an unknown signer makes nobody ask again within a minute");
    // What is signed and no report is refused.
    scanner.report(&anybody, &json!({ "token": secret })).await.problem(400);
    scanner.report(&anybody, &json!([{ "url": "x" }])).await.problem(400);
    verify(&keyward, secret).await.expect(200);
}

#[tokio::test]
async fn a_report_of_ten_thousand_is_answered_whole_and_one_more_refused() {
    let (list, scanner) = (FakeProvider::start().await, Scanner::new("one"));
    list.always(200, &[], &json!({ "public_keys": [scanner.listed()] }).to_string());
    let keyward = believing(&list).await;
    let (api, anybody) = (keyward.api(), keyward.api_with(None));
    let key = api.agent_key("mine").await;
    let secret = key["secret"].as_str().unwrap();
    // Well formed, and nobody's.
    let mut findings = vec![found(&format!("kw_{}4RAm10", "0".repeat(43))); 10_001];
    findings[9_999] = found(secret);
    scanner.report(&anybody, &json!(findings)).await.problem(413);
    verify(&keyward, secret).await.expect(200);
    findings.pop();
    let verdicts = scanner.report(&anybody, &json!(findings)).await.expect(200).json();
    let verdicts = verdicts.as_array().unwrap();
    assert_eq!((verdicts.len(), &verdicts[9_999]["label"]), (10_000, &json!("true_positive")));
    assert!(verdicts[..9_999].iter().all(|one| one["label"] == "false_positive"));
    verify(&keyward, secret).await.refused(401, "expired_api_key");
}

#[tokio::test]
async fn where_the_signers_cannot_be_asked_the_report_is_to_be_sent_again() {
    let (list, scanner) = (FakeProvider::start().await, Scanner::new("one"));
    let keyward = believing(&list).await;
    let anybody = keyward.api_with(None);
    let key = keyward.api().agent_key("mine").await;
    let findings = json!([found(key["secret"].as_str().unwrap())]);
    list.next(Reply::error(500, "not now"));
    list.next(Reply::with(200, &[], "no list"));
    list.next(Reply::with(200, &[], &json!({ "public_keys": [scanner.listed()] }).to_string()));
    scanner.report(&anybody, &findings).await.problem(503);
    scanner.report(&anybody, &findings).await.problem(503);
    assert_eq!(list.calls().len(), 1, "it is not asked for at every report");
    let verdicts = eventually("a list that can be read", async || {
        let answer = scanner.report(&anybody, &findings).await;
        assert!([200, 503].contains(&answer.status), "{answer}");
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    assert_eq!((&verdicts[0]["label"], list.calls().len()), (&json!("true_positive"), 3));
    // Where nobody is believed there is nothing.
    let closed = TestServer::start().await;
    scanner.report(&closed.api_with(None), &findings).await.problem(404);
}

async fn verify(keyward: &TestServer, secret: &str) -> Answer {
    let agent = keyward.agent(secret);
    agent.send(agent.request(Method::GET, "/auth/verify")).await
}
