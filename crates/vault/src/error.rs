//! What can go wrong while a secret is made or sealed.

/// A failure of the machinery, not of the input: nothing was stored, nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The system's random source gave nothing.
    #[error(
        "the operating system gave no random bytes; check that getrandom(2) is not blocked (seccomp, container policy) and try again"
    )]
    Randomness,
    /// The cipher or the key derivation refused to work.
    #[error(
        "a secret could not be encrypted, and nothing was stored; try again, and if it stays so, report it with Keyward's version"
    )]
    Encryption,
}
