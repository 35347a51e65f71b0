//! What sealed values must refuse.

use super::*;
use proptest::prelude::*;

const PLACE: Place<'static> = Place { table: "general_keys", row: "gk_1", field: "sealed_value", version: 3 };
const ORIGIN: &str = "https://api.example.com:443";

fn keyring(installation: &str) -> (Keyring, Entropy) {
    let entropy = Entropy::seeded(21);
    (Keyring::unwrapped(installation, &entropy), entropy)
}

fn binding() -> Binding {
    Binding::new(ORIGIN, "/v1", "authorization", "Bearer ")
}

fn value() -> ProviderValue {
    ProviderValue::parse("sk-canary-0123456789".to_owned()).unwrap()
}

/// Places that differ from [`PLACE`] in one element each.
fn other_places() -> [Place<'static>; 5] {
    [
        Place { table: "models", ..PLACE },
        Place { row: "gk_2", ..PLACE },
        Place { field: "value", ..PLACE },
        Place { version: 4, ..PLACE },
        Place { table: "general_keysgk_", row: "1", ..PLACE },
    ]
}

#[test]
fn bound_value_opens_for_its_binding() {
    let (keyring, entropy) = keyring("in_1");
    let sealed = keyring.seal(&entropy, &PLACE, Some(&binding()), &value()).unwrap();
    assert!(!sealed.contains("canary"));
    let secret = keyring.open_bound(&PLACE, &binding(), &sealed).unwrap();
    let header = secret.expose_secret(&binding(), "Bearer ").unwrap();
    assert_eq!(&header[..], b"Bearer sk-canary-0123456789");
}

#[test]
fn unbound_value_opens_unbound_only() {
    let (keyring, entropy) = keyring("in_1");
    let unbound = keyring.seal(&entropy, &PLACE, None, &value()).unwrap();
    let opened = keyring.open_unbound(&PLACE, &unbound).unwrap();
    assert_eq!(opened.as_str(), value().as_str());
    let refused = keyring.open_bound(&PLACE, &binding(), &unbound);
    assert_eq!(refused.err(), Some(SealError::Refused));
    let bound = keyring.seal(&entropy, &PLACE, Some(&binding()), &value()).unwrap();
    let refused = keyring.open_unbound(&PLACE, &bound);
    assert_eq!(refused.err(), Some(SealError::Refused));
}

#[test]
fn same_value_never_seals_to_the_same_text() {
    let (keyring, entropy) = keyring("in_1");
    let seal = || keyring.seal(&entropy, &PLACE, None, &value()).unwrap();
    assert_ne!(seal(), seal());
}

#[test]
fn moved_value_is_refused() {
    let (keyring, entropy) = keyring("in_1");
    let bound = keyring.seal(&entropy, &PLACE, Some(&binding()), &value()).unwrap();
    let unbound = keyring.seal(&entropy, &PLACE, None, &value()).unwrap();
    let bytes = keyring.seal_bytes(&entropy, &PLACE, b"hook").unwrap();
    for place in other_places() {
        let refused = Some(SealError::Refused);
        assert_eq!(keyring.open_bound(&place, &binding(), &bound).err(), refused);
        assert_eq!(keyring.open_unbound(&place, &unbound).err(), refused);
        assert_eq!(keyring.open_bytes(&place, &bytes).err(), refused);
    }
}

#[test]
fn other_binding_is_refused() {
    let (keyring, entropy) = keyring("in_1");
    let sealed = keyring.seal(&entropy, &PLACE, Some(&binding()), &value()).unwrap();
    for other in [
        Binding::new("http://api.example.com:443", "/v1", "authorization", "Bearer "),
        Binding::new("https://api.example.org:443", "/v1", "authorization", "Bearer "),
        Binding::new("https://api.example.com:444", "/v1", "authorization", "Bearer "),
        Binding::new(ORIGIN, "", "authorization", "Bearer "),
        Binding::new(ORIGIN, "/v1", "x-api-key", "Bearer "),
        Binding::new(ORIGIN, "/v1", "authorization", ""),
        Binding::new(ORIGIN, "/v1", "authorization", "Bearer"),
        Binding::new(&format!("{ORIGIN}/v1"), "", "authorization", "Bearer "),
    ] {
        let refused = keyring.open_bound(&PLACE, &other, &sealed);
        assert_eq!(refused.err(), Some(SealError::Refused), "{other:?}");
    }
}

#[test]
fn other_installation_is_refused_even_with_the_same_key() {
    let (mut keyring, entropy) = keyring("in_1");
    let sealed = keyring.seal(&entropy, &PLACE, None, &value()).unwrap();
    keyring.installation = "in_2".to_owned();
    let refused = keyring.open_unbound(&PLACE, &sealed);
    assert_eq!(refused.err(), Some(SealError::Refused));
}

#[test]
fn other_purpose_is_refused_even_with_the_same_key() {
    let (mut keyring, entropy) = keyring("in_1");
    let sealed = keyring.seal_bytes(&entropy, &PLACE, b"sk-looks-like-a-key").unwrap();
    std::mem::swap(&mut keyring.data, &mut keyring.other);
    let refused = keyring.open_unbound(&PLACE, &sealed);
    assert_eq!(refused.err(), Some(SealError::Refused));
}

#[test]
fn every_flipped_bit_is_refused() {
    let (keyring, entropy) = keyring("in_1");
    let sealed = keyring.seal(&entropy, &PLACE, Some(&binding()), &value()).unwrap();
    for at in 0..sealed.len() {
        for bit in 0..7 {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(keyring.open_bound(&PLACE, &binding(), &flipped).is_err(), "{at}.{bit}");
        }
    }
    for end in 0..sealed.len() {
        assert!(keyring.open_bound(&PLACE, &binding(), &sealed[..end]).is_err());
    }
}

#[test]
fn unknown_key_is_named() {
    let (one, entropy) = keyring("in_1");
    let sealed = one.seal(&entropy, &PLACE, None, &value()).unwrap();
    let two = Keyring::unwrapped("in_1", &entropy);
    let key_id = one.data.newest().0.to_owned();
    let refused = two.open_unbound(&PLACE, &sealed);
    assert_eq!(refused.err(), Some(SealError::UnknownKey { key_id }));
}

#[test]
fn value_of_an_older_key_still_opens_and_cannot_be_relabelled() {
    let entropy = Entropy::seeded(22);
    let old = Keyring::unwrapped("in_1", &entropy);
    let sealed = old.seal(&entropy, &PLACE, None, &value()).unwrap();
    let new = old.with_second(Purpose::Data, &entropy);
    let second_id = new.newest(Purpose::Data).to_owned();
    assert!(new.open_unbound(&PLACE, &sealed).is_ok());
    let renewed = new.seal(&entropy, &PLACE, None, &value()).unwrap();
    assert!(renewed.starts_with(&format!("v1.{second_id}.")));
    let relabelled = sealed.replace(old.data.newest().0, &second_id);
    let refused = new.open_unbound(&PLACE, &relabelled);
    assert_eq!(refused.err(), Some(SealError::Refused));
}

#[test]
fn a_value_is_sealed_anew_for_the_same_place_and_binding_alone() {
    let entropy = Entropy::seeded(23);
    let old = Keyring::unwrapped("in_1", &entropy);
    let sealed = old.seal(&entropy, &PLACE, Some(&binding()), &value()).unwrap();
    let new = old.with_second(Purpose::Data, &entropy);
    let renewed = new.reseal(&entropy, &PLACE, Some(&binding()), &sealed, "gk_1").unwrap();
    assert_eq!(crate::key_id_of(&renewed.sealed), Some(new.newest(Purpose::Data)));
    assert!(new.open_bound(&PLACE, &binding(), &renewed.sealed).is_ok());
    assert!(new.is_marked("gk_1", &value(), &renewed.value_mark));
    assert!(old.open_bound(&PLACE, &binding(), &renewed.sealed).is_err());
    let elsewhere = Binding::new("https://other.example:443", "/v1", "authorization", "Bearer ");
    for (place, binding) in
        [(PLACE, None), (PLACE, Some(&elsewhere)), (Place { row: "gk_2", ..PLACE }, Some(&binding()))]
    {
        let refused = new.reseal(&entropy, &place, binding, &sealed, "gk_1").err();
        assert_eq!(refused, Some(ResealError::Seal(SealError::Refused)));
    }
}

/// RFC 5869, test case 1, through the library's HKDF as it is called here.
#[test]
fn hkdf_known_answer() {
    let salt: Vec<u8> = (0..=0x0c).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    let mut output = [0; 44];
    hkdf::Salt::new(HKDF_SHA256, &salt)
        .extract(&[0x0b; 22])
        .expand(&[&info], RecordLen)
        .unwrap()
        .fill(&mut output)
        .unwrap();
    let hex: String = output[..42].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

proptest! {
    #[test]
    fn values_round_trip(text in "[!-)+-~]{1,300}", row: String, version: i64) {
        let (keyring, entropy) = keyring("in_1");
        let place = Place { row: &row, version, ..PLACE };
        if let Ok(value) = ProviderValue::parse(text.clone()) {
            let sealed = keyring.seal(&entropy, &place, Some(&binding()), &value).unwrap();
            let secret = keyring.open_bound(&place, &binding(), &sealed).unwrap();
            let header = secret.expose_secret(&binding(), "").unwrap();
            prop_assert_eq!(&header[..], text.as_bytes());
        }
    }

    #[test]
    fn bytes_round_trip(bytes: Vec<u8>) {
        let (keyring, entropy) = keyring("in_1");
        let sealed = keyring.seal_bytes(&entropy, &PLACE, &bytes).unwrap();
        prop_assert_eq!(&*keyring.open_bytes(&PLACE, &sealed).unwrap(), &bytes);
    }

    #[test]
    fn arbitrary_text_is_refused(text: String, payload: Vec<u8>) {
        let (keyring, _) = keyring("in_1");
        prop_assert!(keyring.open_bytes(&PLACE, &text).is_err());
        let near = envelope::write(keyring.data.newest().0, &payload);
        prop_assert!(keyring.open_bound(&PLACE, &binding(), &near).is_err());
    }
}
