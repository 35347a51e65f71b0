//! E-mail: who is told by it, and whether they want to be.

use std::collections::HashMap;

use serde_json::json;
use store::{Handle, StoreError, members::Member, webhook_deliveries::Delivery};

use super::{
    Core,
    actor::Actor,
    audit::{Changes, record},
    delivery::{Outcome, Receiver, write_test},
    mail_text,
    roster::{self, Status, target},
    warnings::LEAKED,
};
use crate::{
    egress::{Letter, Smtp},
    error::{Code, Error, Result},
};

/// The event of a letter that somebody asked for.
pub const TEST: &str = "mail.test";
/// What stands in the row of a member who wants no warnings by e-mail.
const OFF: &str = "off";

/// What e-mail goes out by.
pub struct Mailer {
    smtp: Smtp,
    /// The URL that people reach the console under.
    console: String,
}

impl Mailer {
    /// With this mail server, and links to the console at that URL.
    pub fn new(smtp: Smtp, console: String) -> Mailer {
        Mailer { smtp, console }
    }

    /// The mail server in words: its host and port.
    pub fn words(&self) -> &str {
        self.smtp.words()
    }
}

/// Whether a member wants to be told by e-mail.
pub fn is_wanted(member: &Member) -> bool {
    member.mail_warnings != OFF
}

/// Lets members have warnings by e-mail, or no more; it is their own choice alone.
///
/// # Errors
/// A storage failure.
pub async fn choose(core: &Core, actor: &Actor, wants: bool) -> Result<()> {
    let before = roster::get(core, &actor.member_id).await?;
    if is_wanted(&before) == wants {
        return Ok(());
    }
    let now = core.clock.now_ms();
    let mail_warnings = String::from(if wants { "" } else { OFF });
    let member = Member { mail_warnings, version: before.version + 1, updated_at: now, ..before };
    let mut tx = core.store.write().await?;
    store::members::update(&mut tx, &member).await?;
    let changes = Changes::default().field("mail_warnings", !wants, wants);
    record(&mut tx, actor, now, "member.edit", target(&member), changes).await?;
    Ok(tx.commit().await?)
}

/// Whom something concerns about the key of `owner_id`: that member, or, where there is none to be reached, the owners and
/// admins. Who wants no e-mail is left out. That a secret is out concerns the owner and all who administer, whether they want warnings or not.
pub(super) async fn recipients(db: &mut impl Handle, event: &str, owner_id: &str) -> Result<Vec<Member>> {
    let owner = match store::members::get(db, owner_id).await {
        Ok(owner) => owner.filter(can_be_reached),
        Err(StoreError::Tampered { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let is_leak = event == LEAKED;
    let mut concerned = Vec::from_iter(owner);
    if is_leak || concerned.is_empty() {
        let administrators = store::members::administrators(db).await?;
        let known: Vec<String> = concerned.iter().map(|member| member.id.clone()).collect();
        concerned.extend(administrators.into_iter().filter(|member| !known.contains(&member.id)));
    }
    Ok(concerned.into_iter().filter(|member| can_be_reached(member) && (is_leak || is_wanted(member))).collect())
}

fn can_be_reached(member: &Member) -> bool {
    Status::of(member) == Status::Active && !member.email.is_empty()
}

/// Sends a letter for trial to the actor's own address, and to no other.
///
/// # Errors
/// [`Code::ValidationFailed`] without a mail server; a storage failure.
pub async fn test(core: &Core, actor: &Actor) -> Result<Delivery> {
    if core.mailer.is_none() {
        return Err(Error::new(Code::ValidationFailed, "no mail server is set; KEYWARD_SMTP_URL names one"));
    }
    let mut tx = core.store.write_aside().await?;
    let member = roster::found(&mut tx, &actor.member_id).await?;
    let message = write_test(core, &mut tx, &Receiver::Member(&member), TEST, &json!({})).await?;
    tx.commit().await?;
    Ok(message)
}

/// The addresses of those whom these messages go to by e-mail, by the members' ids.
///
/// # Errors
/// A storage failure.
pub async fn addresses(core: &Core, messages: &[Delivery]) -> Result<HashMap<String, String>> {
    let mut addresses = HashMap::new();
    let mut db = core.store.read().await?;
    for id in messages.iter().map(|message| &message.member_id).filter(|id| !id.is_empty()) {
        if !addresses.contains_key(id)
            && let Some(member) = store::members::get_standing(&mut db, id).await?
        {
            addresses.insert(id.clone(), member.row.email);
        }
    }
    Ok(addresses)
}

/// Sends a letter. The address is the one that stands in the member's row now.
pub(super) async fn post(core: &Core, delivery: &Delivery) -> Outcome {
    let Some(mailer) = &core.mailer else { return Outcome::again(0, String::from("no mail server is set")) };
    let member = match reader(core, &delivery.member_id).await {
        Ok(Some(member)) if [TEST, LEAKED].contains(&delivery.event.as_str()) || is_wanted(&member) => member,
        Ok(Some(_)) => return Outcome::never(0, String::from("the member wants no warnings by e-mail any more")),
        Ok(None) => return Outcome::never(0, String::from("there is no such member any more")),
        Err(error) => return Outcome::again(0, error.detail),
    };
    let Some((subject, text)) = mail_text::of(&delivery.event, &delivery.payload, &mailer.console) else {
        return Outcome::never(0, String::from("the message was changed outside Keyward"));
    };
    let letter =
        Letter { id: &delivery.id, written_at: delivery.created_at, to: &member.email, subject: &subject, text: &text };
    match mailer.smtp.send(letter).await {
        Ok(status) => Outcome::delivered(status),
        Err(error) if error.is_final => Outcome::never(error.status, error.words),
        Err(error) => Outcome::again(error.status, error.words),
    }
}

async fn reader(core: &Core, id: &str) -> Result<Option<Member>> {
    Ok(store::members::get(&mut core.store.read().await?, id).await?.filter(can_be_reached))
}
