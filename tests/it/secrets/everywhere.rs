//! Every route and every command, driven with secrets that then must stand nowhere.

use std::collections::BTreeSet;

use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};

use super::nowhere::{CANARY, SECOND_CANARY, Search};
use crate::harness::{Api, Authenticator, FakeIssuer, FakeProvider, Home, Signed, TestServer, World, in_repository};

/// A password whose pieces are no words.
const PASSWORD: &str = "Zr6\"tKq8\\Dv2/Lb5=Sm9&Gf4%Xc7+Wj3<Ny1";
const EMAIL: &str = "owner@example.com";

/// A server with everything in it, and what its owner and an agent hold.
struct Stage {
    keyward: TestServer,
    api: Api,
    token: String,
    secret: String,
    session: String,
    app: Authenticator,
    issuer: FakeIssuer,
    /// What a webhook's messages are signed with.
    webhook: String,
    ids: [(&'static str, String); 6],
}

impl Stage {
    async fn set(provider: &FakeProvider) -> Self {
        let home = Home::empty();
        let arguments = ["bootstrap", "--email", EMAIL, "--password-stdin", "--token-name", "t"];
        let done = home.run(&arguments, &format!("{PASSWORD}\n")).await;
        let printed: Value = serde_json::from_slice(&done.stdout).unwrap();
        let token = printed["token"].as_str().unwrap().to_owned();
        let issuer = FakeIssuer::start().await;
        let keyward = issuer.known_to(home.serve()).start().await;
        let api = keyward.api_with(Some(&token));
        let key = api.general_key("CANARY", CANARY).await;
        let linked = api.provider("fake", "openai-compatible", &provider.base_url(), &key).await;
        let model = api.model(World::MODEL, &linked).await;
        let agent = api.agent_key("ABC-Key").await;
        let service =
            json!({ "name": "service", "kind": "service", "base_url": provider.origin(), "general_key_id": key["id"] });
        api.post("/providers", service).await;
        let webhook = json!({ "name": "webhook", "url": format!("{}/hook", provider.origin()) });
        let webhook = api.post("/webhooks", webhook).await.expect(201).json();
        let policy = api.post("/policies", json!({ "name": "policy" })).await.expect(201).json();
        let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
        let ids = [
            ("general", id(&key)),
            ("agent", id(&agent)),
            ("providers", id(&linked)),
            ("models", id(&model)),
            ("webhooks", id(&webhook)),
            ("policies", id(&policy)),
        ];
        let webhook = webhook["secret"].as_str().unwrap().to_owned();
        let secret = agent["secret"].as_str().unwrap().to_owned();
        let answer = keyward.sign_in(EMAIL, PASSWORD).await.expect(303);
        let session = answer.header("set-cookie").unwrap().split([';', '=']).nth(1).unwrap().to_owned();
        let app = keyward.enrol(&keyward.signed_in(&answer), PASSWORD).await;
        for code in [&app.next_code(), &app.recovery_codes[0]] {
            keyward.sign_in_with_code(EMAIL, PASSWORD, code).await.expect(303);
        }
        Self { keyward, api, token, secret, session, app, issuer, webhook, ids }
    }

    /// A path with the id that belongs into it.
    fn path(&self, template: &str) -> String {
        let id = self.ids.iter().find(|(kind, _)| template.contains(kind)).map_or("x", |(_, id)| id);
        template.replace("{id}", id).replace("{file}", "style.css")
    }

    fn page(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.keyward.api_with(None).outside(method, path).header("origin", self.keyward.url());
        request.header("cookie", format!("keyward={}", self.session))
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> crate::harness::Answer {
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = self.page(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        self.api.send(request.body(body.join("&"))).await
    }

    /// Each page as it is, and each form with secrets in the fields for secrets.
    async fn drive_console(&self) {
        let mut routes: Vec<String> = console_routes().into_iter().collect();
        // What takes something away comes last, and the session's end after that.
        routes.sort_by_key(|route| (route.ends_with("/sign-out"), route.ends_with("/delete")));
        let (mut shown, mut done) = (0, 0);
        for route in routes {
            let path = self.path(&route);
            let page = self.api.send(self.page(Method::GET, &path)).await;
            shown += u32::from(page.status == 200);
            let text = page.text();
            let nonce = text.split_once("name=\"nonce\" value=\"").and_then(|(_, rest)| rest.split('"').next());
            let provider = self.ids[2].1.as_str();
            for version in ["", "1", "2"] {
                let form = [
                    ("name", "another"),
                    ("value", SECOND_CANARY),
                    ("general_key_value", SECOND_CANARY),
                    ("kind", "openai-compatible"),
                    ("base_url", "https://api.example.com/v1"),
                    ("provider_id", provider),
                    ("email", EMAIL),
                    ("password", PASSWORD),
                    ("token", &self.token),
                    ("code", &self.app.recovery_codes[1]),
                    ("version", version),
                    ("nonce", nonce.unwrap_or_default()),
                ];
                done += u32::from(self.post(&path, &form).await.status == 303);
            }
        }
        assert!(shown > 12 && done > 5, "only {shown} pages were shown and {done} forms taken");
        for guess in [&PASSWORD[1..], CANARY, &self.secret] {
            self.post("/sign-in", &[("email", EMAIL), ("password", guess), ("next", "/")]).await;
        }
    }

    /// To the issuer and back, with whatever it says, and while it says nothing.
    async fn drive_issuer(&self) {
        for (signed, group) in
            [(Signed::Rs256, "llm-ops"), (Signed::Rs256, "none"), (Signed::WithClientSecret, "llm-ops")]
        {
            self.issuer.sign_in(&self.keyward, signed, |claims| claims["groups"] = json!([group])).await;
        }
        let outward = self.keyward.api_with(None).page("/sign-in/oidc").await.expect(303);
        let back = "/sign-in/oidc/callback?state=x&code=y";
        self.keyward.signed_in(&outward).page(back).await.expect(400);
        self.issuer.set_down(true);
        self.issuer.sign_in(&self.keyward, Signed::Rs256, |_| ()).await.expect(503);
    }

    /// Each operation of the description, with secrets in the members for secrets.
    async fn drive_api(&self) {
        let description = self.api.send(self.api.outside(Method::GET, "/openapi.json")).await.expect(200).json();
        let paths = description["paths"].as_object().unwrap();
        assert!(paths.len() > 8, "only {} paths", paths.len());
        for (template, methods) in paths {
            let kinds = [("general-keys", "general"), ("agent-keys", "agent")];
            let (_, kind) = kinds.into_iter().find(|(path, _)| template.contains(path)).unwrap_or(("", template));
            let id = self.ids.iter().find(|(name, _)| kind.contains(name)).map_or("x", |(_, id)| id);
            let path = template.replace("{id}", id);
            for method in methods.as_object().unwrap().keys().filter(|method| *method != "delete") {
                let method: Method = method.to_uppercase().parse().unwrap();
                for body in [
                    json!({ "name": "a third", "value": SECOND_CANARY }),
                    json!({ "name": "a fourth", "value": SECOND_CANARY, "general_key_value": SECOND_CANARY, "x": 1 }),
                    json!({ "general_key_value": SECOND_CANARY }),
                    json!({ "issuer": "sha256", "agent_keys": [{ "name": "n", "sha256": SECOND_CANARY }, SECOND_CANARY] }),
                    json!({ "issuer": SECOND_CANARY, "agent_keys": [] }),
                    json!({ "base_url": "https://api.example.com/v1", "general_key_value": SECOND_CANARY }),
                ] {
                    let request =
                        self.api.outside(method.clone(), &path).header("idempotency-key", body.to_string().len());
                    self.api.send(request.json(&body)).await;
                }
            }
        }
    }

    /// Each credential in each place for one, at each kind of route; most are the wrong ones.
    async fn drive_gateway(&self) {
        let body = json!({ "model": World::MODEL, "messages": [] }).to_string();
        let nobody = self.keyward.api_with(None);
        for path in [
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/models",
            "/v1/messages",
            "/v1beta/models/small:generateContent",
            "/openai/deployments/small/chat/completions",
            "/providers/fake/chat/completions",
            "/v1/realtime?model=small",
            "/agents/service/tools",
            "/auth/verify",
            "/auth/policies/policy/verify",
            "/oauth2/introspect",
            "/leaks",
            "/metrics",
            "/readyz",
            "/nowhere",
        ] {
            for credential in [&self.secret, &self.token, CANARY, PASSWORD] {
                for (header, value) in [
                    ("authorization", format!("Bearer {credential}")),
                    ("authorization", format!("Basic {credential}")),
                    ("x-api-key", credential.to_owned()),
                    ("api-key", credential.to_owned()),
                    ("x-goog-api-key", credential.to_owned()),
                    ("x-forwarded-for", credential.to_owned()),
                    ("sec-websocket-protocol", format!("openai-insecure-api-key.{credential}")),
                ] {
                    let method =
                        if path.contains("models") && !path.contains(':') { Method::GET } else { Method::POST };
                    let request = nobody.outside(method, path).header("content-type", "application/json");
                    nobody.send(request.header(header, value).body(body.clone())).await;
                }
            }
            nobody.send(nobody.outside(Method::GET, &format!("{path}?key={}", encoded(&self.secret)))).await;
        }
    }

    fn search(&self, master_key: &str) -> Search {
        let raw = base64::engine::general_purpose::STANDARD.decode(master_key).unwrap();
        let plain: Vec<String> = self.app.recovery_codes.iter().map(|code| code.replace('-', "")).collect();
        let mut secrets = vec![
            ("the general key", CANARY),
            ("the second general key", SECOND_CANARY),
            ("the agent key", &self.secret[3..]),
            ("the management token", &self.token[4..]),
            ("the password", PASSWORD),
            ("the session", &self.session),
            ("the master key", master_key),
            ("the app's secret", &self.app.secret),
            ("the webhook's secret", &self.webhook["whsec_".len()..]),
            ("the client's secret", FakeIssuer::CLIENT_SECRET),
        ];
        secrets.extend(self.app.recovery_codes.iter().chain(&plain).map(|code| ("a recovery code", code.as_str())));
        Search::of(&secrets).and_bytes("the master key", &raw).and_bytes("the app's secret", &self.app.raw_secret())
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The console's routes, as its source has them, so that a new one is driven as well.
fn console_routes() -> BTreeSet<String> {
    let source = std::fs::read_to_string(in_repository("src/console/mod.rs")).unwrap();
    let routes: BTreeSet<String> =
        source.split(".route(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
    assert!(routes.len() > 20, "{routes:?}");
    routes
}

#[tokio::test]
async fn after_every_route_no_secret_is_found_in_an_answer_a_log_or_a_file() {
    let provider = FakeProvider::start().await;
    let stage = Stage::set(&provider).await;
    stage.drive_gateway().await;
    stage.drive_api().await;
    stage.drive_issuer().await;
    stage.drive_console().await;

    let key_file = stage.keyward.home().master_key();
    let master_key = std::fs::read_to_string(&key_file).unwrap().trim().to_owned();
    let search = stage.search(&master_key);
    assert!(search.find(&std::fs::read(&key_file).unwrap()).is_some(), "the search does not know the master key");
    // Shown once each, to whom they are for.
    let transcript = stage.keyward.transcript();
    let mut rest = transcript.clone();
    for shown in
        [&stage.secret, &stage.session, &stage.app.secret, &stage.webhook].into_iter().chain(&stage.app.recovery_codes)
    {
        assert_eq!(transcript.matches(shown.as_str()).count(), 1, "a secret was shown again");
        rest = rest.replacen(shown.as_str(), "", 1);
    }
    assert_eq!(search.find(rest.as_bytes()), None, "in an answer");
    let look = |files: Vec<(std::path::PathBuf, Vec<u8>)>| {
        assert!(files.iter().any(|(path, _)| path.to_string_lossy().ends_with("stderr.log")));
        for (path, bytes) in files.into_iter().filter(|(path, _)| *path != key_file) {
            assert_eq!(search.find(&bytes), None, "in {}", path.display());
        }
    };
    // While it runs, the write-ahead log holds what was written last; after the stop, the database does.
    look(stage.keyward.home().files());
    let home = stage.keyward.stop().await;
    look(home.files());
}

#[tokio::test]
async fn commands_say_no_secret_but_those_they_make() {
    let home = Home::empty();
    let bootstrap = ["bootstrap", "--email", EMAIL, "--password-stdin", "--token-name", "t"];
    let first = home.run(&bootstrap, &format!("{PASSWORD}\n")).await;
    let token = serde_json::from_slice::<Value>(&first.stdout).unwrap()["token"].as_str().unwrap().to_owned();
    let master_key = std::fs::read_to_string(home.master_key()).unwrap().trim().to_owned();
    let search = Search::of(&[
        ("the password", PASSWORD),
        ("the management token", &token[4..]),
        ("the master key", &master_key),
        ("the database's password", CANARY),
    ]);
    let shown = String::from_utf8_lossy(&first.stdout).replacen(&token, "", 1);
    assert_eq!(search.find(shown.as_bytes()), None, "bootstrap");
    let key_file = home.master_key().display().to_string();
    let database = format!("postgres://keyward:{}@127.0.0.1:1/keyward", encoded(CANARY));
    let short = format!("{}\n", &PASSWORD[..9]);
    for (arguments, stdin) in [
        (&bootstrap[..], format!("{PASSWORD}\n")),
        (&["bootstrap", "--email", "other@example.com", "--password-stdin"], short),
        (&["bootstrap", "--email", EMAIL, "--password", PASSWORD], String::new()),
        (&["check"], String::new()),
        (&["check", "--log", "trace"], String::new()),
        (&["check", "--log", "trace", "--master-key-file", &key_file, "--database-url", &database], String::new()),
        (&["serve", "--master-key-file", &key_file, "--database-url", &database], String::new()),
        (&["check", "--master-key-file", CANARY_FILE], String::new()),
    ] {
        std::fs::write(home.path().join(CANARY_FILE), CANARY).unwrap();
        let output = home.run(arguments, &stdin).await;
        for said in [&output.stdout, &output.stderr] {
            // What somebody typed on the command line is in their shell already, and usage errors repeat it.
            let is_usage = output.status.code() == Some(2);
            assert!(is_usage || search.find(said).is_none(), "{arguments:?}: {}", String::from_utf8_lossy(said));
        }
    }
}

/// A file that holds a secret instead of a master key.
const CANARY_FILE: &str = "not-a-master.key";
