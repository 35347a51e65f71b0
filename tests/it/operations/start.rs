//! `keyward serve`: starting, and refusing to.

use crate::harness::{FakeProvider, Home, TestServer, World, until};

#[tokio::test]
async fn a_second_one_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;

    let other = Home::empty();
    let start = other.serve().env("KEYWARD_DATA_DIR", keyward.home().data().to_str().unwrap());
    let (output, _) = start.refused().await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(keyward.home().data().to_str().unwrap()), "which directory? {said}");

    world.agent.chat(World::MODEL).await.expect(200);
    keyward.api().agent_key("still writing").await;
}

#[tokio::test]
async fn a_taken_address_is_refused_and_named() {
    let keyward = TestServer::start().await;
    let address = keyward.url().strip_prefix("http://").unwrap().to_owned();
    let (output, _) = Home::new().await.serve().env("KEYWARD_LISTEN", address.clone()).refused().await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&address), "{said}");
}

#[tokio::test]
async fn a_setting_that_cannot_be_is_refused_and_named() {
    for (name, value) in [
        ("KEYWARD_LISTEN", "nowhere"),
        ("KEYWARD_AGENT_KEY_MAX_DAYS", "0"),
        ("KEYWARD_AGENT_KEY_MAX_DAYS", "many"),
        ("KEYWARD_ALLOW_PRIVATE_UPSTREAMS", "perhaps"),
        ("KEYWARD_PUBLIC_URL", "not a url"),
        ("KEYWARD_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("KEYWARD_LOG_FORMAT", "xml"),
        ("KEYWARD_DATABASE_URL", "mysql://example/x"),
    ] {
        let (output, _) = Home::new().await.serve().env(name, value).refused().await;
        let code = output.status.code();
        assert!(code == Some(1) || code == Some(2), "{name}={value}: {code:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        let flag = name.strip_prefix("KEYWARD_").unwrap().to_lowercase();
        let named = said.contains(name) || said.contains(&flag) || said.contains(&flag.replace('_', "-"));
        assert!(named, "{name}={value}: {said}");
    }
}

#[tokio::test]
async fn settings_come_from_the_flag_then_the_environment_then_the_file() {
    let home = Home::new().await;
    std::fs::write(home.path().join("keyward.toml"), "agent_key_max_days = 5\n").unwrap();
    let days = async |keyward: &TestServer, name: &str| {
        let key = keyward.api().agent_key(name).await;
        crate::management::days_between(&key["created_at"], &key["expires_at"])
    };
    let keyward = home.serve().start().await;
    assert_eq!(days(&keyward, "from the file").await, 5);
    let keyward = keyward.stop_to_restart().await.env("KEYWARD_AGENT_KEY_MAX_DAYS", "6").start().await;
    assert_eq!(days(&keyward, "from the environment").await, 6);
    let start = keyward.stop_to_restart().await.env("KEYWARD_AGENT_KEY_MAX_DAYS", "6");
    let keyward = start.with_arguments(&["--agent-key-max-days", "7"]).start().await;
    assert_eq!(days(&keyward, "from the flag").await, 7);
}

#[tokio::test]
async fn an_unknown_setting_in_the_file_is_refused() {
    let home = Home::new().await;
    std::fs::write(home.path().join("keyward.toml"), "agent_key_max_dyas = 5\n").unwrap();
    let (output, _) = home.serve().refused().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("agent_key_max_dyas"));
}

#[tokio::test]
async fn an_unknown_variable_is_refused_and_the_known_ones_are_named() {
    let (output, _) = Home::empty().serve().env("KEYWARD_LISTNE", "secret-or-not").refused().await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    for name in ["KEYWARD_LISTNE", "KEYWARD_LISTEN", "KEYWARD_CONFIG", "KEYWARD_DATABASE_URL_FILE"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(!said.contains("secret-or-not"), "{said}");
}

#[tokio::test]
async fn what_kubernetes_sets_for_a_service_called_keyward_is_no_setting() {
    let mut start = Home::new().await.serve();
    for (name, value) in [
        ("KEYWARD_SERVICE_HOST", "10.0.0.1"),
        ("KEYWARD_SERVICE_PORT_HTTP", "8080"),
        ("KEYWARD_PORT", "tcp://10.0.0.1:8080"),
        ("KEYWARD_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ] {
        start = start.env(name, value);
    }
    start.start().await;
    let (output, _) = Home::empty().serve().env("KEYWARD_PORT", "8080").refused().await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("KEYWARD_PORT"));
}

#[tokio::test]
async fn livez_and_readyz_answer_anybody() {
    let keyward = TestServer::start().await;
    let api = keyward.api_with(None);
    for path in ["/livez", "/readyz"] {
        api.send(api.outside(http::Method::GET, path)).await.expect(200);
    }
}

#[tokio::test]
async fn prints_its_url() {
    let keyward = TestServer::start().await;
    // It answers before it has said so.
    until("the URL in what it prints", async || keyward.log().contains(&keyward.url())).await;
}

#[tokio::test]
async fn on_every_address_it_prints_a_url_that_works_and_how_to_name_another() {
    let home = Home::empty();
    let url = home.url();
    let port = url.rsplit(':').next().unwrap();
    let start = home.serve().env("KEYWARD_LISTEN", format!("0.0.0.0:{port}"));
    let keyward = start.start().await;
    let log = crate::harness::eventually("the setup link", async || {
        Some(keyward.log()).filter(|log| log.contains("/setup#token="))
    })
    .await;
    assert!(log.contains(&format!("{url}\n")) && log.contains(&format!("{url}/setup#token=")), "{log}");
    assert!(log.contains("KEYWARD_PUBLIC_URL"), "{log}");
}

#[tokio::test]
async fn a_log_in_json_is_json_on_every_line() {
    let keyward = Home::new().await.serve().env("KEYWARD_LOG_FORMAT", "json").start().await;
    keyward.api().agent_key("ABC-Key").await;
    let home = keyward.stop().await;
    let log = std::fs::read_to_string(home.path().join("stderr.log")).unwrap();
    assert!(!log.is_empty());
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}
