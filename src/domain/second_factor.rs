//! The second factor: what a member gives beside their password. Set up in [`super::enrolment`], asked for in
//! [`super::second_step`].

use store::{
    Handle, Write,
    members::Member,
    second_factors::{RecoveryCodeRow, SecondFactor},
};
use vault::{Place, RecoveryCode, TotpSecret};
use zeroize::Zeroizing;

use super::{
    Core,
    actor::Actor,
    audit::{Changes, record},
    change::check_version,
    ids, new_password,
    roster::{check_covers, found, target},
    sessions::{Caller, SignedIn},
    throttle::Try,
};
use crate::error::{Code, Error, Result};

/// How many recovery codes a member gets.
pub const RECOVERY_CODES: usize = 10;

/// Fresh recovery codes; nobody can read them again.
pub type RecoveryCodes = Vec<Zeroizing<String>>;

/// Which code was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// One of the app's.
    App,
    /// A recovery code; so many are left.
    Recovery(usize),
}

/// A member's second factor, where they have one.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Since when, in milliseconds since 1970.
    pub since: i64,
    /// How many recovery codes are left.
    pub codes_left: usize,
}

/// What stands of a member's second factor; `None` where they have none.
///
/// # Errors
/// [`Code::Damaged`]; a storage failure.
pub async fn standing(core: &Core, member: &Member) -> Result<Option<Standing>> {
    if member.second_factor.is_empty() {
        return Ok(None);
    }
    let mut db = core.store.read().await?;
    let factor = of(&mut db, member).await?;
    let codes_left = store::second_factors::codes_of(&mut db, &member.id).await?.len();
    Ok(Some(Standing { since: factor.created_at, codes_left }))
}

/// Gives a member new recovery codes in place of those they had, which takes password and code.
///
/// # Errors
/// A refused `password` or `code`; [`Code::TooManyAttempts`]; a storage failure.
pub async fn new_codes(
    core: &Core,
    signed_in: &SignedIn,
    password: Zeroizing<String>,
    code: &str,
    caller: &Caller,
) -> Result<RecoveryCodes> {
    let (mut tx, member) = prove(core, signed_in, password, code, caller).await?;
    let codes = replace_codes(core, &mut tx, &member.id).await?;
    let changes = Changes::default().secret("recovery_codes");
    record(&mut tx, &signed_in.actor, core.clock.now_ms(), "member.recovery_codes", target(&member), changes).await?;
    tx.commit().await?;
    Ok(codes)
}

/// Turns a member's own second factor off, which takes password and code.
///
/// # Errors
/// A refused `password` or `code`; [`Code::TooManyAttempts`]; a storage failure.
pub async fn turn_off(
    core: &Core,
    signed_in: &SignedIn,
    password: Zeroizing<String>,
    code: &str,
    caller: &Caller,
) -> Result<()> {
    let (mut tx, mut member) = prove(core, signed_in, password, code, caller).await?;
    (member.version, member.updated_at) = (member.version + 1, core.clock.now_ms());
    clear(&mut tx, &mut member).await?;
    store::members::update(&mut tx, &member).await?;
    let changes = Changes::default().field("second_factor", true, false);
    record(&mut tx, &signed_in.actor, member.updated_at, "member.second_factor_off", target(&member), changes).await?;
    Ok(tx.commit().await?)
}

/// Removes another member's second factor: for who lost app and recovery codes.
///
/// # Errors
/// [`Code::Forbidden`] for a member who may do more than the actor, and for oneself; [`Code::NotFound`] where there is
/// none; [`Code::VersionMismatch`]; a storage failure.
pub async fn remove(core: &Core, actor: &Actor, id: &str, version: Option<i64>) -> Result<()> {
    let before = found(&mut core.store.read().await?, id).await?;
    check_covers(core, actor, &before.role, None).await?;
    check_version(before.version, version)?;
    if actor.member_id == id {
        let detail = "nobody removes their own second factor like this: turn it off on your account page, with your \
                      password and a code, or have keyward recover do it on the machine";
        return Err(Error::new(Code::Forbidden, detail));
    }
    if before.second_factor.is_empty() {
        return Err(Error::new(Code::NotFound, format!("{} has no second factor", before.name)));
    }
    let mut member = before;
    (member.version, member.updated_at) = (member.version + 1, core.clock.now_ms());
    let mut tx = core.store.write().await?;
    clear(&mut tx, &mut member).await?;
    store::members::update(&mut tx, &member).await?;
    let changes = Changes::default().field("second_factor", true, false);
    record(&mut tx, actor, member.updated_at, "member.second_factor_remove", target(&member), changes).await?;
    Ok(tx.commit().await?)
}

/// Takes the factor from a member, and what belongs to it; the caller writes the member's row.
pub(super) async fn clear(tx: &mut Write, member: &mut Member) -> Result<()> {
    member.second_factor.clear();
    store::second_factors::delete_of(tx, &member.id).await?;
    Ok(store::pending_sign_ins::delete_of(tx, &member.id).await?)
}

/// Writes fresh recovery codes in place of those that there are.
pub(super) async fn replace_codes(core: &Core, tx: &mut Write, member_id: &str) -> Result<RecoveryCodes> {
    let now = core.clock.now_ms();
    let (mut rows, mut codes) = (Vec::new(), RecoveryCodes::new());
    for _ in 0..RECOVERY_CODES {
        let code = RecoveryCode::mint(&core.entropy)?;
        let digest = core.store.keyring().digest(code.sha256());
        rows.push(RecoveryCodeRow {
            id: ids::mint("rc", now, &core.entropy)?,
            member_id: member_id.to_owned(),
            pepper_id: digest.pepper,
            digest: digest.value,
            created_at: now,
            mac: String::new(),
        });
        codes.push(code.expose_once());
    }
    store::second_factors::replace_codes(tx, member_id, &rows).await?;
    Ok(codes)
}

/// Takes a code that somebody typed, so that it is good for nothing else any more; `None` where it is none.
///
/// # Errors
/// [`Code::Damaged`]; a storage failure.
pub(super) async fn take(core: &Core, tx: &mut Write, member: &Member, typed: &str) -> Result<Option<Taken>> {
    let mut factor = of(tx, member).await?;
    let digits: String = typed.chars().filter(|letter| !letter.is_whitespace()).take(TotpSecret::DIGITS + 1).collect();
    if let Some(step) = opened(core, &factor)?.step_of(&digits, core.clock.now_ms() / 1000) {
        if step <= factor.last_step {
            return Ok(None);
        }
        (factor.last_step, factor.version) = (step, factor.version + 1);
        return Ok(store::second_factors::take_step(tx, &factor).await?.then_some(Taken::App));
    }
    let Some(code) = RecoveryCode::parse(typed.trim()) else { return Ok(None) };
    let left = store::second_factors::codes_of(tx, &member.id).await?;
    let digests = core.store.keyring().digests(code.sha256());
    let fits = |row: &&RecoveryCodeRow| {
        digests.iter().any(|digest| digest.value == row.digest && digest.pepper == row.pepper_id)
    };
    match left.iter().find(fits) {
        Some(row) if store::second_factors::take_code(tx, &row.id).await? => Ok(Some(Taken::Recovery(left.len() - 1))),
        _ => Ok(None),
    }
}

/// Where a member's secret is sealed.
pub(super) fn place(member_id: &str) -> Place<'_> {
    Place { table: "second_factors", row: member_id, field: "sealed", version: 1 }
}

/// Whose codes are guessed, and from where: counted apart from passwords.
pub(super) fn who(member: &Member, caller: &Caller) -> Try {
    Try::new(&format!("code of {}", member.id), caller.address)
}

/// What is said to who tries too often.
pub(super) fn too_many(seconds: u64) -> Error {
    Error::new(Code::TooManyAttempts, format!("too many tries with a wrong code; try again in {seconds} s"))
}

/// What is said of a code that is none.
pub(super) fn refused_code() -> Error {
    Error::field("code", "is not a code that is good now; each is good once, and for about a minute")
}

/// Lets a member go on who gives password and code; in the transaction in which the code is taken.
async fn prove(
    core: &Core,
    signed_in: &SignedIn,
    password: Zeroizing<String>,
    code: &str,
    caller: &Caller,
) -> Result<(Write, Member)> {
    let member = found(&mut core.store.read().await?, &signed_in.actor.member_id).await?;
    if member.second_factor.is_empty() {
        return Err(Error::new(Code::ValidationFailed, "you have no second factor; set one up first"));
    }
    new_password::prove(core, &member, "password", password, caller).await?;
    let who = who(&member, caller);
    let throttle = &core.sign_ins.throttle;
    throttle.begin(&who, core.clock.now_ms()).map_err(too_many)?;
    let taken = async {
        let mut tx = core.store.write().await?;
        let taken = take(core, &mut tx, &member, code).await?;
        Ok((tx, taken))
    };
    match taken.await {
        Ok((tx, Some(_))) => {
            throttle.clear(&who);
            Ok((tx, member))
        }
        Ok((_, None)) => Err(refused_code()),
        Err(error) => {
            throttle.forgive(&who);
            Err(error)
        }
    }
}

/// The factor that a member's row names.
async fn of(db: &mut impl Handle, member: &Member) -> Result<SecondFactor> {
    let factor = store::second_factors::get(db, &member.second_factor).await?;
    factor.filter(|factor| factor.member_id == member.id).ok_or_else(|| gone(member))
}

fn opened(core: &Core, factor: &SecondFactor) -> Result<TotpSecret> {
    let opened = core.store.keyring().open_bytes(&place(&factor.member_id), &factor.sealed);
    let opened = opened.map_err(|error| {
        Error::new(Code::Damaged, "the second factor’s stored secret cannot be opened, so nobody signs in with it")
            .with_cause(error)
    })?;
    TotpSecret::from_bytes(&opened)
        .ok_or_else(|| Error::new(Code::Internal, "a stored second factor has another length"))
}

/// The row is gone although the member's says that it is there: nobody signs in without it.
fn gone(member: &Member) -> Error {
    Error::new(
        Code::Damaged,
        format!(
            "the second factor of {} was deleted in the database by something other than Keyward, so they cannot sign \
             in; restore the database from a backup, or run keyward recover on the machine",
            member.name
        ),
    )
}
