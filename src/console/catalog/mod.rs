//! Providers & models: the list, and deleting.

pub mod import;
mod keys;
mod limits;
pub mod model;
pub mod provider;

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use llm::Kind;
use serde::Deserialize;
use store::{Standing, models::Model};

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    failure::Failure,
    forms::{self, Form, Id, Refused},
    list::{ListParams, Pager, Params, href},
    page,
    parts::{KeyRef, LinkedKey, Rights, Things},
    session::Session,
    shell::{Flash, Nav, Shell},
    steps,
};
use crate::{
    domain::{
        models,
        prices::{self, Price},
        provider_cards::{self, WeighedKey},
        providers,
    },
    error::{Code, Error},
};

const LIST: &str = "/catalog";
/// The most models that stand under a provider where others stand as well.
const MODELS_SHOWN: usize = 20;

/// `GET /catalog?search=&cursor=`, and with a pop-up open `GET /catalog/providers/{id}/delete?…` or `GET /catalog/models/{id}/delete?…`.
#[derive(Clone, Debug, Template)]
#[template(path = "providers.html")]
pub struct ProvidersPage {
    /// Around it.
    pub shell: Shell,
    /// What is searched for, in names of providers and models; may be empty.
    pub search: String,
    /// One page of providers, each with anchor `#PROVIDER_ID`.
    pub providers: Vec<ProviderCard>,
    /// Damaged models that stand under no provider.
    pub strays: Vec<ModelRow>,
    /// Beneath them; counts providers.
    pub pager: Pager,
    /// As in [`GeneralKeysPage::list_query`].
    pub list_query: String,
    /// What the member may do.
    pub rights: Rights,
    /// The open pop-up for a provider.
    pub delete_provider: Option<DeleteProvider>,
    /// The open pop-up for a model.
    pub delete_model: Option<DeleteModel>,
}

/// A provider with its models.
#[derive(Clone, Debug, Default)]
pub struct ProviderCard {
    /// `pr_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its kind as read: 'OpenAI', 'Azure OpenAI'.
    pub kind: String,
    /// Its base URL.
    pub base_url: String,
    /// The linked general keys, the heaviest first.
    pub keys: Vec<LinkedKey>,
    /// It fails its integrity check, and is used for nothing.
    pub is_damaged: bool,
    /// A kind that may be called without a key (`ollama`, `vllm`, `openai-compatible`).
    pub key_optional: bool,
    /// Its models, or the first of them.
    pub models: Vec<ModelRow>,
    /// How many it has in all.
    pub models_total: u64,
    /// The list of all of them, where `models` is not all.
    pub more_href: Option<String>,
    /// Of a service: where agents call it. It has no models.
    pub called_at: Option<String>,
}

impl ProviderCard {
    fn new(card: provider_cards::ProviderCard, now: i64) -> ProviderCard {
        let provider_cards::ProviderCard { provider, keys, models, models_total } = card;
        let Standing { row: provider, is_damaged } = provider;
        let kind = Kind::parse(&provider.kind);
        let all = href(LIST, &[("provider_id", &provider.id)]);
        ProviderCard {
            kind: kind.map_or_else(|| provider.kind.clone(), |kind| kind.label().to_owned()),
            called_at: (kind == Some(Kind::Service)).then(|| format!("/agents/{}/", encoded(&provider.name))),
            key_optional: kind.is_some_and(|kind| !kind.needs_key()),
            keys: linked(keys, now),
            is_damaged,
            more_href: (models_total > models.len()).then_some(all),
            models_total: models_total as u64,
            models: models
                .into_iter()
                .map(|(model, keys)| ModelRow {
                    keys: linked(keys, now),
                    is_damaged: model.is_damaged,
                    ..ModelRow::from(model.row)
                })
                .collect(),
            id: provider.id,
            name: provider.name,
            base_url: provider.base_url,
        }
    }
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A model of a provider.
#[derive(Clone, Debug, Default)]
pub struct ModelRow {
    /// `mo_…`
    pub id: String,
    /// The name agents call it by.
    pub name: String,
    /// The provider's name for it.
    pub upstream_model: String,
    /// What a million tokens sent and answered cost: '2.5 / 10'; empty where nothing is known.
    pub price: String,
    /// Keys of its own, the heaviest first; none = the provider's.
    pub keys: Vec<LinkedKey>,
    /// It fails its integrity check, and is used for nothing.
    pub is_damaged: bool,
}

impl From<Model> for ModelRow {
    fn from(model: Model) -> ModelRow {
        let Price { input_micros, output_micros } = Price::of_column(&model.prices);
        let Model { id, name, upstream_model, .. } = model;
        let word = |micros: Option<i64>| micros.map_or_else(|| String::from("–"), prices::decimal);
        let price = match (input_micros, output_micros) {
            (None, None) => String::new(),
            (input, output) => format!("{} / {}", word(input), word(output)),
        };
        ModelRow { id, name, upstream_model, price, keys: Vec::new(), is_damaged: true }
    }
}

fn linked(keys: Vec<WeighedKey>, now: i64) -> Vec<LinkedKey> {
    keys.iter().map(|linked| LinkedKey { key: KeyRef::new(&linked.key, now), weight: linked.weight }).collect()
}

/// The pop-up for a provider. `POST /catalog/providers/{id}/delete`: `version`.
#[derive(Clone, Debug, Default)]
pub struct DeleteProvider {
    /// `pr_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// The version read.
    pub version: String,
    /// Names of the models that go with it.
    pub models: Vec<String>,
    /// The list, as it was.
    pub cancel_href: String,
    /// Why it was not deleted.
    pub error: Option<String>,
}

/// The pop-up for a model. `POST /catalog/models/{id}/delete`: `version`.
#[derive(Clone, Debug, Default)]
pub struct DeleteModel {
    /// `mo_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its provider's name; empty where there is none.
    pub provider_name: String,
    /// The version read.
    pub version: String,
    /// The list, as it was.
    pub cancel_href: String,
    /// Why it was not deleted.
    pub error: Option<String>,
}

/// What either pop-up sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct DeleteFields {
    version: String,
}

/// The open pop-up, if any.
#[derive(Default)]
enum PopUp {
    #[default]
    None,
    Provider(DeleteProvider),
    Model(DeleteModel),
}

/// `GET /catalog`
pub async fn list(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    show(&state, &session, &params, StatusCode::OK, PopUp::None).await
}

/// `GET /catalog/providers/{id}/delete`
pub async fn ask_delete_provider(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    Params(params): Params<ListParams>,
) -> Answer {
    let asked = provider_pop_up(&state, &id, &params).await?;
    show(&state, &session, &params, StatusCode::OK, PopUp::Provider(asked)).await
}

/// `POST /catalog/providers/{id}/delete`: the pop-up has named the models that go with it.
pub async fn delete_provider(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    form: Form<DeleteFields>,
) -> Answer {
    let version = forms::version(&form.fields.version)?;
    match providers::delete(&state.core, session.actor(), &id, Some(version), true).await {
        Ok(()) => Ok(done(Flash::ProviderDeleted)),
        Err(error) => {
            let params = ListParams::default();
            let (status, why) = refusal(&session, error)?;
            let asked = DeleteProvider { error: Some(why), ..provider_pop_up(&state, &id, &params).await? };
            show(&state, &session, &params, status, PopUp::Provider(asked)).await
        }
    }
}

/// `GET /catalog/models/{id}/delete`
pub async fn ask_delete_model(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    Params(params): Params<ListParams>,
) -> Answer {
    let asked = model_pop_up(&state, &id, &params).await?;
    show(&state, &session, &params, StatusCode::OK, PopUp::Model(asked)).await
}

/// `POST /catalog/models/{id}/delete`
pub async fn delete_model(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    form: Form<DeleteFields>,
) -> Answer {
    let version = forms::version(&form.fields.version)?;
    match models::delete(&state.core, session.actor(), &id, Some(version)).await {
        Ok(()) => Ok(done(Flash::ModelDeleted)),
        Err(error) => {
            let params = ListParams::default();
            let (status, why) = refusal(&session, error)?;
            let asked = DeleteModel { error: Some(why), ..model_pop_up(&state, &id, &params).await? };
            show(&state, &session, &params, status, PopUp::Model(asked)).await
        }
    }
}

fn refusal(session: &Session, error: Error) -> Result<(StatusCode, String), Failure> {
    if error.code == Code::VersionMismatch {
        let why = "It was changed after you had opened this. Look again, and delete it if you still want to.";
        return Ok((StatusCode::CONFLICT, why.to_owned()));
    }
    let mut refused = Refused::by(session, error)?;
    Ok((refused.status, refused.rest().unwrap_or_default()))
}

async fn provider_pop_up(state: &State, id: &str, params: &ListParams) -> Result<DeleteProvider, Failure> {
    let provider = providers::get_standing(&state.core, id).await?.row;
    let cards = provider_cards::only(&state.core, id).await?.items;
    Ok(DeleteProvider {
        id: provider.id,
        name: provider.name,
        version: provider.version.to_string(),
        models: cards.into_iter().flat_map(|card| card.models).map(|(model, _)| model.row.name).collect(),
        cancel_href: format!("{LIST}{}", params.here()),
        error: None,
    })
}

async fn model_pop_up(state: &State, id: &str, params: &ListParams) -> Result<DeleteModel, Failure> {
    let model = models::get_standing(&state.core, id).await?.row;
    let provider_name = match providers::get_standing(&state.core, &model.provider_id).await {
        Ok(provider) => provider.row.name,
        // A damaged model may name any.
        Err(error) if error.code == Code::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(DeleteModel {
        id: model.id,
        name: model.name,
        provider_name,
        version: model.version.to_string(),
        cancel_href: format!("{LIST}{}", params.here()),
        error: None,
    })
}

async fn show(state: &State, session: &Session, params: &ListParams, status: StatusCode, pop_up: PopUp) -> Answer {
    let found = if params.provider_id.is_empty() {
        provider_cards::list(&state.core, &params.query(), MODELS_SHOWN).await?
    } else {
        provider_cards::only(&state.core, &params.provider_id).await?
    };
    let pager = params.pager(LIST, &found);
    let steps = steps::left(state, session).await?;
    let (delete_provider, delete_model) = match pop_up {
        PopUp::None => (None, None),
        PopUp::Provider(asked) => (Some(asked), None),
        PopUp::Model(asked) => (None, Some(asked)),
    };
    let now = state.core.clock.now_ms();
    let shown = ProvidersPage {
        shell: session.shell(Nav::Providers).saying(&params.done).leading_to(steps::next(&steps)),
        search: params.search.clone(),
        providers: found.items.into_iter().map(|card| ProviderCard::new(card, now)).collect(),
        strays: provider_cards::strays(&state.core).await?.into_iter().map(ModelRow::from).collect(),
        pager,
        list_query: params.here(),
        rights: session.rights(Things::Catalog),
        delete_provider,
        delete_model,
    };
    page(status, &shown)
}

/// Back to the list, which says what was done.
fn done(what: Flash) -> axum::response::Response {
    Redirect::to(&format!("{LIST}?done={}", what.code())).into_response()
}
