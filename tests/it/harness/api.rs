//! The management API, as automation uses it.

use http::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{Answer, Transcript};

/// A caller of the management API.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    token: Option<String>,
    cookie: Option<String>,
    http: reqwest::Client,
    transcript: Transcript,
}

impl Api {
    pub(super) fn new(url: String, token: Option<&str>, transcript: Transcript) -> Self {
        Self { url, token: token.map(str::to_owned), cookie: None, http: super::agent::http(), transcript }
    }

    /// The same from a page of the console, with its session's cookie.
    pub(super) fn with_cookie(mut self, cookie: String) -> Self {
        (self.token, self.cookie) = (None, Some(cookie));
        self
    }

    /// The cookie it sends, if any.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// A request to a path under `/api/v1`, to be completed.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.outside(method, &format!("/api/v1{path}"))
    }

    /// A request to any path of the server.
    pub fn outside(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie).header("origin", &self.url),
            None => request,
        }
    }

    /// Sends it.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::read(request.send().await.expect("the server answers"), &self.transcript).await
    }

    /// GET of a path under `/api/v1`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// PATCH of a JSON merge patch.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// A form of the console, sent as one of its pages does.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.outside(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        let request = if self.cookie.is_some() { request } else { request.header("origin", &self.url) };
        self.send(request.body(body)).await
    }

    /// A page of the console.
    pub async fn page(&self, path: &str) -> Answer {
        self.send(self.outside(Method::GET, path)).await
    }

    /// POST without a body.
    pub async fn act(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// A new general key.
    pub async fn general_key(&self, name: &str, value: &str) -> Value {
        self.post("/general-keys", json!({ "name": name, "value": value })).await.expect(201).json()
    }

    /// A new agent key; `["secret"]` is its secret.
    pub async fn agent_key(&self, name: &str) -> Value {
        self.post("/agent-keys", json!({ "name": name })).await.expect(201).json()
    }

    /// A new provider; `general_key` is the whole representation of the key to link, or null.
    pub async fn provider(&self, name: &str, kind: &str, base_url: &str, general_key: &Value) -> Value {
        let body = json!({ "name": name, "kind": kind, "base_url": base_url, "general_key_id": general_key["id"] });
        self.post("/providers", body).await.expect(201).json()
    }

    /// A new model that its provider knows by another name.
    pub async fn renamed_model(&self, name: &str, upstream_model: &str, provider: &Value) -> Value {
        let body = json!({ "name": name, "provider_id": provider["id"], "upstream_model": upstream_model });
        self.post("/models", body).await.expect(201).json()
    }

    /// A new model of that provider.
    pub async fn model(&self, name: &str, provider: &Value) -> Value {
        self.post("/models", json!({ "name": name, "provider_id": provider["id"] })).await.expect(201).json()
    }

    /// The present representation of something made earlier: `kind` is the collection's path.
    pub async fn read(&self, kind: &str, id: &Value) -> Value {
        self.get(&format!("{kind}/{}", text(id))).await.expect(200).json()
    }

    /// The audit events, newest or oldest first as the server lists them.
    pub async fn audit_events(&self) -> Vec<Value> {
        self.get("/audit-events?limit=200").await.expect(200).json()["items"].as_array().unwrap().clone()
    }

    /// The `ETag` of one resource.
    pub async fn etag(&self, path: &str) -> String {
        self.get(path).await.expect(200).header("etag").expect("an ETag").to_owned()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}"))
}
