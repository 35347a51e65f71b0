//! New provider, and Edit.

use askama::Template;
use axum::extract::State as AxumState;
use llm::Kind;
use serde::Deserialize;
use store::general_keys::GeneralKey;

use super::{
    done,
    keys::{self, KeyRows, Typed},
    limits::{self, LimitFields},
};
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        conflict::{self, Conflict, ConflictField},
        damaged::{self, Damaged},
        forms::{self, Form, Id, Refused},
        page,
        parts::{Field, ValueAgain},
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        general_keys,
        links::KeyShare,
        provider_limits::ProviderLimits,
        providers::{self, Edit, LimitsChange, NewProvider},
    },
    error::Code,
};

/// `GET /catalog/providers/new` and `GET /catalog/providers/{id}/edit`; saved by `POST` to the same URL: `name`, `kind`, `base_url`,
/// `general_key_id` ('' = none), `weight`, further keys as `general_key_id_2`, `weight_2` and so on, the limits
/// (`calls_in_flight`, `connect_seconds`, `head_seconds`, `idle_seconds`, `total_seconds`), `general_key_value` where `value_again` is set, and `nonce` (New) or `version` (Edit).
#[derive(Clone, Debug, Default, Template)]
#[template(path = "provider_form.html")]
pub struct ProviderFormPage {
    /// Around it.
    pub shell: Shell,
    /// The provider that is edited; `None` = New.
    pub id: Option<String>,
    /// Its name as saved, for the title of Edit.
    pub saved_name: String,
    /// Nothing was refused yet: New starts in its first field, a refused form in the first refused one.
    pub fresh: bool,
    /// Name
    pub name: Field,
    /// Kinds to choose from.
    pub kinds: Vec<KindChoice>,
    /// Why the kind was refused.
    pub kind_error: Option<String>,
    /// Base URL
    pub base_url: Field,
    /// The header of a service.
    pub credential_header: Field,
    /// General keys to choose from.
    pub keys: KeyRows,
    /// Why the key was refused.
    pub key_error: Option<String>,
    /// What it gets at once, and how long it may take.
    pub limits: LimitFields,
    /// Set after `origin_not_bound`.
    pub value_again: Option<ValueAgain>,
    /// Edit: the version read.
    pub version: String,
    /// New: the idempotency key.
    pub nonce: String,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// A kind in the select; its base URL is shown as the one that holds when the field is left empty.
#[derive(Clone, Debug, Default)]
pub struct KindChoice {
    /// `azure-openai`
    pub value: String,
    /// 'Azure OpenAI'
    pub label: String,
    /// The kind's one public address; `None` = must be given.
    pub base_url: Option<String>,
    /// Chosen when the page is rendered.
    pub selected: bool,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    kind: String,
    base_url: String,
    credential_header: String,
    general_key_value: String,
    nonce: String,
    version: String,
    /// Keys and limits.
    #[serde(flatten)]
    more: Typed,
}

/// `GET /catalog/providers/new`
pub async fn new(AxumState(state): AxumState<State>, session: Session) -> Answer {
    let kind = Kind::OpenAi.as_str().to_owned();
    let fields = Fields { kind, nonce: forms::nonce(&state.core)?, ..Fields::default() };
    show(&state, &session, None, fields, Refused::nothing()).await
}

/// `POST /catalog/providers/new`
pub async fn create(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let mut fields = form.fields;
    let (linked, limits) = match chosen(&fields.more) {
        Ok(chosen) => chosen,
        Err(refused) => return show(&state, &session, None, fields, refused).await,
    };
    let new = NewProvider {
        name: fields.name.clone(),
        kind: fields.kind.clone(),
        base_url: forms::typed(&fields.base_url),
        keys: linked,
        limits: limits.unwrap_or_default(),
        credential_header: header_of(&fields),
        general_key_value: forms::typed(&fields.general_key_value),
    };
    match providers::create(&state.core, session.actor(), new, Some(&once)).await {
        Ok(_) => Ok(done(Flash::ProviderCreated)),
        Err(error) => {
            if error.code == Code::IdempotencyMismatch {
                fields.nonce = forms::nonce(&state.core)?;
            }
            show(&state, &session, None, fields, Refused::by(&session, error)?).await
        }
    }
}

/// `GET /catalog/providers/{id}/edit`
pub async fn edit(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let standing = providers::get_standing(&state.core, &id).await?;
    if standing.is_damaged {
        return damaged::show(&session, Damaged::Provider, &id, &standing.row.name, "");
    }
    let view = providers::get(&state.core, &id).await?;
    let provider = view.provider;
    let mut more = keys::typed(&view.keys);
    limits::add_typed(&mut more, ProviderLimits::of_column(&provider.limits));
    let fields = Fields {
        name: provider.name,
        kind: provider.kind,
        base_url: provider.base_url,
        credential_header: provider.credential_header,
        version: provider.version.to_string(),
        more,
        ..Fields::default()
    };
    show(&state, &session, Some(&id), fields, Refused::nothing()).await
}

/// `POST /catalog/providers/{id}/edit`
pub async fn save(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = forms::version(&fields.version)?;
    let linked = providers::get(&state.core, &id).await?.keys;
    let (keys, limits) =
        match keys::changed(&fields.more, &linked).and_then(|keys| Ok((keys, limits::chosen(&fields.more)?))) {
            Ok(chosen) => chosen,
            Err(refused) => return show(&state, &session, Some(&id), fields, refused).await,
        };
    let edit = Edit {
        name: Some(fields.name.clone()),
        kind: Some(fields.kind.clone()),
        base_url: Some(forms::typed(&fields.base_url)),
        keys,
        limits: limits.map(|limits| -> LimitsChange { Box::new(move |_| limits) }),
        credential_header: Some(header_of(&fields)),
        general_key_value: forms::typed(&fields.general_key_value),
    };
    match providers::edit(&state.core, session.actor(), &id, Some(version), edit).await {
        Ok(_) => Ok(done(Flash::ProviderSaved)),
        Err(error) if error.code == Code::VersionMismatch => show_conflict(&state, &session, &id, &fields).await,
        Err(error) => show(&state, &session, Some(&id), fields, Refused::by(&session, error)?).await,
    }
}

/// The header of a service; of another kind what was typed for it counts for nothing.
fn header_of(fields: &Fields) -> Option<String> {
    forms::typed(&fields.credential_header).filter(|_| fields.kind == Kind::Service.as_str())
}

/// The keys and the limits of a form.
fn chosen(typed: &Typed) -> Result<(Vec<KeyShare>, Option<ProviderLimits>), Refused> {
    Ok((keys::chosen(typed)?, limits::chosen(typed)?))
}

async fn show(state: &State, session: &Session, id: Option<&str>, fields: Fields, mut refused: Refused) -> Answer {
    let saved_name = match id {
        Some(id) => providers::get(&state.core, id).await?.provider.name,
        None => String::new(),
    };
    let keys = general_keys::all(&state.core).await?;
    let shown = ProviderFormPage {
        shell: session.shell(Nav::Providers),
        id: id.map(str::to_owned),
        saved_name,
        fresh: refused.is_nothing(),
        name: Field::new(fields.name, refused.take("name")),
        kinds: kinds(&fields.kind),
        kind_error: refused.take("kind"),
        value_again: value_again(&mut refused, &keys, keys::first(&fields.more), &fields.base_url),
        base_url: Field::new(fields.base_url, refused.take("base_url")),
        credential_header: Field::new(fields.credential_header, refused.take("credential_header")),
        keys: KeyRows::new(&fields.more, &keys, &mut refused, state.core.clock.now_ms()),
        limits: LimitFields::new(state, &fields.more, &mut refused),
        key_error: refused.take("general_key_id"),
        version: fields.version,
        nonce: fields.nonce,
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

/// Asks for a stored key's value where it would go to a place it was not saved for, or where the one given is not it.
pub(super) fn value_again(
    refused: &mut Refused,
    keys: &[GeneralKey],
    chosen: &str,
    where_to: &str,
) -> Option<ValueAgain> {
    if let Some((key_name, origin)) = refused.not_bound.take() {
        return Some(ValueAgain { key_name, origin, error: None });
    }
    let error = refused.take("general_key_value")?;
    let key = keys.iter().find(|key| key.id == chosen);
    let key_name = key.map(|key| key.name.clone()).unwrap_or_default();
    Some(ValueAgain { key_name, origin: where_to.to_owned(), error: Some(error) })
}

fn kinds(chosen: &str) -> Vec<KindChoice> {
    let choice = |kind: Kind| KindChoice {
        value: kind.as_str().to_owned(),
        label: kind.label().to_owned(),
        base_url: kind.default_base_url().map(str::to_owned),
        selected: kind.as_str() == chosen,
    };
    Kind::every().map(choice).collect()
}

async fn show_conflict(state: &State, session: &Session, id: &str, fields: &Fields) -> Answer {
    let view = providers::get(&state.core, id).await?;
    let keys = general_keys::all(&state.core).await?;
    let label_of = |kind: &str| Kind::parse(kind).map_or("", Kind::label);
    let provider = &view.provider;
    let saved_limits = limits::words(ProviderLimits::of_column(&provider.limits));
    let typed_limits = limits::chosen(&fields.more).ok().flatten().map(limits::words).unwrap_or_default();
    let saved_keys = keys::words(&keys::typed(&view.keys), &keys);
    let more = fields.more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let more = more.filter(|(name, _)| keys::is_ours(name) || limits::is_ours(name));
    let conflict = Conflict {
        kind: "provider",
        id,
        name: &provider.name,
        version: provider.version,
        saved_at: provider.updated_at,
        edit_href: format!("/catalog/providers/{id}/edit"),
        nav: Nav::Providers,
        fields: vec![
            ConflictField::new("Name", &provider.name, &fields.name),
            ConflictField::new("Kind", label_of(&provider.kind), label_of(&fields.kind)),
            ConflictField::new("Base URL", &provider.base_url, &fields.base_url),
            ConflictField::new("Header of its key", &provider.credential_header, &fields.credential_header),
            ConflictField::new("General keys", &saved_keys, &keys::words(&fields.more, &keys)),
            ConflictField::new("Limits", &saved_limits, &typed_limits),
        ],
        typed: [
            ("name", fields.name.as_str()),
            ("kind", fields.kind.as_str()),
            ("base_url", fields.base_url.as_str()),
            ("credential_header", fields.credential_header.as_str()),
        ]
        .into_iter()
        .chain(more)
        .collect(),
    };
    conflict::show(state, session, conflict).await
}
