//! POST /general-keys/{id}/test

use crate::harness::{FakeProvider, Reply, TestServer, World};

#[tokio::test]
async fn a_good_key_is_told_so_by_the_provider_s_cheapest_call() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let result = keyward.api().act(&format!("{}/test", world.general_key_path())).await.expect(200).json();
    assert_eq!(result["ok"], true, "{result}");
    assert_eq!(result["status"], 200);

    let call = provider.only_call();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", "/v1/models"));
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", world.value).as_str()));
}

#[tokio::test]
async fn a_bad_key_is_told_in_the_provider_s_words_with_the_key_blotted_out() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let words = format!("Incorrect API key provided: {}. Find yours elsewhere.", World::VALUE);
    provider.next(Reply::error(401, &words));

    let result = keyward.api().act(&format!("{}/test", world.general_key_path())).await.expect(200);
    let told = result.json();
    assert_eq!(told["ok"], false, "{told}");
    assert_eq!(told["status"], 401);
    assert!(told["detail"].as_str().unwrap().starts_with("Incorrect API key provided: "), "{told}");
    assert!(!result.text().contains(World::VALUE), "{told}");
    assert!(!told["detail"].as_str().unwrap().contains('{'), "the message only: {told}");
}

#[tokio::test]
async fn a_provider_s_long_answer_is_cut_at_300_characters() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    provider.next(Reply::error(403, &"ü".repeat(1000)));

    let told = keyward.api().act(&format!("{}/test", world.general_key_path())).await.expect(200).json();
    assert_eq!(told["ok"], false);
    assert!(told["detail"].as_str().unwrap().chars().count() <= 300, "{told}");
}

#[tokio::test]
async fn follows_no_redirect() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let elsewhere = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    provider.next(Reply::with(302, &[("location", &format!("{}/models", elsewhere.base_url()))], ""));

    let told = keyward.api().act(&format!("{}/test", world.general_key_path())).await.expect(200).json();
    assert_eq!(told["ok"], false, "{told}");
    elsewhere.received_nothing();
}

#[tokio::test]
async fn a_key_that_is_linked_nowhere_is_sent_nowhere() {
    let keyward = TestServer::start().await;
    let api = keyward.api();
    let key = api.general_key("MY_API", "sk-test-value-1").await;
    api.act(&format!("/general-keys/{}/test", key["id"].as_str().unwrap())).await.problem(422);
}
