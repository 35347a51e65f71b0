//! What every proxy in front of a service has to do with the policy of the guide.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, FakeProvider, Proxied, TestServer};

/// Keyward with the guide's policy, a service, and keys with and without its tag.
pub struct Guarded {
    pub keyward: TestServer,
    pub service: FakeProvider,
    good: Value,
    untagged: Value,
}

impl Guarded {
    pub async fn start(routes_from: &str) -> Self {
        let keyward = TestServer::start().await;
        let service = FakeProvider::start().await;
        let api = keyward.api();
        let requires = json!({ "tags": ["search"], "routes": ["/search*"], "routes_from": routes_from });
        api.post("/policies", json!({ "name": "search", "requires": requires })).await.expect(201);
        let good = api.post("/agent-keys", json!({ "name": "clé d'un agent", "tags": ["search", "prod"] })).await;
        let untagged = api.agent_key("untagged").await;
        Self { good: good.expect(201).json(), untagged, keyward, service }
    }

    async fn ask(&self, proxy: &Proxied, path: &str, headers: &[(&str, &str)]) -> Answer {
        let agent = self.keyward.agent("kw_nobody");
        let mut request = crate::harness::http().request(Method::POST, format!("{}{path}", proxy.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        agent.send(request.body("the body of the call")).await
    }

    /// Goes through all that the guide says, and ends with Keyward gone.
    pub async fn judge(self, proxy: Proxied) {
        let secret = self.good["secret"].as_str().unwrap();
        let bearer = format!("Bearer {secret}");
        let forged =
            [("authorization", bearer.as_str()), ("x-keyward-key-id", "ak_else"), ("x-keyward-created-by", "boss")];
        self.ask(&proxy, "/search/it?q=1", &forged).await.expect(200);
        let call = self.service.only_call();
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/search/it?q=1"));
        assert_eq!(call.body, "the body of the call".as_bytes());
        assert_eq!(call.header("x-keyward-key-id"), self.good["id"].as_str());
        let name = percent_encoding::percent_decode_str(call.header("x-keyward-key-name").unwrap());
        assert_eq!(name.decode_utf8().unwrap(), "clé d'un agent");
        assert!(!call.header_values("x-keyward-created-by").contains(&"boss"), "{call:?}");
        assert!(!call.mentions(secret), "the service needs no agent key: {call:?}");
        self.ask(&proxy, "/search", &[("x-api-key", secret)]).await.expect(200);

        for bad in [vec![], vec![("authorization", "Bearer nonsense")]] {
            let refused = self.ask(&proxy, "/search", &bad).await.expect(401);
            assert!(refused.header("www-authenticate").is_some_and(|text| text.starts_with("Bearer")), "{refused}");
        }
        // A good key that has not what the policy asks, and one at another route, whatever its caller says of it.
        let untagged = self.untagged["secret"].as_str().unwrap();
        self.ask(&proxy, "/search", &[("x-api-key", untagged)]).await.expect(403);
        for path in ["/admin", "/search/..%2f../admin", "/"] {
            let lies = [("x-api-key", secret), ("x-forwarded-uri", "/search"), ("x-original-uri", "/search")];
            let refused = self.ask(&proxy, path, &lies).await;
            assert!(matches!(refused.status, 400 | 403), "{path}: {refused}");
        }
        assert_eq!(self.service.calls().len(), 2);

        let path = format!("/agent-keys/{}", self.good["id"].as_str().unwrap());
        self.keyward.api().patch(&path, json!({ "tags": ["prod"] })).await.expect(200);
        self.ask(&proxy, "/search", &[("x-api-key", secret)]).await.expect(403);
        self.keyward.api().delete(&path).await.expect(204);
        self.ask(&proxy, "/search", &[("x-api-key", secret)]).await.expect(401);
        let Self { keyward, service, .. } = self;
        let agent = keyward.agent("kw_nobody");
        keyward.stop().await;
        let request = crate::harness::http().get(format!("{}/search", proxy.url())).header("x-api-key", untagged);
        assert_eq!(agent.send(request).await.status, 503);
        assert_eq!(service.calls().len(), 2);
    }
}
