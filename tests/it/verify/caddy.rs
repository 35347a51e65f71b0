//! Debian's Caddy in front of a service, with the very text of the guide.

use super::guarded::Guarded;
use crate::harness::{Proxied, text_of};

#[tokio::test]
async fn the_guide_s_example_lets_in_by_the_policy_alone() {
    let guarded = Guarded::start("x-forwarded-uri").await;
    let own = |url: String| url.trim_start_matches("http://").to_owned();
    let places = [
        ("forward_auth 127.0.0.1:8080 {", format!("forward_auth {} {{", own(guarded.keyward.url()))),
        ("reverse_proxy 127.0.0.1:3000 {", format!("reverse_proxy {} {{", own(guarded.service.origin()))),
    ];
    let text = format!("{{\n\tadmin off\n}}\n{}", text_of("docs/guides/verification.md", "Caddyfile"));
    let proxy = Proxied::start(
        "caddy",
        &["run", "--adapter", "caddyfile", "--config"],
        ("Caddyfile", text),
        ("\n:80 {", |port| format!("\nhttp://{} {{", port.address())),
        &places,
    )
    .await;
    guarded.judge(proxy).await;
}
