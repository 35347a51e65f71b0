//! A member's authenticator app, as RFC 6238 describes it.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

use super::{Answer, Api, TestServer};

/// An app that was set up, and the recovery codes that came with it.
#[derive(Debug, Clone)]
pub struct Authenticator {
    /// The secret as the page shows it.
    pub secret: String,
    /// As they were shown.
    pub recovery_codes: Vec<String>,
    shift_seconds: u64,
}

impl Authenticator {
    /// The app with the secret that an enrolment's page shows.
    pub fn scanned(page: &Answer) -> Self {
        let text = page.text();
        let (_, rest) = text.split_once("otpauth://totp/Keyward:").expect("an address for the app");
        let (_, rest) = rest.split_once("secret=").expect("a secret in it");
        Self { secret: rest[..32].to_owned(), recovery_codes: Vec::new(), shift_seconds: 0 }
    }

    /// The secret's bytes.
    pub fn raw_secret(&self) -> Vec<u8> {
        from_base32(&self.secret)
    }

    /// The same app beside a server that believes it is that much later.
    pub fn seconds_later(&self, seconds: u64) -> Self {
        Self { shift_seconds: seconds, ..self.clone() }
    }

    /// The code it shows now. It is still good if the next one is shown before it arrives.
    pub fn code(&self) -> String {
        self.code_after(0)
    }

    /// The one after that, which is good already: for who used the first.
    pub fn next_code(&self) -> String {
        self.code_after(1)
    }

    /// Six digits that are no code now.
    pub fn wrong_code(&self) -> String {
        let near: Vec<String> = (0..5).map(|step| self.code_at(self.step() + step - 2)).collect();
        let other = |digits: &u32| !near.contains(&format!("{digits:06}"));
        format!("{:06}", (0..10).find(other).unwrap())
    }

    fn code_after(&self, steps: u64) -> String {
        self.code_at(self.step() + steps)
    }

    fn step(&self) -> u64 {
        (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + self.shift_seconds) / 30
    }

    fn code_at(&self, step: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &from_base32(&self.secret));
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let at = usize::from(tag.as_ref()[19] & 15);
        let four: [u8; 4] = tag.as_ref()[at..at + 4].try_into().unwrap();
        format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
    }
}

impl TestServer {
    /// Sets a second factor up for whose session this is.
    pub async fn enrol(&self, session: &Api, password: &str) -> Authenticator {
        let page = session.page(SECOND_FACTOR).await.expect(200);
        let mut app = Authenticator::scanned(&page);
        let fields = [("sealed", sealed_of(&page)), ("password", password.to_owned()), ("code", app.code())];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        app.recovery_codes = recovery_codes_of(&session.form(SECOND_FACTOR, &fields).await.expect(200));
        app
    }

    /// Signs in with password and code.
    pub async fn sign_in_with_code(&self, email: &str, password: &str, code: &str) -> Answer {
        let first = self.sign_in(email, password).await.expect(303);
        self.signed_in(&first).form("/sign-in/code", &[("code", code), ("next", "")]).await
    }
}

/// Where a second factor is set up and looked at.
pub const SECOND_FACTOR: &str = "/settings/account/second-factor";

/// What the form of an enrolment's page carries along.
pub fn sealed_of(page: &Answer) -> String {
    let text = page.text();
    let (_, rest) = text.split_once("name=\"sealed\" value=\"").expect("the sealed secret");
    rest.split('"').next().unwrap().to_owned()
}

/// The codes on the page that shows them once.
pub fn recovery_codes_of(page: &Answer) -> Vec<String> {
    let text = page.text();
    let (_, rest) = text.split_once("id=\"secret\"").unwrap_or_else(|| panic!("no recovery codes: {page}"));
    let codes = rest.split_once('>').unwrap().1.split("</textarea>").next().unwrap();
    codes.split_whitespace().map(str::to_owned).collect()
}

fn from_base32(text: &str) -> Vec<u8> {
    let digits = text.bytes().map(|letter| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'2'..=b'7' => letter - b'2' + 26,
        _ => panic!("not base32: {text}"),
    });
    let bits: Vec<bool> = digits.flat_map(|digit| (0..5).rev().map(move |at| digit >> at & 1 == 1)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
}
