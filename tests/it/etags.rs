//! `ETag` and `If-Match`: nobody overwrites what they have not seen.

use http::Method;
use serde_json::json;

use crate::harness::{Api, FakeProvider, TestServer};

async fn with_tag(api: &Api, method: Method, path: &str, tag: &str) -> crate::harness::Answer {
    let request = api.request(method.clone(), path).header("if-match", tag);
    let request = if method == Method::PATCH { request.json(&json!({ "name": "renamed" })) } else { request };
    api.send(request).await
}

#[tokio::test]
async fn a_stale_tag_is_refused_on_every_resource_and_a_fresh_one_goes_through() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    for path in [world.general_key_path(), world.agent_key_path(), world.model_path(), world.provider_path()] {
        let old = api.etag(&path).await;
        with_tag(&api, Method::PATCH, &path, &old).await.expect(200);
        let fresh = api.etag(&path).await;
        assert_ne!(old, fresh, "{path}");

        with_tag(&api, Method::PATCH, &path, &old).await.problem(412);
        with_tag(&api, Method::DELETE, &path, &old).await.problem(412);
        with_tag(&api, Method::PATCH, &path, "\"made-up\"").await.problem(412);
        assert_eq!(api.etag(&path).await, fresh, "a refused edit changed it");
        with_tag(&api, Method::PATCH, &path, "*").await.expect(200);
    }
    for path in [world.model_path(), world.provider_path(), world.general_key_path(), world.agent_key_path()] {
        let fresh = api.etag(&path).await;
        with_tag(&api, Method::DELETE, &path, &fresh).await.expect(204);
    }
}

#[tokio::test]
async fn the_answer_to_an_edit_carries_the_new_tag() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.general_key("MY_API", "sk-test-value-1").await;
    let path = format!("/general-keys/{}", key["id"].as_str().unwrap());
    let edited = api.patch(&path, json!({ "name": "OTHER" })).await.expect(200);
    assert_eq!(edited.header("etag"), Some(api.etag(&path).await.as_str()));
}

#[tokio::test]
async fn of_two_editors_with_the_same_tag_one_loses() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.agent_key("ABC-Key").await;
    let path = format!("/agent-keys/{}", key["id"].as_str().unwrap());
    let tag = api.etag(&path).await;
    let edit = async |name: &str| {
        let request = api.request(Method::PATCH, &path).header("if-match", &tag).json(&json!({ "name": name }));
        api.send(request).await.status
    };
    let (left, right) = tokio::join!(edit("left"), edit("right"));
    assert_eq!([left.min(right), left.max(right)], [200, 412]);
}
