//! Streams: as they come, to whoever is still there.

use serde_json::{Value, json};

use crate::harness::{FakeProvider, Reply, TestServer, World, eventually};

fn streamed() -> Value {
    json!({ "model": World::MODEL, "stream": true, "messages": [{ "role": "user", "content": "hello" }] })
}

#[tokio::test]
async fn each_event_arrives_before_the_next_one_is_sent() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let stage = provider.stage();
    stage.open();
    let mut stream = world.agent.stream(streamed()).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    for number in 0..5 {
        let event = json!({ "choices": [{ "delta": { "content": number.to_string() } }] }).to_string();
        stage.event(&event);
        assert_eq!(stream.next().await.unwrap(), Some(event));
    }
    stage.event("[DONE]");
    stage.end();
    assert_eq!(stream.rest().await, ["[DONE]"]);
}

#[tokio::test]
async fn usage_is_asked_for_and_left_out_of_what_the_caller_sees() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let events = world.agent.stream(streamed()).await.rest().await;
    assert_eq!(provider.only_call().json()["stream_options"]["include_usage"], true);
    assert_eq!(events.len(), 4, "{events:?}");
    assert_eq!(events[3], "[DONE]");
    for event in &events[..3] {
        let chunk: Value = serde_json::from_str(event).unwrap();
        assert!(!chunk["choices"].as_array().unwrap().is_empty(), "{event}");
    }
}

#[tokio::test]
async fn a_caller_who_asked_for_usage_gets_it() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let mut body = streamed();
    body["stream_options"] = json!({ "include_usage": true });
    let events = world.agent.stream(body).await.rest().await;
    assert_eq!(events.len(), 5, "{events:?}");
    let chunk: Value = serde_json::from_str(&events[3]).unwrap();
    assert_eq!(chunk["usage"]["total_tokens"], 21);
}

#[tokio::test]
async fn a_caller_who_declined_usage_or_set_other_options_keeps_them() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    for options in [json!({ "include_usage": false, "other": 1 }), json!({ "other": 1 }), json!({}), Value::Null] {
        let mut body = streamed();
        body["stream_options"] = options.clone();
        let events = world.agent.stream(body).await.rest().await;
        assert_eq!(events.len(), 4, "{options}: {events:?}");
        let sent = provider.last_call().json();
        assert_eq!(sent["stream_options"]["include_usage"], true, "{options}");
        if options.get("other").is_some() {
            assert_eq!(sent["stream_options"]["other"], 1, "{options}");
        }
    }
}

#[tokio::test]
async fn the_upstream_call_ends_when_the_caller_leaves_in_the_middle() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let stage = provider.stage();
    stage.open();
    let mut stream = world.agent.stream(streamed()).await;
    stage.event("{\"choices\":[]}");
    stream.next().await.unwrap();
    drop(stream);
    stage.caller_left().await;
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn the_upstream_call_ends_when_the_caller_leaves_a_hanging_provider() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let stage = provider.stage();
    let agent = world.agent.clone();
    let call = tokio::spawn(async move { agent.chat(World::MODEL).await });
    provider.has_calls(1).await;
    call.abort();
    stage.caller_left().await;
    world.agent.chat(World::MODEL).await.expect(200);
}

#[tokio::test]
async fn a_provider_that_breaks_off_breaks_the_answer_off_and_never_ends_it_nicely() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let stage = provider.stage();
    stage.open();
    let mut stream = world.agent.stream(streamed()).await;
    stage.event("{\"choices\":[{\"delta\":{\"content\":\"half\"}}]}");
    assert!(stream.next().await.unwrap().unwrap().contains("half"));
    stage.break_off();
    // Either the connection breaks, or an error event says so; a clean end without either would be a lie.
    match stream.next().await {
        Err(_) => {}
        Ok(Some(event)) => assert!(event.contains("error"), "{event}"),
        Ok(None) => panic!("a stream cut in the middle looked complete"),
    }
    // It is counted all the same.
    let api = keyward.api();
    eventually("the broken call in the usage", async || {
        let usage = api.get("/usage?group_by=agent_key").await.expect(200).json();
        (usage["items"][0]["requests"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_streams_at_once_do_not_mix() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let mut open = Vec::new();
    for number in 0..20 {
        let stage = provider.stage();
        stage.open();
        open.push((number, stage, world.agent.stream(streamed()).await));
    }
    for round in 0..3 {
        for (number, stage, stream) in open.iter_mut().rev() {
            let event = json!({ "choices": [{ "delta": { "content": format!("{number}/{round}") } }] }).to_string();
            stage.event(&event);
            assert_eq!(stream.next().await.unwrap(), Some(event));
        }
    }
}

#[tokio::test]
async fn deleting_the_key_ends_what_its_provider_has_not_answered_and_what_is_no_stream() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let thinking = provider.stage();
    let delete = async {
        provider.has_calls(1).await;
        keyward.api().delete(&world.agent_key_path()).await.expect(204);
    };
    let (answer, ()) = tokio::join!(world.agent.chat(World::MODEL), delete);
    answer.refused(401, "invalid_api_key");
    thinking.caller_left().await;

    let key = keyward.api().agent_key("another").await;
    let agent = keyward.agent(key["secret"].as_str().unwrap());
    let stage = provider.stage_of("audio/mpeg");
    let (mut sound, ()) = tokio::join!(agent.stream(json!({ "model": World::MODEL })), async {
        provider.has_calls(2).await;
        stage.open();
    });
    keyward.api().delete(&format!("/agent-keys/{}", key["id"].as_str().unwrap())).await.expect(204);
    while let Ok(Some(_)) = sound.next().await {}
    stage.caller_left().await;
}

#[tokio::test]
async fn json_a_line_is_a_stream_as_well_and_counted() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model_of_kind("ollama", &provider).await;
    let lines = include_str!("../../../crates/llm/testdata/ollama/chat.ndjson");
    provider.next(Reply::with(200, &[("content-type", "application/x-ndjson")], lines));

    let answer = world.agent.post("/providers/fake/api/chat", json!({ "model": World::MODEL, "messages": [] })).await;
    assert_eq!(answer.expect(200).text(), lines);
    let id = world.agent_key["id"].as_str().unwrap();
    let counted = crate::usage::row(&keyward.api(), "agent_key", id, 1).await;
    assert_eq!((&counted["input_tokens"], &counted["output_tokens"]), (&json!(26), &json!(8)));
}
