//! What the console's pages weigh, with as many keys as a large platform has.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::harness::{FakeProvider, TestServer};

/// The most a page may weigh on the way, compressed as a proxy would, in bytes.
const MOST: usize = 50 * 1024;

#[tokio::test]
async fn no_page_grows_with_the_number_of_keys() {
    let keyward = TestServer::start().await;
    let provider = FakeProvider::start().await;
    let world = keyward.with_linked_model(&provider).await;
    let api = keyward.api();
    for part in 0..10 {
        // Names that hardly compress, as long as they may be.
        let keys: Vec<_> = (0..1000)
            .map(|number| {
                let mixed = (part * 1000 + number + 1_u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                json!({ "name": format!("{mixed:016x}{:016x}{:016x}{:016x}", mixed ^ 0xABCD, mixed >> 3, !mixed) })
            })
            .collect();
        api.post("/agent-keys/bulk-create", json!({ "agent_keys": keys })).await.expect(201);
    }
    let owner = keyward.person("boss", "owner").await.api;
    let key = format!("/keys/agent/{}", world.agent_key["id"].as_str().unwrap());
    let pages = [
        "/overview",
        "/keys/general",
        "/keys/agent",
        "/keys/agent?sort=name&search=a",
        "/keys/agent/new",
        &key,
        "/catalog",
        "/usage?by=agent_key",
        "/audit",
        "/members",
        "/settings/installation",
        "/docs",
        "/assets/keyward.css",
        "/assets/keyward.js",
    ];
    for path in pages {
        let page = owner.page(path).await.expect(200);
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(page.text().as_bytes()).unwrap();
        let weight = packed.finish().unwrap().len();
        println!("{path}: {weight} bytes");
        assert!(weight <= MOST, "{path} weighs {weight} bytes");
    }
}
