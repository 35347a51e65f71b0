//! `KEYWARD_ADMIN_LISTEN`: administrators at an address of their own, agents at theirs.

use http::Method;

use crate::harness::{FakeProvider, Home, Port, TestServer, World, eventually};

const FOR_ADMINISTRATORS: [&str; 8] =
    ["/", "/sign-in", "/setup", "/docs", "/assets/style.css", "/openapi.json", "/metrics", "/api/v1/agent-keys"];

async fn apart(home: Home, admin: &Port) -> TestServer {
    home.serve().env("KEYWARD_ADMIN_LISTEN", admin.address()).start().await
}

#[tokio::test]
async fn agents_find_gateway_verification_and_health_at_theirs_and_nothing_else() {
    let admin = Port::claim();
    let keyward = apart(Home::new().await, &admin).await;
    let api = keyward.api_at(&admin.url(), Some(keyward.home().token()));
    let secret = api.agent_key("ABC-Key").await["secret"].as_str().unwrap().to_owned();
    let agent = keyward.agent(&secret);
    agent.get("/v1/models").await.expect(200);
    agent.get("/auth/verify").await.expect(200);
    let nobody = keyward.api_with(None);
    for path in ["/livez", "/readyz"] {
        nobody.send(nobody.outside(Method::GET, path)).await.expect(200);
    }
    // Not even with every right.
    let owner = keyward.api();
    for path in FOR_ADMINISTRATORS {
        for method in [Method::GET, Method::POST] {
            owner.send(owner.outside(method, path)).await.expect(404);
        }
    }
}

#[tokio::test]
async fn administrators_find_console_and_management_api_at_theirs_and_no_gateway() {
    let admin = Port::claim();
    let keyward = apart(Home::new().await, &admin).await;
    let provider = FakeProvider::start().await;
    let api = keyward.api_at(&admin.url(), Some(keyward.home().token()));
    let general_key = api.general_key("MY_API", World::VALUE).await;
    let linked = api.provider("fake", "openai-compatible", &provider.base_url(), &general_key).await;
    api.model(World::MODEL, &linked).await;
    let secret = api.agent_key("ABC-Key").await["secret"].as_str().unwrap().to_owned();
    keyward.agent(&secret).chat(World::MODEL).await.expect(200);
    provider.only_call();

    for path in ["/livez", "/readyz", "/openapi.json", "/docs", "/sign-in"] {
        api.send(api.outside(Method::GET, path)).await.expect(200);
    }
    let agent = keyward.api_at(&admin.url(), Some(&secret));
    for path in ["/v1/models", "/auth/verify", "/providers/fake/models", "/v1beta/models"] {
        agent.send(agent.outside(Method::GET, path)).await.expect(404);
    }
}

#[tokio::test]
async fn figures_need_no_token_there_but_a_name_of_ours() {
    let admin = Port::claim();
    let keyward = apart(Home::new().await, &admin).await;
    let nobody = keyward.api_at(&admin.url(), None);
    let figures = nobody.send(nobody.outside(Method::GET, "/metrics")).await.expect(200);
    assert!(figures.text().contains("# TYPE keyward_"), "{figures}");
    nobody.send(nobody.outside(Method::GET, "/metrics").header("host", "evil.example")).await.expect(421);
    nobody.send(nobody.outside(Method::GET, "/api/v1/agent-keys")).await.expect(401);
}

#[tokio::test]
async fn the_setup_link_leads_to_the_console_s_own_address() {
    let admin = Port::claim();
    let keyward = apart(Home::empty(), &admin).await;
    let log =
        eventually("the setup link", async || Some(keyward.log()).filter(|log| log.contains("/setup#token="))).await;
    assert!(log.contains(&format!("{}/setup#token=", admin.url())), "{log}");
    assert!(log.contains(&format!("Keyward listens at {}\n", keyward.url())), "{log}");
}

#[tokio::test]
async fn an_address_that_cannot_be_is_refused_and_named() {
    let home = Home::new().await;
    let same = home.url().trim_start_matches("http://").to_owned();
    let taken = Port::claim();
    let _taken = std::net::TcpListener::bind(taken.address()).unwrap();
    for (name, value) in [
        ("KEYWARD_ADMIN_LISTEN", same),
        ("KEYWARD_ADMIN_LISTEN", "nowhere".to_owned()),
        ("KEYWARD_ADMIN_LISTEN", taken.address()),
    ] {
        let (output, _) = Home::empty()
            .serve()
            .env("KEYWARD_LISTEN", home.url().trim_start_matches("http://"))
            .env(name, value.clone())
            .refused()
            .await;
        assert_eq!(output.status.code(), Some(1), "{value}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(name), "{value}: {said}");
    }
    let (output, _) = home.serve().env("KEYWARD_ADMIN_URL", "https://admin.example.com").refused().await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("KEYWARD_ADMIN_LISTEN"));
}
