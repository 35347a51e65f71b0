//! The smallest world in which an agent can chat.

use serde_json::Value;

use super::{Agent, FakeProvider, TestServer};

/// A general key, linked to a provider, with a model, and an agent.
#[derive(Debug)]
pub struct World {
    /// The general key's value, as pasted.
    pub value: &'static str,
    /// Its representation when made.
    pub general_key: Value,
    /// The provider's.
    pub provider: Value,
    /// The model's.
    pub model: Value,
    /// The agent key's, secret included.
    pub agent_key: Value,
    /// An agent with that key.
    pub agent: Agent,
}

impl World {
    /// The value every linked general key of these tests has.
    pub const VALUE: &str = "sk-test-value-of-the-general-key-xyz";
    /// The name of the model.
    pub const MODEL: &str = "small";

    /// Its name at the provider, in a world of a kind.
    pub const UPSTREAM_MODEL: &str = "vendor-small";

    pub(super) async fn of_kind(server: &TestServer, kind: &str, upstream: &FakeProvider) -> Self {
        let api = server.api();
        let general_key = api.general_key("MY_API", Self::VALUE).await;
        let provider = api.provider("fake", kind, &upstream.origin(), &general_key).await;
        let model = api.renamed_model(Self::MODEL, Self::UPSTREAM_MODEL, &provider).await;
        Self::inhabited(server, general_key, provider, model).await
    }

    pub(super) async fn build(server: &TestServer, upstream: &FakeProvider) -> Self {
        let api = server.api();
        let general_key = api.general_key("MY_API", Self::VALUE).await;
        let provider = api.provider("fake", "openai-compatible", &upstream.base_url(), &general_key).await;
        let model = api.model(Self::MODEL, &provider).await;
        Self::inhabited(server, general_key, provider, model).await
    }

    async fn inhabited(server: &TestServer, general_key: Value, provider: Value, model: Value) -> Self {
        let agent_key = server.api().agent_key("ABC-Key").await;
        let agent = server.agent(agent_key["secret"].as_str().expect("the answer to create has the secret"));
        Self { value: Self::VALUE, general_key, provider, model, agent_key, agent }
    }

    /// The path of the general key under `/api/v1`.
    pub fn general_key_path(&self) -> String {
        format!("/general-keys/{}", self.general_key["id"].as_str().unwrap())
    }

    /// The path of the provider.
    pub fn provider_path(&self) -> String {
        format!("/providers/{}", self.provider["id"].as_str().unwrap())
    }

    /// The path of the model.
    pub fn model_path(&self) -> String {
        format!("/models/{}", self.model["id"].as_str().unwrap())
    }

    /// The path of the agent key.
    pub fn agent_key_path(&self) -> String {
        format!("/agent-keys/{}", self.agent_key["id"].as_str().unwrap())
    }
}
