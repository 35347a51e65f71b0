//! The vectors of Wycheproof, which hold the corner cases that implementations were found wrong in: through what this
//! crate seals with, and through the library as it is called here.

use ::wycheproof::{aead, hkdf as kdf, mac};
use aws_lc_rs::{
    hkdf::{self, HKDF_SHA256, KeyType},
    hmac,
};

use crate::aead::{TAG_LEN, open, seal};

#[test]
fn aes_gcm_seals_and_opens_what_it_should_and_nothing_else() {
    let (mut valid, mut invalid) = (0, 0);
    for group in aead::TestSet::load(aead::TestName::AesGcm).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 8 * TAG_LEN) {
            continue;
        }
        for test in group.tests {
            let key: [u8; 32] = test.key[..].try_into().unwrap();
            let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let opened = open(&key, nonce, &test.aad, &sealed);
            if test.result.must_fail() {
                assert!(opened.is_none(), "{}: {}", test.tc_id, test.comment);
                invalid += 1;
                continue;
            }
            assert_eq!(opened.unwrap()[..], test.pt[..], "{}: {}", test.tc_id, test.comment);
            let mut ours = Vec::new();
            seal(&key, nonce, &test.aad, &test.pt, &mut ours).unwrap();
            assert_eq!(ours, sealed, "{}: {}", test.tc_id, test.comment);
            valid += 1;
        }
    }
    assert!(valid >= 30 && invalid >= 20, "only {valid} and {invalid} vectors");
}

/// As many bytes as a vector asks for.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[test]
fn hkdf_gives_what_it_should_and_nothing_past_its_end() {
    let (mut valid, mut invalid) = (0, 0);
    for group in kdf::TestSet::load(kdf::TestName::HkdfSha256).unwrap().test_groups {
        for test in group.tests {
            let key = hkdf::Salt::new(HKDF_SHA256, &test.salt).extract(&test.ikm);
            let info = [&test.info[..]];
            let mut output = vec![0; test.size];
            let filled = key.expand(&info, Length(test.size)).and_then(|okm| okm.fill(&mut output));
            if test.result.must_fail() {
                assert!(filled.is_err(), "{}: {}", test.tc_id, test.comment);
                invalid += 1;
            } else {
                filled.unwrap();
                assert_eq!(output[..], test.okm[..], "{}: {}", test.tc_id, test.comment);
                valid += 1;
            }
        }
    }
    assert!(valid >= 50 && invalid >= 1, "only {valid} and {invalid} vectors");
}

#[test]
fn hmac_holds_for_what_it_should_and_for_nothing_else() {
    let (mut valid, mut invalid) = (0, 0);
    for group in mac::TestSet::load(mac::TestName::HmacSha256).unwrap().test_groups {
        // Keyward never cuts a MAC short, and the library never takes a short one.
        let is_whole = group.tag_size == 256;
        for test in group.tests {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &test.key);
            let holds = hmac::verify(&key, &test.msg, &test.tag).is_ok();
            let should = is_whole && !test.result.must_fail();
            assert_eq!(holds, should, "{}: {}", test.tc_id, test.comment);
            if should { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid >= 30 && invalid >= 50, "only {valid} and {invalid} vectors");
}
