//! The format of agent keys and management tokens, and what is kept of a presented one.

use aws_lc_rs::digest;

/// Whose secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// An agent key, `kw_…`.
    Agent,
    /// A management token, `kwm_…`.
    Management,
}

impl TokenKind {
    /// `"kw_"` or `"kwm_"`.
    pub fn prefix(self) -> &'static str {
        match self {
            TokenKind::Agent => "kw_",
            TokenKind::Management => "kwm_",
        }
    }

    /// Bytes of a whole token of this kind.
    pub(crate) fn token_len(self) -> usize {
        self.prefix().len() + RANDOM_LEN + CHECKSUM_LEN
    }
}

/// A presented token that is well formed. Holds its kind and the SHA-256 of its text, never the text.
#[derive(Clone)]
pub struct Token {
    kind: TokenKind,
    sha256: [u8; 32],
}

impl Token {
    /// Checks prefix, length, alphabet and checksum, in that order. Allocates nothing: it runs for each call.
    ///
    /// # Errors
    /// The first thing that is wrong. Such a token was never issued, so no database need be asked.
    pub fn parse(text: &[u8]) -> Result<Token, TokenError> {
        let kind = check(text)?;
        Ok(Token::of_checked(kind, text))
    }

    /// What is kept of an agent's secret that another product issued: 16 to 512 visible ASCII characters that do not begin
    /// like one of ours, which would be a mistyped one.
    pub fn foreign(text: &[u8]) -> Option<Token> {
        can_be_foreign(text).then(|| Token::of_checked(TokenKind::Agent, text))
    }

    /// Whose secret it is.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// SHA-256 (FIPS 180-4) of the whole text, prefix and checksum included.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    pub(crate) fn of_checked(kind: TokenKind, text: &[u8]) -> Token {
        Token { kind, sha256: sha256(text) }
    }
}

opaque_debug!(Token);

/// Why a text is no token. Carries nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Begins with neither `kw_` nor `kwm_`.
    #[error("not a Keyward key: it begins with neither kw_ nor kwm_; check which key you sent")]
    Prefix,
    /// Too short or too long.
    #[error("not a whole Keyward key: the length is wrong; copy it again in full")]
    Length,
    /// A character that cannot stand there.
    #[error("not a Keyward key: it holds a character that none has; copy it again in full")]
    Alphabet,
    /// The checksum does not fit.
    #[error("not a Keyward key: a character is wrong; copy it again in full")]
    Checksum,
}

/// Whether a text can be a secret that [`Token::foreign`] takes.
pub fn can_be_foreign(text: &[u8]) -> bool {
    let is_ours = text.starts_with(b"kw_") || text.starts_with(b"kwm_");
    (16..=512).contains(&text.len()) && !is_ours && text.iter().all(u8::is_ascii_graphic)
}

/// Whether a well-formed agent key or management token stands anywhere inside `bytes`, whatever surrounds it.
pub fn contains_token(bytes: &[u8]) -> bool {
    places(bytes).next().is_some()
}

/// The longest token, in bytes.
pub const MAX_TOKEN_LEN: usize = "kwm_".len() + RANDOM_LEN + CHECKSUM_LEN;

/// A well-formed token that stands somewhere, with no more of it than a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundToken {
    /// Whose secret it is.
    pub kind: TokenKind,
    /// Where it begins, in bytes.
    pub at: usize,
    /// Its first and last 4 characters.
    pub mask: String,
}

/// Every well-formed agent key and management token inside `bytes`, whatever surrounds it.
pub fn find_tokens(bytes: &[u8]) -> impl Iterator<Item = FoundToken> {
    places(bytes).map(|(kind, at)| {
        let token = &bytes[at..at + kind.token_len()];
        let part = |part| String::from_utf8_lossy(part).into_owned();
        FoundToken { kind, at, mask: format!("{}******{}", part(&token[..4]), part(&token[token.len() - 4..])) }
    })
}

fn places(bytes: &[u8]) -> impl Iterator<Item = (TokenKind, usize)> {
    memchr::memchr_iter(b'k', bytes).filter_map(|at| {
        let kinds = [TokenKind::Agent, TokenKind::Management];
        let is_there = |kind: &TokenKind| bytes[at..].get(..kind.token_len()).is_some_and(|token| check(token).is_ok());
        kinds.into_iter().find(is_there).map(|kind| (kind, at))
    })
}

/// Random characters after the prefix: 43 of base62 hold 256 bits.
pub(crate) const RANDOM_LEN: usize = 43;
/// Characters of the checksum.
pub(crate) const CHECKSUM_LEN: usize = 6;
/// The digits of base62, in the order of their values.
pub(crate) const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// CRC-32 (IEEE 802.3) of `text` as a base62 number, padded with `0` on the left.
pub(crate) fn checksum(text: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn check(text: &[u8]) -> Result<TokenKind, TokenError> {
    let kind = match text {
        [b'k', b'w', b'_', ..] => TokenKind::Agent,
        [b'k', b'w', b'm', b'_', ..] => TokenKind::Management,
        _ => return Err(TokenError::Prefix),
    };
    if text.len() != kind.token_len() {
        return Err(TokenError::Length);
    }
    let (body, sum) = text.split_at(text.len() - CHECKSUM_LEN);
    let digits = text[kind.prefix().len()..].iter();
    if !digits.into_iter().all(u8::is_ascii_alphanumeric) {
        return Err(TokenError::Alphabet);
    }
    // No secret: the checksum follows from the rest.
    if checksum(body) != *sum {
        return Err(TokenError::Checksum);
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentSecret, Entropy};
    use proptest::prelude::*;

    const KINDS: [TokenKind; 2] = [TokenKind::Agent, TokenKind::Management];

    fn vector() -> String {
        format!("kw_{}4RAm10", "0".repeat(43))
    }

    fn minted(kind: TokenKind) -> String {
        let secret = AgentSecret::mint(kind, &Entropy::system()).unwrap();
        secret.expose_once().to_string()
    }

    #[test]
    fn contract_vector_is_accepted() {
        let token = Token::parse(vector().as_bytes()).unwrap();
        assert_eq!(token.kind(), TokenKind::Agent);
        assert_eq!(token.sha256(), &sha256(vector().as_bytes()));
    }

    #[test]
    fn base62_counts_digits_then_capitals_then_small_letters() {
        let expected: Vec<u8> = (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').collect();
        assert_eq!(BASE62.to_vec(), expected);
        assert!(BASE62.is_sorted());
    }

    /// "abc" from FIPS 180-4's examples.
    #[test]
    fn sha256_known_answer() {
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn any_other_byte_anywhere_is_refused() {
        for kind in KINDS {
            let text = minted(kind).into_bytes();
            for at in 0..text.len() {
                for byte in (0..=255).filter(|b| *b != text[at]) {
                    let mut other = text.clone();
                    other[at] = byte;
                    assert!(Token::parse(&other).is_err(), "byte {at} as {byte}");
                }
            }
        }
    }

    #[test]
    fn errors_name_the_first_thing_wrong() {
        let text = vector();
        let error = |t: &str| Token::parse(t.as_bytes()).err();
        assert_eq!(error(""), Some(TokenError::Prefix));
        assert_eq!(error("sk-abc"), Some(TokenError::Prefix));
        assert_eq!(error("kw_"), Some(TokenError::Length));
        assert_eq!(error(&text[..51]), Some(TokenError::Length));
        assert_eq!(error(&format!("{text}\n")), Some(TokenError::Length));
        assert_eq!(error(&text.replacen("00", "0-", 1)), Some(TokenError::Alphabet));
        assert_eq!(error(&text.replacen("00", "01", 1)), Some(TokenError::Checksum));
        assert_eq!(error(&text.replace("kw_", "kwm_")), Some(TokenError::Checksum));
    }

    #[test]
    fn contained_tokens_are_found_wherever_they_stand() {
        for kind in KINDS {
            let text = minted(kind);
            for inside in [
                text.clone(),
                format!("Bearer {text}"),
                format!("/v1/{text}/x?y={text}"),
                format!("kw_kwm_kw{text}aaaa"),
            ] {
                assert!(contains_token(inside.as_bytes()), "{inside}");
            }
            assert!(!contains_token(&text.as_bytes()[1..]));
            assert!(!contains_token(&text.as_bytes()[..text.len() - 1]));
            assert!(!contains_token(text.to_uppercase().as_bytes()));
        }
        assert!(!contains_token(b""));
        assert!(!contains_token(format!("kw_{}", "0".repeat(49)).as_bytes()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(Token::parse(&bytes).is_err());
            prop_assert!(!contains_token(&bytes));
        }

        #[test]
        fn near_tokens_never_panic(text in "kwm?_[0-9A-Za-z_é]{47,51}") {
            let found = Token::parse(text.as_bytes()).is_ok();
            prop_assert!(!found || contains_token(text.as_bytes()));
        }

        #[test]
        fn token_between_arbitrary_bytes_is_found(before: Vec<u8>, after: Vec<u8>) {
            let bytes = [before, vector().into_bytes(), after].concat();
            prop_assert!(contains_token(&bytes));
        }
    }
}
