//! The one source of randomness, passed in as a parameter.

use crate::VaultError;
use aws_lc_rs::{digest, rand};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where random bytes come from. A function that takes `&Entropy` says so in its signature; nothing else draws any.
pub struct Entropy(Source);

impl Entropy {
    /// The operating system's random source, through AWS-LC.
    pub fn system() -> Entropy {
        Entropy(Source::System)
    }

    /// **For tests only**: the same bytes for the same seed, known to whoever reads this line.
    ///
    /// SHA-256 of seed and block number (64-bit big-endian each), block after block.
    #[doc(hidden)]
    pub fn seeded(seed: u64) -> Entropy {
        Entropy(Source::Seeded { seed, block: AtomicU64::new(0) })
    }

    /// Fills `buffer` with random bytes.
    ///
    /// # Errors
    /// [`VaultError::Randomness`] when the system gives none; `buffer` must then not be used.
    #[allow(clippy::disallowed_methods, reason = "this is the place that may")]
    pub fn fill(&self, buffer: &mut [u8]) -> Result<(), VaultError> {
        match &self.0 {
            Source::System => rand::fill(buffer).map_err(|_| VaultError::Randomness),
            Source::Seeded { seed, block } => {
                for chunk in buffer.chunks_mut(digest::SHA256_OUTPUT_LEN) {
                    let mut input = [0u8; 16];
                    input[..8].copy_from_slice(&seed.to_be_bytes());
                    input[8..].copy_from_slice(&block.fetch_add(1, Ordering::Relaxed).to_be_bytes());
                    let output = digest::digest(&digest::SHA256, &input);
                    chunk.copy_from_slice(&output.as_ref()[..chunk.len()]);
                }
                Ok(())
            }
        }
    }

    /// `N` random bytes that are no secret (a salt, a nonce, an id).
    pub(crate) fn array<const N: usize>(&self) -> Result<[u8; N], VaultError> {
        let mut bytes = [0u8; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

opaque_debug!(Entropy);

enum Source {
    System,
    Seeded { seed: u64, block: AtomicU64 },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_repeats_itself_and_depends_on_the_seed() {
        let draw = |seed| Entropy::seeded(seed).array::<70>().unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let entropy = Entropy::seeded(1);
        assert_ne!(entropy.array::<32>().unwrap(), entropy.array::<32>().unwrap());
    }

    #[test]
    fn system_does_not_repeat_itself() {
        let entropy = Entropy::system();
        assert_ne!(entropy.array::<32>().unwrap(), entropy.array::<32>().unwrap());
    }
}
