//! An issuer of OpenID Connect, with keys of its own, that lies when told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use aws_lc_rs::{digest, hmac};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, Start, TestServer};

/// A server in this process, on a loopback port.
#[derive(Debug)]
pub struct FakeIssuer {
    url: String,
    desk: Arc<Mutex<Desk>>,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// With the newest RSA key.
    Rs256,
    /// With the newest elliptic-curve key.
    Es256,
    /// With an RSA key that the issuer never published.
    ByAStranger,
    /// Not at all.
    None,
    /// As a MAC whose key is the RSA key that everybody knows.
    WithPublicKey,
    /// As a MAC whose key is the client's secret.
    WithClientSecret,
    /// With the newest RSA key, and the claims changed afterwards.
    Changed,
}

#[derive(Debug)]
struct Desk {
    keys: Vec<Keys>,
    grants: HashMap<String, Grant>,
    key_calls: usize,
    is_down: bool,
}

struct Keys {
    id: usize,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys {}", self.id)
    }
}

#[derive(Debug)]
struct Grant {
    challenge: String,
    redirect_uri: String,
    token: String,
}

impl FakeIssuer {
    /// What it knows the client by.
    pub const CLIENT_ID: &str = "keyward-in-tests";
    /// What the client proves that with.
    pub const CLIENT_SECRET: &str = "Vn4+Tz8/Qc2=Hx7&Rk5%Jw3-Lp9~Bd6";

    /// Starts one.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = Desk { keys: vec![Keys::new(1)], grants: HashMap::new(), key_calls: 0, is_down: false };
        let desk = Arc::new(Mutex::new(desk));
        let router = axum::Router::new().fallback(answer).with_state((url.clone(), Arc::clone(&desk)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, desk }
    }

    /// Its identifier.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A server whose members can sign in here.
    pub fn known_to(&self, start: Start) -> Start {
        start
            .env("KEYWARD_OIDC_ISSUER", &self.url)
            .env("KEYWARD_OIDC_CLIENT_ID", Self::CLIENT_ID)
            .env("KEYWARD_OIDC_CLIENT_SECRET", Self::CLIENT_SECRET)
            .env("KEYWARD_OIDC_NAME", "Example ID")
            .env("KEYWARD_OIDC_ROLE_MAP", "bosses=owner,platform-admins=admin,llm-ops=operator,readers=auditor")
    }

    /// Lets somebody sign in who was sent to `authorize_url`; gives the code they come back with. `tell` changes what the
    /// token says.
    pub fn grant(&self, authorize_url: &str, signed: Signed, tell: impl FnOnce(&mut Value)) -> String {
        let asked = query_of(authorize_url);
        for (name, expected) in [
            ("response_type", "code"),
            ("client_id", Self::CLIENT_ID),
            ("code_challenge_method", "S256"),
            ("scope", "openid email profile"),
        ] {
            assert_eq!(asked[name], expected, "{name} in {authorize_url}");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.url, "aud": Self::CLIENT_ID, "sub": "subject-1", "exp": now + 300, "iat": now,
            "nonce": asked["nonce"], "email": "ada@example.com", "name": "Ada Lovelace", "groups": [],
        });
        tell(&mut claims);
        let mut desk = self.desk.lock().unwrap();
        let token = desk.keys.last().unwrap().sign(signed, &claims);
        let code = format!("code-{}", desk.grants.len() + 1);
        let (challenge, redirect_uri) = (asked["code_challenge"].clone(), asked["redirect_uri"].clone());
        desk.grants.insert(code.clone(), Grant { challenge, redirect_uri, token });
        code
    }

    /// Signs with new keys from now on, and publishes no others.
    pub fn rotate(&self) {
        let mut desk = self.desk.lock().unwrap();
        let id = desk.keys.last().unwrap().id + 1;
        desk.keys = vec![Keys::new(id)];
    }

    /// Answers nothing but 503 from now on, or again.
    pub fn set_down(&self, is_down: bool) {
        self.desk.lock().unwrap().is_down = is_down;
    }

    /// How often its keys were asked for.
    pub fn key_calls(&self) -> usize {
        self.desk.lock().unwrap().key_calls
    }

    /// A browser's way: from the link on the sign-in page to the issuer and back. Gives what Keyward answers at the end.
    pub async fn sign_in(&self, keyward: &TestServer, signed: Signed, tell: impl FnOnce(&mut Value)) -> Answer {
        let outward = keyward.api_with(None).page("/sign-in/oidc?next=%2Fkeys%2Fagent").await.expect(303);
        let url = outward.header("location").unwrap();
        let code = self.grant(url, signed, tell);
        let back = format!("/sign-in/oidc/callback?state={}&code={code}", query_of(url)["state"]);
        keyward.signed_in(&outward).page(&back).await
    }
}

impl Keys {
    fn new(id: usize) -> Self {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { id, rsa, ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    fn published(&self) -> Value {
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = self.rsa.public_key();
        let (modulus, exponent) = (public.modulus(), public.exponent());
        let point = self.ec.public_key().as_ref();
        json!([
            { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": format!("rsa-{}", self.id),
              "n": number(modulus.big_endian_without_leading_zero()),
              "e": number(exponent.big_endian_without_leading_zero()) },
            { "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": format!("ec-{}", self.id),
              "x": number(&point[1..33]), "y": number(&point[33..65]) },
        ])
    }

    fn sign(&self, signed: Signed, claims: &Value) -> String {
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let rsa_id = format!("rsa-{}", self.id);
        let (alg, kid) = match signed {
            Signed::Rs256 | Signed::ByAStranger | Signed::Changed => ("RS256", rsa_id),
            Signed::Es256 => ("ES256", format!("ec-{}", self.id)),
            Signed::None => ("none", rsa_id),
            Signed::WithPublicKey | Signed::WithClientSecret => ("HS256", rsa_id),
        };
        let head = encoded(&json!({ "alg": alg, "kid": kid, "typ": "JWT" }));
        let text = format!("{head}.{}", encoded(claims));
        let by_rsa = |rsa: &RsaKeyPair| {
            let mut signature = vec![0; rsa.public_modulus_len()];
            rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
            signature
        };
        let by_mac =
            |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
        let signature = match signed {
            Signed::Rs256 | Signed::Changed => by_rsa(&self.rsa),
            Signed::ByAStranger => by_rsa(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            Signed::Es256 => self.ec.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            Signed::None => Vec::new(),
            Signed::WithPublicKey => by_mac(self.rsa.public_key().as_ref()),
            Signed::WithClientSecret => by_mac(FakeIssuer::CLIENT_SECRET.as_bytes()),
        };
        let text = match signed {
            Signed::Changed => {
                let mut claims = claims.clone();
                claims["sub"] = json!("somebody-else");
                format!("{head}.{}", encoded(&claims))
            }
            _ => text,
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The parameters of a URL's query.
pub fn query_of(url: &str) -> HashMap<String, String> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

async fn answer(State((url, desk)): State<(String, Arc<Mutex<Desk>>)>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 1024 * 1024).await.unwrap();
    let mut desk = desk.lock().unwrap();
    if desk.is_down {
        return (StatusCode::SERVICE_UNAVAILABLE, "down").into_response();
    }
    match path.as_str() {
        "/.well-known/openid-configuration" => axum::Json(json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            // It would let MACs count, which Keyward does not.
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
        }))
        .into_response(),
        "/jwks" => {
            desk.key_calls += 1;
            let keys: Vec<Value> =
                desk.keys.iter().flat_map(|keys| keys.published().as_array().unwrap().clone()).collect();
            axum::Json(json!({ "keys": keys })).into_response()
        }
        "/token" => exchange(&mut desk, authorization.as_deref(), &body),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn exchange(desk: &mut Desk, authorization: Option<&str>, body: &[u8]) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let refused = |error: &str| (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": error }))).into_response();
    // As RFC 6749 has it: both halves are form-encoded first.
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(FakeIssuer::CLIENT_ID), encoded(FakeIssuer::CLIENT_SECRET));
    if authorization != Some(format!("Basic {}", STANDARD.encode(pair)).as_str()) {
        return refused("invalid_client");
    }
    let Some(grant) = form.get("code").and_then(|code| desk.grants.get(code)) else { return refused("invalid_grant") };
    let hash = digest::digest(&digest::SHA256, form.get("code_verifier").map_or(&b""[..], |text| text.as_bytes()));
    let is_good = form["grant_type"] == "authorization_code"
        && form["redirect_uri"] == grant.redirect_uri
        && URL_SAFE_NO_PAD.encode(hash) == grant.challenge;
    if !is_good {
        return refused("invalid_grant");
    }
    // The code stays good, so that it is Keyward which has to notice that somebody comes back twice.
    axum::Json(json!({ "access_token": "unused", "token_type": "Bearer", "id_token": grant.token })).into_response()
}
