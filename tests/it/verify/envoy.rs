//! Envoy in front of a service, with the very text of the guide.

use super::guarded::Guarded;
use crate::harness::{Proxied, in_repository, text_of};

#[tokio::test]
async fn the_guide_s_example_lets_in_by_the_policy_alone() {
    let guarded = Guarded::start("path").await;
    let port_of = |url: String| format!("port_value: {} ", url.rsplit_once(':').unwrap().1);
    let places = [
        ("port_value: 8080 ", port_of(guarded.keyward.url())),
        ("port_value: 3000 ", port_of(guarded.service.origin())),
    ];
    let program = in_repository("target/clients-venv/bin/envoy");
    let proxy = Proxied::start(
        program.to_str().unwrap(),
        &["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "-c"],
        ("envoy.yaml", text_of("docs/guides/verification.md", "envoy.yaml")),
        ("port_value: 10000 ", |port| format!("port_value: {} ", port.number())),
        &places,
    )
    .await;
    guarded.judge(proxy).await;
}
