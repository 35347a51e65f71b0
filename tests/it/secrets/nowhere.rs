//! No secret stands anywhere but where it must: neither on disk, nor in a log at `trace`, nor in an answer.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::harness::{FakeProvider, Reply, TestServer, World};

/// A value whose URL-encoded, JSON-escaped and base64 forms all differ from itself.
pub const CANARY: &str = "sk-Cq7\"wzR4\\Lk9/Xm2=Vb8&Nt5%Yh3+Gj6<Pd1>Qs0";
pub const SECOND_CANARY: &str = "sk-Second\"Wb7\\Kf3/Tr9=Mz4&Hx8%Cv2+Jn5<Lq6>Ae1";

/// Every form in which a secret could give itself away, eight characters at a time.
fn traces(secret: &str) -> Vec<Vec<u8>> {
    let mut texts = vec![
        secret.to_owned(),
        serde_json::to_string(secret).unwrap(),
        percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string(),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
        secret.bytes().map(|byte| format!("{byte:02X}")).collect(),
        secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "),
    ];
    for shift in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            texts.push(engine.encode(&secret.as_bytes()[shift..]));
        }
    }
    let prefix_alone = |piece: &[u8]| piece.iter().all(|byte| *byte == piece[0]);
    texts
        .iter()
        .flat_map(|text| text.as_bytes().windows(if text.contains(", ") { 24 } else { 8 }).map(<[u8]>::to_vec))
        .filter(|piece| !prefix_alone(piece))
        .collect()
}

pub struct Search {
    needles: std::collections::HashMap<Vec<u8>, &'static str>,
}

impl Search {
    pub fn of(secrets: &[(&'static str, &str)]) -> Self {
        let needles = secrets.iter().flat_map(|(name, secret)| traces(secret).into_iter().map(|trace| (trace, *name)));
        Self { needles: needles.collect() }
    }

    /// The same with a secret that is no text.
    pub fn and_bytes(mut self, name: &'static str, secret: &[u8]) -> Self {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let pieces = secret.windows(8).chain(hex.as_bytes().windows(8)).map(|piece| (piece.to_vec(), name));
        self.needles.extend(pieces);
        self
    }

    /// The first secret found, and the surroundings it was found in.
    pub fn find(&self, haystack: &[u8]) -> Option<String> {
        [8, 24].into_iter().find_map(|length| {
            haystack.windows(length).enumerate().find_map(|(at, window)| {
                let name = self.needles.get(window)?;
                let around = &haystack[at.saturating_sub(150)..haystack.len().min(at + 100)];
                Some(format!("{name}, in …{}…", String::from_utf8_lossy(around)))
            })
        })
    }
}

#[test]
fn the_search_finds_what_it_is_for() {
    let search = Search::of(&[("it", CANARY)]);
    let base64 = STANDARD_NO_PAD.encode(format!("xy{CANARY}"));
    let debugged = format!("{:?}", CANARY.as_bytes());
    for hidden in [CANARY, &format!("x{}y", &CANARY[5..14]), &base64, &debugged, &format!("{CANARY:?}")] {
        assert!(search.find(hidden.as_bytes()).is_some(), "{hidden}");
    }
    assert!(search.find(b"sk-******Qs0 and nothing else of interest").is_none());
}

#[tokio::test]
async fn after_all_sorts_of_use_no_secret_is_found() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let api = keyward.api();
    let key = api.general_key("CANARY", CANARY).await;
    let linked = api.provider("fake", "openai-compatible", &provider.base_url(), &key).await;
    api.model("small", &linked).await;
    let kept = api.agent_key("kept").await;
    let secret = kept["secret"].as_str().unwrap().to_owned();
    let agent = keyward.agent(&secret);

    // Use and misuse.
    agent.chat("small").await.expect(200);
    let stream = json!({ "model": "small", "stream": true, "messages": [] });
    agent.stream(stream).await.rest().await;
    agent.post("/providers/fake/chat/completions", json!({ "model": "x" })).await.expect(200);
    agent.get("/auth/verify").await.expect(200);
    agent.get(&format!("/v1/models?key={secret}")).await;
    agent.post_bytes("/v1/chat/completions", format!("{{\"{secret}")).await;
    provider.next(Reply::error(401, &format!("no such key: {CANARY}")));
    agent.chat("small").await.expect(502);
    provider.next(Reply::with(400, &[("x-openai-echo", CANARY)], &format!("{{\"echo\":{}}}", json!(CANARY))));
    agent.chat("small").await;
    provider.next(Reply::error(403, &format!("not for {CANARY}")));
    let path = format!("/general-keys/{}", key["id"].as_str().unwrap());
    api.act(&format!("{path}/test")).await.expect(200);
    api.act(&format!("{path}/test")).await.expect(200);
    // The management API, good and bad.
    api.patch(&path, json!({ "value": SECOND_CANARY })).await.expect(200);
    agent.chat("small").await.expect(200);
    api.post("/general-keys", json!({ "name": "CANARY", "value": CANARY })).await.problem(409);
    api.post("/general-keys", json!({ "name": CANARY, "value": "" })).await.problem(422);
    api.post("/general-keys", json!({ "name": "x", "value": secret })).await.problem(422);
    api.post("/general-keys", json!({ "name": "x", "value": [CANARY] })).await.problem(422);
    let broken = api.request(http::Method::POST, "/general-keys").header("content-type", "application/json");
    api.send(broken.body(format!("{{\"name\":\"x\",\"value\":{}", json!(CANARY)))).await;
    for list in ["/general-keys", "/agent-keys", "/providers", "/models", "/audit-events", "/usage"] {
        api.get(list).await.expect(200);
    }
    for path in ["/metrics", "/openapi.json", "/docs", "/readyz", "/"] {
        api.send(api.outside(http::Method::GET, path)).await;
    }

    let token = keyward.home().token().to_owned();
    let search = Search::of(&[
        ("the general key", CANARY),
        ("the second general key", SECOND_CANARY),
        ("the agent key", &secret[3..]),
        ("the management token", &token[4..]),
    ]);
    // While it runs, the write-ahead log holds what was written last; after the stop, the database does.
    for (path, bytes) in keyward.home().files() {
        assert_eq!(search.find(&bytes), None, "in {}", path.display());
    }
    // The one answer that may show the secret is the one that made it.
    let transcript = keyward.transcript();
    let shown = kept["secret"].as_str().unwrap();
    assert_eq!(transcript.matches(shown).count(), 1, "the secret was shown again");
    assert_eq!(search.find(transcript.replacen(shown, "", 1).as_bytes()), None, "in an answer");

    let home = keyward.stop().await;
    for (path, bytes) in home.files() {
        assert_eq!(search.find(&bytes), None, "in {}", path.display());
    }
    assert!(home.log().contains("DEBUG"), "the log was not at trace: the search proves little");
}

#[tokio::test]
async fn a_key_put_where_none_belongs_is_not_repeated() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let secret = world.agent.secret();
    let api = keyward.api();
    for path in [
        format!("/{secret}"),
        format!("/v1/models/{secret}"),
        format!("/v1/{secret}"),
        format!("/providers/{secret}/x"),
    ] {
        world.agent.get(&path).await;
        world.agent.post(&path, json!({ "model": World::MODEL })).await;
    }
    world.agent.chat(secret).await;
    world.agent.chat(&format!("fake/{secret}")).await;
    api.get(&format!("/agent-keys/{secret}")).await;
    api.get(&format!("/agent-keys?sort={secret}")).await;
    api.post(&format!("/{secret}"), json!({})).await;
    api.post("/providers", json!({ "name": "x", "kind": secret })).await;
    api.post("/general-keys", json!({ "name": "x", "value": CANARY, CANARY: 1 })).await.problem(422);
    api.post("/agent-keys", json!({ "name": "x", "expires_in_days": CANARY })).await.problem(422);
    let search = Search::of(&[("the agent key", &secret[3..]), ("a general key's value", CANARY)]);
    let transcript = keyward.transcript().replacen(secret, "", 1);
    assert_eq!(search.find(transcript.as_bytes()), None, "in an answer");
    assert_eq!(search.find(keyward.log().as_bytes()), None, "in the log");
    provider.received_nothing();
}

#[tokio::test]
async fn a_plain_hash_of_a_secret_is_not_kept_either() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    world.agent.chat(World::MODEL).await.expect(200);
    let home = keyward.stop().await;
    for secret in [world.agent.secret(), home.token(), world.value] {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            digest.as_ref().to_vec(),
            hex.to_uppercase().into_bytes(),
            hex.into_bytes(),
            STANDARD_NO_PAD.encode(digest.as_ref()).into_bytes(),
            URL_SAFE_NO_PAD.encode(digest.as_ref()).into_bytes(),
        ];
        for (path, bytes) in home.files() {
            for form in &forms {
                assert!(memchr::memmem::find(&bytes, form).is_none(), "a plain SHA-256 in {}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn the_files_are_the_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;
    let keyward = TestServer::start().await;
    let data = keyward.home().data();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&keyward.home().master_key()) & 0o177, 0);
    // Core dumps would hold what memory holds.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", keyward.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
}
