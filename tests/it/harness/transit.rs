//! The transit engine of a Vault, as far as its documented API goes: a real AEAD, versions of the key, a token, a seal.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::Certificate;

/// A server in this process, on a loopback port.
#[derive(Debug)]
pub struct FakeTransit {
    url: String,
    desk: Arc<Desk>,
}

/// A call that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitCall {
    /// Method and path.
    pub line: String,
    /// The namespace that was named.
    pub namespace: String,
}

#[derive(Debug)]
struct Desk {
    kind: &'static str,
    /// The key's versions, the first one first.
    versions: Mutex<Vec<[u8; 32]>>,
    min_decryption_version: Mutex<usize>,
    token: Mutex<String>,
    sealed: Mutex<bool>,
    calls: Mutex<Vec<TransitCall>>,
}

impl FakeTransit {
    /// The token that is good at first.
    pub const TOKEN: &'static str = "hvs.a-token-for-tests-only";
    /// The key's name.
    pub const KEY: &'static str = "keyward";

    /// Starts one that has the key.
    pub async fn start() -> Self {
        Self::start_with("aes256-gcm96", None).await
    }

    /// Starts one whose key is of another type.
    pub async fn start_with_key_of(kind: &'static str) -> Self {
        Self::start_with(kind, None).await
    }

    /// Starts one that speaks TLS.
    pub async fn start_on_tls(certificate: &Certificate) -> Self {
        Self::start_with("aes256-gcm96", Some(certificate)).await
    }

    async fn start_with(kind: &'static str, certificate: Option<&Certificate>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let desk = Arc::new(Desk {
            kind,
            versions: Mutex::new(vec![fresh()]),
            min_decryption_version: Mutex::new(1),
            token: Mutex::new(Self::TOKEN.to_owned()),
            sealed: Mutex::new(false),
            calls: Mutex::default(),
        });
        let router = axum::Router::new().fallback(answer).with_state(desk.clone());
        let acceptor = certificate.map(Certificate::acceptor);
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (router, acceptor) = (TowerToHyperService::new(router.clone()), acceptor.clone());
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    match acceptor {
                        None => drop(http.serve_connection(TokioIo::new(tcp), router).await),
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(tcp).await else { return };
                            drop(http.serve_connection(TokioIo::new(stream), router).await);
                        }
                    }
                });
            }
        });
        Self { url: format!("{scheme}://{address}"), desk }
    }

    /// The variables of a server that uses it; the token stands in `folder`.
    pub fn settings(&self, folder: &std::path::Path) -> Vec<(String, String)> {
        let token = folder.join("transit.token");
        std::fs::write(&token, format!("{}\n", self.desk.token.lock().unwrap())).unwrap();
        [
            ("KEYWARD_TRANSIT_URL", self.url.clone()),
            ("KEYWARD_TRANSIT_KEY", Self::KEY.to_owned()),
            ("KEYWARD_TRANSIT_TOKEN_FILE", token.to_str().unwrap().to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Takes no other token than this from now on.
    pub fn take_only(&self, token: &str) {
        *self.desk.token.lock().unwrap() = token.to_owned();
    }

    /// Seals or unseals it.
    pub fn seal(&self, sealed: bool) {
        *self.desk.sealed.lock().unwrap() = sealed;
    }

    /// Makes another version of the key.
    pub fn rotate(&self) {
        self.desk.versions.lock().unwrap().push(fresh());
    }

    /// Decrypts nothing that an older version encrypted, from now on.
    pub fn retire_before(&self, version: usize) {
        *self.desk.min_decryption_version.lock().unwrap() = version;
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<TransitCall> {
        self.desk.calls.lock().unwrap().clone()
    }
}

fn fresh() -> [u8; 32] {
    let mut key = [0; 32];
    random(&mut key);
    key
}

#[allow(clippy::disallowed_methods, reason = "the service draws its own")]
fn random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).unwrap();
}

fn refuse(status: u16, words: &str) -> Response {
    let errors = if words.is_empty() { json!([]) } else { json!([words]) };
    (StatusCode::from_u16(status).unwrap(), axum::Json(json!({ "errors": errors }))).into_response()
}

fn give(data: Value) -> Response {
    axum::Json(json!({ "request_id": "r", "lease_id": "", "data": data, "warnings": null })).into_response()
}

async fn answer(State(desk): State<Arc<Desk>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let call = TransitCall { line: format!("{method} {}", uri.path()), namespace: header("x-vault-namespace") };
    desk.calls.lock().unwrap().push(call);
    if *desk.sealed.lock().unwrap() {
        return refuse(503, "Vault is sealed");
    }
    if header("x-vault-token") != *desk.token.lock().unwrap() {
        return refuse(403, "permission denied");
    }
    let key = FakeTransit::KEY;
    let Some(route) = uri.path().strip_prefix("/v1/transit/") else {
        return refuse(404, "no handler for route");
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (method.as_str(), route.split_once('/')) {
        ("GET", Some(("keys", name))) if name == key => {
            give(json!({ "name": key, "type": desk.kind, "latest_version": desk.versions.lock().unwrap().len() }))
        }
        ("GET", Some(("keys", _))) => refuse(404, ""),
        ("POST" | "PUT", Some(("encrypt", name))) if name == key => encrypt(&desk, &body),
        ("POST" | "PUT", Some(("decrypt", name))) if name == key => decrypt(&desk, &body),
        ("POST" | "PUT", Some(("decrypt", _))) => refuse(400, "encryption key not found"),
        // As the service does it: without associated data, which it has no parameter for.
        ("POST" | "PUT", Some(("rewrap", name))) if name == key => {
            match decrypted(&desk, &json!({ "ciphertext": body["ciphertext"] })) {
                Ok(plaintext) => encrypt(&desk, &json!({ "plaintext": STANDARD.encode(plaintext) })),
                Err(words) => refuse(400, words),
            }
        }
        _ => refuse(404, "unsupported path"),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default()
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap())
}

fn encrypt(desk: &Desk, body: &Value) -> Response {
    let versions = desk.versions.lock().unwrap();
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce);
    let mut sealed = bytes(&body["plaintext"]);
    let associated = Aad::from(bytes(&body["associated_data"]));
    let newest = cipher(versions.last().unwrap());
    newest.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated, &mut sealed).unwrap();
    let payload = STANDARD.encode([&nonce[..], &sealed].concat());
    give(json!({ "ciphertext": format!("vault:v{}:{payload}", versions.len()), "key_version": versions.len() }))
}

fn decrypt(desk: &Desk, body: &Value) -> Response {
    match decrypted(desk, body) {
        Ok(plaintext) => give(json!({ "plaintext": STANDARD.encode(plaintext) })),
        Err(words) => refuse(400, words),
    }
}

fn decrypted(desk: &Desk, body: &Value) -> Result<Vec<u8>, &'static str> {
    let text = body["ciphertext"].as_str().unwrap_or_default();
    let parts = text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':'));
    let Some((version, payload)) = parts.and_then(|(version, payload)| Some((version.parse::<usize>().ok()?, payload)))
    else {
        return Err("invalid ciphertext: no prefix");
    };
    if version < *desk.min_decryption_version.lock().unwrap() {
        return Err("ciphertext or signature version is disallowed by policy (too old)");
    }
    let versions = desk.versions.lock().unwrap();
    let Some(key) = versions.get(version.wrapping_sub(1)) else {
        return Err("invalid ciphertext: version is too new");
    };
    let payload = STANDARD.decode(payload).map_err(|_| "invalid ciphertext: could not decode base64")?;
    let (nonce, sealed) = payload.split_first_chunk::<NONCE_LEN>().ok_or("invalid ciphertext length")?;
    let (mut sealed, associated) = (sealed.to_vec(), Aad::from(bytes(&body["associated_data"])));
    let opened = cipher(key).open_in_place(Nonce::assume_unique_for_key(*nonce), associated, &mut sealed);
    opened.map(|plaintext| plaintext.to_vec()).map_err(|_| "cipher: message authentication failed")
}
