//! New API Key, and Edit.

use askama::Template;
use axum::{
    extract::State as AxumState,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

use super::GeneralKeyRow;
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        conflict::{self, Conflict, ConflictField},
        damaged::{self, Damaged},
        failure::Failure,
        forms::{self, Form, Id, Refused},
        page,
        parts::{Choice, Field, LinkKind},
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        access::check,
        general_keys::{self, Edit},
        idempotency::Outcome,
        links::KeyShare,
        provider_cards, providers,
        roles::Permission,
    },
    error::{Code, Error, Result},
};

/// `GET /keys/general/new` and `GET /keys/general/{id}/edit`; saved by `POST` to the same URL: `name`, `value`, `provider_id`
/// ('' = no link, or no further one), and `nonce` (New) or `version` (Edit).
///
/// 'Test key' posts the same form to `/keys/general/test` (New) or `/keys/general/{id}/test` (Edit; an empty `value` = the
/// stored one), which answers [`TestResultPage`]; the script shows it in place, without it it opens in a new tab, so that the
/// value typed is not lost.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "general_key_form.html")]
pub struct GeneralKeyFormPage {
    /// Around it.
    pub shell: Shell,
    /// The key that is edited; `None` = New.
    pub key: Option<GeneralKeyRow>,
    /// Nothing was refused yet: New starts in its first field, a refused form in the first refused one.
    pub fresh: bool,
    /// API Key Name
    pub name: Field,
    /// Why API Key Value was refused. The value itself is never sent back.
    pub value_error: Option<String>,
    /// Providers to link to.
    pub providers: Vec<Choice>,
    /// Why the link was refused.
    pub provider_error: Option<String>,
    /// Edit: the version read.
    pub version: String,
    /// New: the idempotency key.
    pub nonce: String,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

impl GeneralKeyFormPage {
    /// Whether there is a provider to test the key at.
    fn is_testable(&self) -> bool {
        !self.providers.is_empty() || self.key.as_ref().is_some_and(|key| !key.links.is_empty())
    }
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    value: String,
    provider_id: String,
    nonce: String,
    version: String,
}

/// `GET /keys/general/new`
pub async fn new(AxumState(state): AxumState<State>, session: Session) -> Answer {
    let fields = Fields { nonce: forms::nonce(&state.core)?, ..Fields::default() };
    show_new(&state, &session, fields, None).await
}

/// `POST /keys/general/new`
pub async fn create(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let mut fields = form.fields;
    let (name, value) = (fields.name.as_str(), fields.value.clone());
    let id = match general_keys::create(&state.core, session.actor(), name, value, Some(&once)).await {
        Ok(Outcome::Done(view)) => view.key.id,
        Ok(Outcome::Replay(id)) => id,
        Err(error) => {
            if error.code == Code::IdempotencyMismatch {
                fields.nonce = forms::nonce(&state.core)?;
            }
            return show_new(&state, &session, fields, Some(Refused::by(&session, error)?)).await;
        }
    };
    let done = Flash::GeneralKeyCreated.code();
    linked_or_told(&state, &session, &id, fields, done).await
}

/// `GET /keys/general/{id}/edit`
pub async fn edit(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    show_edit(&state, &session, &id, None).await
}

/// `POST /keys/general/{id}/edit`
pub async fn save(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = forms::version(&fields.version)?;
    let edit = Edit { name: Some(fields.name.clone()), value: forms::typed(&fields.value) };
    match general_keys::edit(&state.core, session.actor(), &id, Some(version), edit).await {
        Ok(_) => linked_or_told(&state, &session, &id, fields, Flash::GeneralKeySaved.code()).await,
        Err(error) if error.code == Code::VersionMismatch => show_conflict(&state, &session, &id, &fields).await,
        Err(error) => show_edit(&state, &session, &id, Some((fields, Refused::by(&session, error)?))).await,
    }
}

/// The key is saved; links it to the chosen provider, and says so where that fails.
async fn linked_or_told(state: &State, session: &Session, id: &str, fields: Fields, done: &str) -> Answer {
    let saved = Redirect::to(&format!("{}?done={done}", super::LIST)).into_response();
    if fields.provider_id.is_empty() {
        return Ok(saved);
    }
    let Err(error) = link(state, session, id, &fields).await else { return Ok(saved) };
    let mut refused = Refused::by(session, error)?;
    let why = match &refused.not_bound {
        Some((_, origin)) => format!("Its value was not saved for {origin}: enter it again above to link it there."),
        None => refused.rest().unwrap_or_default(),
    };
    let version = general_keys::get(&state.core, id).await?.key.version.to_string();
    let whole =
        Refused::whole(refused.status, format!("The key is saved, but it is not linked to the provider. {why}"));
    show_edit(state, session, id, Some((Fields { version, ..fields }, whole))).await
}

async fn link(state: &State, session: &Session, id: &str, fields: &Fields) -> Result<()> {
    let to_key = |general_key_value: Option<String>| providers::Edit {
        keys: Some(vec![KeyShare::whole(id.to_owned())]),
        general_key_value,
        ..providers::Edit::default()
    };
    let (core, actor, provider_id) = (&state.core, session.actor(), fields.provider_id.as_str());
    check(core, actor, Permission::WriteProviders, Some(provider_id)).await?;
    let first = providers::edit(core, actor, provider_id, None, to_key(None)).await;
    match (first, forms::typed(&fields.value)) {
        // The value was just typed, so it may be saved for this place as well.
        (Err(error), Some(value)) if error.code == Code::OriginNotBound => {
            providers::edit(core, actor, provider_id, None, to_key(Some(value))).await.map(|_| ())
        }
        (Err(error), _) if error.code == Code::NotFound => {
            Err(Error::field("provider_id", "was deleted meanwhile; choose another one"))
        }
        (first, _) => first.map(|_| ()),
    }
}

async fn show_new(state: &State, session: &Session, fields: Fields, refused: Option<Refused>) -> Answer {
    let mut refused = refused.unwrap_or_else(Refused::nothing);
    let shown = GeneralKeyFormPage {
        shell: session.shell(Nav::Keys),
        key: None,
        fresh: refused.is_nothing(),
        name: Field::new(fields.name, refused.take("name")),
        value_error: refused.take("value"),
        providers: provider_choices(state, session, None, &fields.provider_id).await?,
        provider_error: refused.take("provider_id"),
        version: String::new(),
        nonce: fields.nonce,
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

async fn show_edit(state: &State, session: &Session, id: &str, typed: Option<(Fields, Refused)>) -> Answer {
    let standing = general_keys::get_standing(&state.core, id).await?;
    let row = GeneralKeyRow::new(&standing, state.core.clock.now_ms());
    if standing.is_damaged {
        return damaged::show(session, Damaged::GeneralKey, &row.id, &row.name, &row.mask);
    }
    let view = standing.row;
    let (fields, mut refused) = typed.unwrap_or_else(|| {
        let version = view.key.version.to_string();
        (Fields { name: view.key.name.clone(), version, ..Fields::default() }, Refused::nothing())
    });
    let shown = GeneralKeyFormPage {
        shell: session.shell(Nav::Keys),
        key: Some(row),
        fresh: refused.is_nothing(),
        name: Field::new(fields.name, refused.take("name")),
        value_error: refused.take("value"),
        providers: provider_choices(state, session, Some(id), &fields.provider_id).await?,
        provider_error: refused.take("provider_id"),
        version: fields.version,
        nonce: String::new(),
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

/// The providers that a key may be linked to, each with the keys it would be linked to no longer.
async fn provider_choices(
    state: &State,
    session: &Session,
    key: Option<&str>,
    selected: &str,
) -> Result<Vec<Choice>, Failure> {
    let mut choices = Vec::new();
    if !session.actor().authority.may(Permission::WriteProviders) {
        return Ok(choices);
    }
    for (provider, linked) in provider_cards::choices(&state.core).await? {
        if linked.iter().any(|linked| Some(linked.id.as_str()) == key) {
            continue;
        }
        let names: Vec<_> = linked.iter().map(|linked| linked.name.as_str()).collect();
        let label = match names.is_empty() {
            true => provider.name,
            false => format!("{} (instead of {})", provider.name, names.join(", ")),
        };
        choices.push(Choice { selected: provider.id == selected, value: provider.id, label });
    }
    Ok(choices)
}

async fn show_conflict(state: &State, session: &Session, id: &str, fields: &Fields) -> Answer {
    let key = general_keys::get(&state.core, id).await?.key;
    let conflict = Conflict {
        kind: "general key",
        id,
        name: &key.name,
        version: key.version,
        saved_at: key.updated_at,
        edit_href: format!("/keys/general/{id}/edit"),
        nav: Nav::Keys,
        fields: vec![
            ConflictField::new("API Key Name", &key.name, &fields.name),
            ConflictField::secret("API Key Value", &key.masked_value, &fields.value),
        ],
        typed: vec![("name", &fields.name), ("value", ""), ("provider_id", &fields.provider_id)],
    };
    conflict::show(state, session, conflict).await
}
