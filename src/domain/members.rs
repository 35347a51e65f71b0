//! Members: who administers Keyward.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use store::{Write, members::Member};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Core, first_run, ids, name};
use crate::error::{Code, Error, Result};

/// The longest password, in bytes.
pub const MAX_PASSWORD: usize = 1024;
/// The shortest password, in characters.
pub const MIN_PASSWORD: usize = 12;
/// What stands in place of the hash of a member who joined without a password: no hash of any.
pub const NO_PASSWORD: &str = "!";

/// Whether a member has a password to sign in with.
pub fn has_password(member: &Member) -> bool {
    !member.password_hash.is_empty() && member.password_hash != NO_PASSWORD
}

/// Makes the first member, an owner, in a transaction of the caller's.
///
/// # Errors
/// [`Code::Forbidden`] where there is a member, or was one; a refused e-mail.
pub async fn create_first(
    core: &Core,
    tx: &mut Write,
    email: &str,
    display_name: &str,
    password_hash: String,
) -> Result<Member> {
    let email = parse_email(email)?;
    if store::members::count(tx).await? > 0 {
        return Err(Error::new(
            Code::Forbidden,
            "this installation has a member already; sign in, or start with an empty data directory",
        ));
    }
    if store::chain::has_traces(tx).await? {
        return Err(first_run::without_members());
    }
    let now = core.clock.now_ms();
    let member = Member {
        id: ids::mint("mb", now, &core.entropy)?,
        email_key: name::fold(&email),
        name: display_name.to_owned(),
        email,
        role: String::from("owner"),
        password_hash,
        second_factor: String::new(),
        mail_warnings: String::new(),
        created_at: now,
        updated_at: now,
        version: 1,
        mac: String::new(),
    };
    store::members::insert(tx, &member).await?;
    Ok(member)
}

/// An e-mail address, trimmed; only what is plainly none is refused.
///
/// # Errors
/// A refused field `email`.
pub fn parse_email(text: &str) -> Result<String> {
    let text = text.trim();
    let whole = text.len() <= 254
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if whole {
        Ok(text.to_owned())
    } else {
        Err(Error::field("email", "must be an e-mail address, for example ada@example.com"))
    }
}

/// Whether a password may be set.
///
/// # Errors
/// A refused field `password`: 12 characters to 1 KiB.
pub fn check_password(password: &str) -> Result<()> {
    if password.len() > MAX_PASSWORD {
        return Err(Error::field("password", format!("must have at most {MAX_PASSWORD} bytes")));
    }
    if password.chars().count() < MIN_PASSWORD {
        return Err(Error::field("password", format!("must have at least {MIN_PASSWORD} characters")));
    }
    Ok(())
}

/// Hashes a password with Argon2id (19 MiB, t=2, p=1), off the runtime's threads.
///
/// # Errors
/// A refused field `password`: 12 characters to 1 KiB.
pub async fn hash(core: &Core, password: Zeroizing<String>) -> Result<String> {
    check_password(&password)?;
    let mut salt = [0_u8; 16];
    core.entropy.fill(&mut salt)?;
    core.passwords
        .run(move || {
            let hash = hasher().hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
        })
        .await
}

/// Whether a password belongs to a hash; takes as long where there is no hash, so that time does not tell whether an
/// account exists.
///
/// # Errors
/// Only where the check could not be made.
pub async fn verify(core: &Core, password_hash: Option<String>, password: Zeroizing<String>) -> Result<bool> {
    /// Of no password anybody has.
    const NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    if password.len() > MAX_PASSWORD {
        return Ok(false);
    }
    let password_hash = password_hash.filter(|hash| !hash.is_empty() && hash != NO_PASSWORD);
    core.passwords
        .run(move || {
            let known = password_hash.is_some();
            let text = password_hash.unwrap_or_else(|| NOBODY.to_owned());
            let parsed = PasswordHash::new(&text).map_err(|error| error.to_string())?;
            Ok(hasher().verify_password(password.as_bytes(), &parsed).is_ok() && known)
        })
        .await
}

fn hasher() -> Argon2<'static> {
    // The second of OWASP's recommended settings for Argon2id (Password Storage Cheat Sheet).
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

/// Where passwords are hashed, off the runtime's threads: each takes 19 MiB and tens of milliseconds of a core, so
/// that only a few run at a time, a few more wait, and the rest is turned away.
pub struct PasswordLane {
    running: Semaphore,
    waiting: Semaphore,
}

impl Default for PasswordLane {
    fn default() -> PasswordLane {
        PasswordLane { running: Semaphore::new(2), waiting: Semaphore::new(32) }
    }
}

impl PasswordLane {
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T> {
        let failed = |cause: String| {
            Error::new(Code::Internal, "the password could not be checked; try again").with_cause(cause)
        };
        let _place = self
            .waiting
            .try_acquire()
            .map_err(|_| Error::new(Code::TooManyAttempts, "too many passwords are being checked; try again"))?;
        let _turn = self.running.acquire().await.map_err(|error| failed(error.to_string()))?;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(failed),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
