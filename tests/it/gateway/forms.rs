//! Calls with files: `model` is a field of a multipart form.

use http::Method;

use crate::harness::{Agent, Answer, FakeProvider, TestServer, World};

const ROUTE: &str = "/v1/audio/transcriptions";

fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, value) in fields {
        body.extend_from_slice(
            format!("--xYz\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n").as_bytes(),
        );
    }
    body.extend_from_slice(b"--xYz--\r\n");
    body
}

async fn send(agent: &Agent, path: &str, body: Vec<u8>) -> Answer {
    let request = agent.request(Method::POST, path).header("content-type", "multipart/form-data; boundary=xYz");
    agent.send(request.body(body)).await
}

#[tokio::test]
async fn a_form_passes_byte_for_byte_but_for_a_model_that_has_another_name_upstream() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let (file, sound) = ("name=\"file\"; filename=\"a.mp3\"", "\0\u{7f}\r\n--xY\r\nmodel");
    let own = form(&[(file, sound), ("name=\"model\"", World::MODEL), ("name=\"language\"", "de")]);
    send(&world.agent, ROUTE, own.clone()).await.expect(200);
    assert_eq!(provider.last_call().body, own);
    assert_eq!(provider.last_call().path, ROUTE);
    assert_eq!(provider.last_call().header("authorization"), Some(format!("Bearer {}", world.value).as_str()));

    let named = form(&[("name=\"model\"", "fake/whisper-1"), (file, sound)]);
    send(&world.agent, ROUTE, named).await.expect(200);
    assert_eq!(provider.last_call().body, form(&[("name=\"model\"", "whisper-1"), (file, sound)]));
}

#[tokio::test]
async fn a_form_that_could_be_read_in_two_ways_reaches_nobody() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let model = ("name=\"model\"", World::MODEL);
    for body in [
        form(&[("name=\"prompt\"", "no model")]),
        form(&[model, model]),
        form(&[model, ("name=\"Model\"", "other")]),
        form(&[("name=\"model\"; filename=\"x\"", World::MODEL)]),
        form(&[model])[..30].to_vec(),
        b"{\"model\":\"small\"}".to_vec(),
        Vec::new(),
    ] {
        send(&world.agent, ROUTE, body).await.refused(400, "invalid_body");
    }
    provider.received_nothing();
}

#[tokio::test]
async fn calling_json_a_form_does_not_spare_it_the_checks() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let twice = b"{\"model\":\"a\",\"Model\":\"b\",\"model\":\"c\"}".to_vec();
    send(&world.agent, "/providers/fake/chat/completions", twice).await.refused(400, "invalid_body");
    provider.received_nothing();
}
