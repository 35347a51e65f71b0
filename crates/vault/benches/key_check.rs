//! What it costs to know an agent key by its form: `cargo bench -p vault`.

use vault::{AgentSecret, Entropy, Token, TokenKind};

fn main() {
    divan::main();
}

/// Prefix, alphabet, checksum and SHA-256.
#[divan::bench]
fn parse_a_good_key(bencher: divan::Bencher<'_, '_>) {
    let secret = AgentSecret::mint(TokenKind::Agent, &Entropy::system()).expect("the system gives random bytes");
    let text = secret.expose_once();
    bencher.bench(|| Token::parse(divan::black_box(text.as_bytes())).is_ok());
}

#[divan::bench]
fn refuse_one_with_a_wrong_checksum(bencher: divan::Bencher<'_, '_>) {
    let text = format!("kw_{}000000", "0".repeat(43));
    bencher.bench(|| Token::parse(divan::black_box(text.as_bytes())).is_err());
}
