//! Edit of a webhook. Its secret stays, and its URL, of which only the host is shown, is typed anew or stays.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::State as AxumState,
    response::{IntoResponse, Redirect},
};

use super::{BOX, EventBox, Fields, PAGE, events_in_words};
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        conflict::{self, Conflict, ConflictField},
        forms::{self, Form, Id, Refused},
        page,
        parts::Field,
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::webhooks::{self, Edit, origin_of},
    error::Code,
};

/// `GET /settings/webhooks/{id}/edit`; saved by `POST` to the same: `name`, `url` ('' = it stays), an `event.TYPE` for each
/// that is ticked, `version`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "webhook_edit.html")]
pub struct WebhookEditPage {
    /// Around it.
    pub shell: Shell,
    /// `wh_…`
    pub id: String,
    /// Its name as saved, for the title.
    pub saved_name: String,
    /// Scheme and host of its URL as saved.
    pub origin: String,
    /// Name
    pub name: Field,
    /// URL, where another one was typed.
    pub url: Field,
    /// The events to choose from.
    pub events: Vec<EventBox>,
    /// Why they were refused.
    pub events_error: Option<String>,
    /// The version read.
    pub version: String,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// `GET /settings/webhooks/{id}/edit`
pub async fn form(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let webhook = webhooks::get(&state.core, &id).await?;
    let ticked = webhook.events.split(',').filter(|event| !event.is_empty());
    let others: BTreeMap<_, _> = ticked.map(|event| (format!("{BOX}{event}"), String::new())).collect();
    let fields = Fields { name: webhook.name, version: webhook.version.to_string(), others, ..Fields::default() };
    show(&state, &session, &id, fields, Refused::nothing()).await
}

/// `POST /settings/webhooks/{id}/edit`
pub async fn save(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = Some(forms::version(&fields.version)?);
    let edit = Edit { name: Some(fields.name.clone()), url: forms::typed(&fields.url), events: Some(fields.events()) };
    match webhooks::edit(&state.core, session.actor(), &id, version, edit).await {
        Ok(_) => Ok(Redirect::to(&format!("{PAGE}?done={}", Flash::WebhookSaved.code())).into_response()),
        Err(error) if error.code == Code::VersionMismatch => show_conflict(&state, &session, &id, &fields).await,
        Err(error) => show(&state, &session, &id, fields, Refused::by(&session, error)?).await,
    }
}

async fn show(state: &State, session: &Session, id: &str, fields: Fields, mut refused: Refused) -> Answer {
    let webhook = webhooks::get(&state.core, id).await?;
    let shown = WebhookEditPage {
        shell: session.shell(Nav::Settings),
        id: id.to_owned(),
        origin: origin_of(&webhook.url).to_owned(),
        saved_name: webhook.name,
        events: EventBox::of(&fields.events()),
        events_error: refused.take("events"),
        name: Field::new(fields.name, refused.take("name")),
        url: Field::new(fields.url, refused.take("url")),
        version: fields.version,
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

async fn show_conflict(state: &State, session: &Session, id: &str, fields: &Fields) -> Answer {
    let webhook = webhooks::get(&state.core, id).await?;
    let origin = origin_of(&webhook.url);
    let url = if fields.url.trim().is_empty() { origin } else { &fields.url };
    let ticked = fields.others.iter().filter(|(name, _)| name.starts_with(BOX));
    let typed_events = events_in_words(&fields.events().join(","));
    let conflict = Conflict {
        kind: "webhook",
        id,
        name: &webhook.name,
        version: webhook.version,
        saved_at: webhook.updated_at,
        edit_href: format!("{PAGE}/{id}/edit"),
        nav: Nav::Settings,
        fields: vec![
            ConflictField::new("Name", &webhook.name, &fields.name),
            ConflictField::new("URL", origin, url),
            ConflictField::new("Events", &events_in_words(&webhook.events), &typed_events),
        ],
        typed: [("name", fields.name.as_str()), ("url", fields.url.as_str())]
            .into_iter()
            .chain(ticked.map(|(name, value)| (name.as_str(), value.as_str())))
            .collect(),
    };
    conflict::show(state, session, conflict).await
}
