//! Sealed texts and tokens as nobody should store or send them.
//!
//! Each runs a fixed number of cases with the other tests; `PROPTEST_CASES=1000000` makes it many.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there, and the panic says where")]

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use vault::{AgentSecret, Binding, Entropy, Keyring, Place, ProviderValue, Token, TokenKind, contains_token};

/// One for all cases: making one is slow.
static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::unwrapped("in_1", &Entropy::seeded(41)));

/// Everything a sealed value's associated data is made of, but for installation and key.
#[derive(Debug, Clone, PartialEq)]
struct Context {
    place: [String; 3],
    version: i64,
    origin: [String; 2],
    header: &'static str,
    prefix: &'static str,
}

impl Context {
    fn place(&self) -> Place<'_> {
        let [table, row, field] = &self.place;
        Place { table, row, field, version: self.version }
    }

    fn binding(&self) -> Binding {
        Binding::new(&self.origin[0], &self.origin[1], self.header, self.prefix)
    }
}

/// A context that differs in one part at most, or in where one part ends and the next begins.
fn neighbour(own: &Context, other: Context, which: usize) -> Context {
    let mut near = own.clone();
    match which {
        0..3 => near.place[which] = other.place[which].clone(),
        3..5 => {
            let moved = near.place[which - 3].pop();
            near.place[which - 2].insert_str(0, &moved.map(String::from).unwrap_or_default());
        }
        5..7 => near.origin[which - 5] = other.origin[which - 5].clone(),
        7 => near.version = other.version,
        8 => near.header = other.header,
        9 => near.prefix = other.prefix,
        _ => return other,
    }
    near
}

/// Short texts of few letters, so that two are often the same.
fn context() -> impl Strategy<Value = Context> {
    let text = || "[ab]{0,2}".prop_map(|text: String| text);
    let headers = prop::sample::select(vec!["authorization", "x-api-key"]);
    let prefixes = prop::sample::select(vec!["", "Bearer "]);
    ([text(), text(), text()], -1..2i64, [text(), text()], headers, prefixes)
        .prop_map(|(place, version, origin, header, prefix)| Context { place, version, origin, header, prefix })
}

fn value() -> impl Strategy<Value = ProviderValue> {
    "sk-[!-)+-~]{1,80}".prop_map(|text| ProviderValue::parse(text).unwrap())
}

/// A text of another byte, or of one more or less.
fn changed<T: Copy>(text: &[T], at: Index, by: T, what: u8) -> Vec<T> {
    let mut changed = text.to_vec();
    let at = at.index(changed.len());
    match what {
        0 => changed[at] = by,
        1 => drop(changed.remove(at)),
        _ => changed.insert(at, by),
    }
    changed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sealed_value_opens_in_its_own_context_and_in_no_other(
        value in value(), own in context(), other in context(), which in 0..11usize,
    ) {
        let other = neighbour(&own, other, which);
        let sealed = KEYRING.seal(&Entropy::system(), &own.place(), Some(&own.binding()), &value).unwrap();
        let opened = KEYRING.open_bound(&own.place(), &own.binding(), &sealed).unwrap();
        prop_assert!(opened.expose_secret(&own.binding(), "").is_some());
        prop_assert!(KEYRING.open_unbound(&own.place(), &sealed).is_err());
        let opens = KEYRING.open_bound(&other.place(), &other.binding(), &sealed).is_ok();
        prop_assert_eq!(opens, own == other);
    }

    #[test]
    fn a_sealed_text_with_any_byte_changed_is_refused(
        own in context(), value in value(), at: Index, by: char, what in 0..3u8,
    ) {
        let sealed = KEYRING.seal(&Entropy::system(), &own.place(), Some(&own.binding()), &value).unwrap();
        let letters: Vec<char> = sealed.chars().collect();
        let changed: String = changed(&letters, at, by, what).into_iter().collect();
        let opens = KEYRING.open_bound(&own.place(), &own.binding(), &changed).is_ok();
        prop_assert_eq!(opens, changed == sealed);
    }

    #[test]
    fn any_text_is_refused_without_a_panic(
        text: String, near in "v1\\.data-000001-[0-9a-f]{0,8}\\.[A-Za-z0-9_-]{0,90}",
    ) {
        let place = Place { table: "t", row: "r", field: "f", version: 1 };
        for text in [text, near] {
            prop_assert!(KEYRING.open_unbound(&place, &text).is_err());
            prop_assert!(KEYRING.open_bytes(&place, &text).is_err());
            prop_assert!(KEYRING.verify_row_mac("t", "r", &[], &text).is_err());
        }
    }

    #[test]
    fn a_minted_token_is_read_and_one_with_any_byte_changed_is_not(
        seed: u64, is_agent: bool, at: Index, by: u8, what in 0..3u8,
    ) {
        let kind = if is_agent { TokenKind::Agent } else { TokenKind::Management };
        let secret = AgentSecret::mint(kind, &Entropy::seeded(seed)).unwrap();
        let sha256 = *secret.token().sha256();
        let text = secret.expose_once().as_bytes().to_vec();
        let read = Token::parse(&text).unwrap();
        prop_assert_eq!((read.kind(), *read.sha256()), (kind, sha256));
        prop_assert!(contains_token(&text));
        let changed = changed(&text, at, by, what);
        prop_assert_eq!(Token::parse(&changed).is_ok(), changed == text);
    }

    #[test]
    fn a_value_that_is_taken_is_printable_and_its_mask_shows_six_characters_at_most(text in "\\PC{0,20}|[!-~ ]{0,40}") {
        if let Ok(value) = ProviderValue::parse(text.clone()) {
            prop_assert!(text.trim().bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(value.mask().len() <= 12);
        }
    }
}

/// `PROPTEST_CASES`, where it asks for more.
fn cases(least: u32) -> u32 {
    ProptestConfig::default().cases.max(least)
}
