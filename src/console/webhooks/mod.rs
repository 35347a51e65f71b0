//! Settings → Webhooks: who is told of what asks for attention, by e-mail as well, and what became of the messages.

use std::collections::HashMap;

pub mod edit;

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use store::{Standing, webhook_deliveries::Delivery, webhooks::Webhook};

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    forms::{self, Form, Id, Refused},
    list::{ListParams, Params},
    moment::Moment,
    page,
    parts::{Field, Rights, Things},
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::domain::{
    idempotency::Outcome,
    mail::{self, Mailer},
    webhooks::{self, NewWebhook, origin_of},
};

const PAGE: &str = "/settings/webhooks";

/// How the name of an event's box begins.
const BOX: &str = "event.";

/// `GET /settings/webhooks`. `POST` to the same: `name`, `url`, an `event.TYPE` for each that is ticked, `nonce`; answers the page with the secret in it, this once.
#[derive(Clone, Template)]
#[template(path = "webhooks.html")]
pub struct WebhooksPage {
    /// Around it.
    pub shell: Shell,
    /// The webhooks, by name.
    pub rows: Vec<WebhookRow>,
    /// The newest messages, the newest first.
    pub messages: Vec<MessageRow>,
    /// Name, as typed.
    pub name: Field,
    /// URL, as typed.
    pub url: Field,
    /// The events to choose from.
    pub events: Vec<EventBox>,
    /// Why they were refused.
    pub events_error: Option<String>,
    /// The idempotency key.
    pub nonce: String,
    /// Of the webhook that was just made: its name and its secret.
    pub made: Option<(String, String)>,
    /// The mail server that e-mail goes out by, if one is set.
    pub mail_server: Option<String>,
    /// What the member may do.
    pub rights: Rights,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// An event to tick.
#[derive(Clone, Debug, Default)]
pub struct EventBox {
    /// `agent_key.ending`
    pub name: &'static str,
    /// What it tells.
    pub words: &'static str,
    /// It is ticked.
    pub is_ticked: bool,
}

impl EventBox {
    /// Every event, of which those `ticked` are.
    fn of(ticked: &[String]) -> Vec<EventBox> {
        let of = |name| EventBox { name, words: words(name), is_ticked: ticked.iter().any(|one| one == name) };
        webhooks::events().map(of).collect()
    }
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct WebhookRow {
    /// `wh_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Scheme and host of its URL: what stands behind may be a secret of the receiver's.
    pub origin: String,
    /// The events that it wants, in words.
    pub events: String,
    /// When it was made.
    pub created: Moment,
    /// The version read.
    pub version: String,
    /// It fails its integrity check, and is told nothing.
    pub is_damaged: bool,
}

/// A message.
#[derive(Clone, Debug)]
pub struct MessageRow {
    /// The webhook's name, or a member's address.
    pub to: String,
    /// It is an e-mail.
    pub is_mail: bool,
    /// The event's type.
    pub event: String,
    /// When it was made.
    pub created: Moment,
    /// When it was delivered.
    pub delivered: Option<Moment>,
    /// When it is tried next; `None` once it was delivered or given up.
    pub next: Option<Moment>,
    /// How often it was tried.
    pub tries: i64,
    /// Why the last try failed; may be empty.
    pub detail: String,
}

impl WebhookRow {
    fn new(standing: &Standing<Webhook>, now: i64) -> WebhookRow {
        let row = &standing.row;
        WebhookRow {
            id: row.id.clone(),
            name: row.name.clone(),
            origin: origin_of(&row.url).to_owned(),
            events: events_in_words(&row.events),
            created: Moment::new(row.created_at, now),
            version: row.version.to_string(),
            is_damaged: standing.is_damaged,
        }
    }
}

impl MessageRow {
    fn new(message: Delivery, rows: &[WebhookRow], addresses: &HashMap<String, String>, now: i64) -> MessageRow {
        let is_mail = !message.member_id.is_empty();
        let to = match is_mail {
            true => addresses.get(&message.member_id),
            false => rows.iter().find(|row| row.id == message.webhook_id).map(|row| &row.name),
        };
        MessageRow {
            to: to.cloned().unwrap_or_default(),
            is_mail,
            event: message.event,
            created: Moment::new(message.created_at, now),
            delivered: Moment::of_column(message.delivered_at, now),
            next: Moment::of_column(message.next_try_at, now),
            tries: message.tries,
            detail: message.detail,
        }
    }
}

/// The types of events of a column, as people read them.
fn events_in_words(column: &str) -> String {
    if column.is_empty() { String::from("All") } else { column.split(',').map(words).collect::<Vec<_>>().join(", ") }
}

/// What an event tells.
fn words(event: &str) -> &'static str {
    match event {
        "agent_key.ending" => "Key ends soon",
        "agent_key.budget_used" => "Budget used",
        "agent_key.ended_called" => "Ended key called",
        "agent_key.leaked" => "Key leaked",
        "general_key.refused" => "General key refused",
        "webhook.test" | "mail.test" => "Test",
        _ => "Another event",
    }
}

/// What was typed.
#[derive(Default, Deserialize)]
pub struct Fields {
    #[serde(default)]
    name: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    version: String,
    #[serde(flatten)]
    others: BTreeMap<String, String>,
}

impl Fields {
    /// The events that are ticked; none for all.
    fn events(&self) -> Vec<String> {
        self.others.keys().filter_map(|name| name.strip_prefix(BOX)).map(str::to_owned).collect()
    }
}

/// `GET /settings/webhooks`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    show(&state, &session, Fields::default(), Refused::nothing(), None, &params.done).await
}

/// `POST /settings/webhooks`
pub async fn create(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let fields = form.fields;
    let new = NewWebhook { name: fields.name.clone(), url: fields.url.clone(), events: fields.events() };
    match webhooks::create(&state.core, session.actor(), new, Some(&once)).await {
        Ok(Outcome::Done(created)) => {
            let made = (created.webhook.name, created.secret.to_string());
            show(&state, &session, Fields::default(), Refused::nothing(), Some(made), "").await
        }
        Ok(Outcome::Replay(_)) => Ok(Redirect::to(PAGE).into_response()),
        Err(error) => show(&state, &session, fields, Refused::by(&session, error)?, None, "").await,
    }
}

/// `POST /settings/webhooks/{id}/test`
pub async fn test(AxumState(state): AxumState<State>, _: Session, Id(id): Id, _: Form<Fields>) -> Answer {
    webhooks::test(&state.core, &id).await?;
    Ok(Redirect::to(&format!("{PAGE}?done={}", Flash::WebhookTested.code())).into_response())
}

/// `POST /settings/mail/test`
pub async fn test_mail(AxumState(state): AxumState<State>, session: Session, _: Form<Fields>) -> Answer {
    match mail::test(&state.core, session.actor()).await {
        Ok(_) => Ok(Redirect::to(&format!("{PAGE}?done={}", Flash::MailTested.code())).into_response()),
        Err(error) => show(&state, &session, Fields::default(), Refused::by(&session, error)?, None, "").await,
    }
}

/// `POST /settings/webhooks/{id}/delete`: `version`.
pub async fn delete(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let version = forms::version(&form.fields.version)?;
    match webhooks::delete(&state.core, session.actor(), &id, Some(version)).await {
        Ok(()) => Ok(Redirect::to(&format!("{PAGE}?done={}", Flash::WebhookDeleted.code())).into_response()),
        Err(error) => show(&state, &session, Fields::default(), Refused::by(&session, error)?, None, "").await,
    }
}

async fn show(
    state: &State,
    session: &Session,
    fields: Fields,
    mut refused: Refused,
    made: Option<(String, String)>,
    done: &str,
) -> Answer {
    let now = state.core.clock.now_ms();
    let rows: Vec<_> = webhooks::all(&state.core).await?.iter().map(|row| WebhookRow::new(row, now)).collect();
    let messages = webhooks::deliveries(&state.core, "").await?;
    let addresses = mail::addresses(&state.core, &messages).await?;
    let shown = WebhooksPage {
        shell: session.shell(Nav::Settings).saying(done),
        messages: messages.into_iter().map(|message| MessageRow::new(message, &rows, &addresses, now)).collect(),
        rows,
        events: EventBox::of(&fields.events()),
        events_error: refused.take("events"),
        name: Field::new(fields.name, refused.take("name")),
        url: Field::new(fields.url, refused.take("url")),
        nonce: forms::nonce(&state.core)?,
        made,
        mail_server: state.core.mailer.as_ref().map(Mailer::words).map(str::to_owned),
        rights: session.rights(Things::Webhooks),
        error: refused.rest(),
    };
    let status = if shown.made.is_some() { StatusCode::OK } else { refused.status };
    page(status, &shown)
}
