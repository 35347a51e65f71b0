//! New model, and Edit.

use askama::Template;
use axum::extract::State as AxumState;
use llm::Kind;
use serde::Deserialize;

use super::{
    done,
    keys::{self, KeyRows, Typed},
    provider::value_again,
};
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        conflict::{self, Conflict, ConflictField},
        damaged::{self, Damaged},
        forms::{self, Form, Id, Refused},
        list::{ListParams, Params},
        page,
        parts::{Choice, Field, ValueAgain},
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        general_keys,
        models::{self, Edit, NewModel},
        prices::{self, Price},
        provider_cards,
    },
    error::Code,
};

/// `GET /catalog/models/new?provider_id=` and `GET /catalog/models/{id}/edit`; saved by `POST` to the same URL: `name`, `provider_id`,
/// `upstream_model` ('' = the name), `general_key_id` ('' = the provider's), `weight`, further keys as `general_key_id_2`,
/// `weight_2` and so on, `general_key_value` where `value_again` is set,
/// and `nonce` (New) or `version` (Edit).
#[derive(Clone, Debug, Default, Template)]
#[template(path = "model_form.html")]
pub struct ModelFormPage {
    /// Around it.
    pub shell: Shell,
    /// The model that is edited; `None` = New.
    pub id: Option<String>,
    /// Its name as saved, for the title of Edit.
    pub saved_name: String,
    /// Nothing was refused yet: New starts in its first field, a refused form in the first refused one.
    pub fresh: bool,
    /// Name
    pub name: Field,
    /// Providers to choose from.
    pub providers: Vec<Choice>,
    /// Why the provider was refused.
    pub provider_error: Option<String>,
    /// The provider's name for it.
    pub upstream_model: Field,
    /// What a million tokens sent cost.
    pub input_price: Field,
    /// What a million tokens answered cost.
    pub output_price: Field,
    /// General keys to choose from.
    pub keys: KeyRows,
    /// Why the key was refused.
    pub key_error: Option<String>,
    /// Set after `origin_not_bound`.
    pub value_again: Option<ValueAgain>,
    /// Edit: the version read.
    pub version: String,
    /// New: the idempotency key.
    pub nonce: String,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    provider_id: String,
    upstream_model: String,
    input_price: String,
    output_price: String,
    general_key_value: String,
    nonce: String,
    version: String,
    /// Keys.
    #[serde(flatten)]
    more: Typed,
}

/// `GET /catalog/models/new?provider_id=`
pub async fn new(AxumState(state): AxumState<State>, session: Session, Params(params): Params<ListParams>) -> Answer {
    let nonce = forms::nonce(&state.core)?;
    let fields = Fields { provider_id: params.provider_id, nonce, ..Fields::default() };
    show(&state, &session, None, fields, Refused::nothing()).await
}

/// `POST /catalog/models/new`
pub async fn create(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let mut fields = form.fields;
    if fields.provider_id.is_empty() {
        return show(&state, &session, None, fields, Refused::field("provider_id", "must be chosen")).await;
    }
    let linked = match keys::chosen(&fields.more) {
        Ok(chosen) => chosen,
        Err(refused) => return show(&state, &session, None, fields, refused).await,
    };
    let price = match prices(&fields) {
        Ok((input_micros, output_micros)) => Price { input_micros, output_micros },
        Err(refused) => return show(&state, &session, None, fields, refused).await,
    };
    let new = NewModel {
        name: fields.name.clone(),
        provider_id: fields.provider_id.clone(),
        upstream_model: forms::typed(&fields.upstream_model),
        keys: linked,
        price,
        general_key_value: forms::typed(&fields.general_key_value),
    };
    match models::create(&state.core, session.actor(), new, Some(&once)).await {
        Ok(_) => Ok(done(Flash::ModelCreated)),
        Err(error) => {
            if error.code == Code::IdempotencyMismatch {
                fields.nonce = forms::nonce(&state.core)?;
            }
            show(&state, &session, None, fields, Refused::by(&session, error)?).await
        }
    }
}

/// `GET /catalog/models/{id}/edit`
pub async fn edit(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let standing = models::get_standing(&state.core, &id).await?;
    if standing.is_damaged {
        return damaged::show(&session, Damaged::Model, &id, &standing.row.name, "");
    }
    let view = models::get(&state.core, &id).await?;
    let model = view.model;
    let price = Price::of_column(&model.prices);
    let fields = Fields {
        input_price: shown(price.input_micros),
        output_price: shown(price.output_micros),
        name: model.name,
        provider_id: model.provider_id,
        upstream_model: model.upstream_model,
        version: model.version.to_string(),
        more: keys::typed(&view.keys),
        ..Fields::default()
    };
    show(&state, &session, Some(&id), fields, Refused::nothing()).await
}

/// `POST /catalog/models/{id}/edit`
pub async fn save(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = forms::version(&fields.version)?;
    let linked = models::get(&state.core, &id).await?.keys;
    let keys = match keys::changed(&fields.more, &linked) {
        Ok(keys) => keys,
        Err(refused) => return show(&state, &session, Some(&id), fields, refused).await,
    };
    let (input_micros, output_micros) = match prices(&fields) {
        Ok(prices) => prices,
        Err(refused) => return show(&state, &session, Some(&id), fields, refused).await,
    };
    let edit = Edit {
        name: Some(fields.name.clone()),
        provider_id: Some(fields.provider_id.clone()),
        upstream_model: Some(forms::typed(&fields.upstream_model)),
        keys,
        input_micros: Some(input_micros),
        output_micros: Some(output_micros),
        general_key_value: forms::typed(&fields.general_key_value),
    };
    match models::edit(&state.core, session.actor(), &id, Some(version), edit).await {
        Ok(_) => Ok(done(Flash::ModelSaved)),
        Err(error) if error.code == Code::VersionMismatch => show_conflict(&state, &session, &id, &fields).await,
        Err(error) => show(&state, &session, Some(&id), fields, Refused::by(&session, error)?).await,
    }
}

/// The prices that were typed, in micros; empty where none is known.
fn prices(fields: &Fields) -> Result<(Option<i64>, Option<i64>), Refused> {
    let read = |text: &str, field: &'static str| match text.trim() {
        "" => Ok(None),
        text => prices::parse_decimal(text).map(Some).ok_or_else(|| {
            Refused::field(field, "is not a price: write it like 2.50, with a point and up to six decimals")
        }),
    };
    Ok((read(&fields.input_price, "input_price_micros")?, read(&fields.output_price, "output_price_micros")?))
}

fn shown(micros: Option<i64>) -> String {
    micros.map(prices::decimal).unwrap_or_default()
}

async fn show(state: &State, session: &Session, id: Option<&str>, fields: Fields, mut refused: Refused) -> Answer {
    let saved_name = match id {
        Some(id) => models::get(&state.core, id).await?.model.name,
        None => String::new(),
    };
    let keys = general_keys::all(&state.core).await?;
    let mut providers = provider_cards::choices(&state.core).await?;
    // A service has no models.
    providers.retain(|(provider, _)| provider.kind != Kind::Service.as_str());
    let where_to = providers.iter().find(|(provider, _)| provider.id == fields.provider_id);
    let where_to = where_to.map(|(provider, _)| provider.base_url.clone()).unwrap_or_default();
    let shown = ModelFormPage {
        shell: session.shell(Nav::Providers),
        id: id.map(str::to_owned),
        saved_name,
        fresh: refused.is_nothing(),
        name: Field::new(fields.name, refused.take("name")),
        providers: providers
            .into_iter()
            .map(|(provider, _)| Choice {
                selected: provider.id == fields.provider_id,
                value: provider.id,
                label: provider.name,
            })
            .collect(),
        provider_error: refused.take("provider_id"),
        upstream_model: Field::new(fields.upstream_model, refused.take("upstream_model")),
        input_price: Field::new(fields.input_price, refused.take("input_price_micros")),
        output_price: Field::new(fields.output_price, refused.take("output_price_micros")),
        value_again: value_again(&mut refused, &keys, keys::first(&fields.more), &where_to),
        keys: KeyRows::new(&fields.more, &keys, &mut refused, state.core.clock.now_ms()),
        key_error: refused.take("general_key_id"),
        version: fields.version,
        nonce: fields.nonce,
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

async fn show_conflict(state: &State, session: &Session, id: &str, fields: &Fields) -> Answer {
    let view = models::get(&state.core, id).await?;
    let keys = general_keys::all(&state.core).await?;
    let providers = provider_cards::choices(&state.core).await?;
    let more = fields.more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let more = more.filter(|(name, _)| keys::is_ours(name));
    let saved_keys = keys::words(&keys::typed(&view.keys), &keys);
    let provider_name =
        |id: &str| providers.iter().find(|(row, _)| row.id == id).map_or("", |(row, _)| row.name.as_str());
    let model = &view.model;
    let price = Price::of_column(&model.prices);
    let conflict = Conflict {
        kind: "model",
        id,
        name: &model.name,
        version: model.version,
        saved_at: model.updated_at,
        edit_href: format!("/catalog/models/{id}/edit"),
        nav: Nav::Providers,
        fields: vec![
            ConflictField::new("Name", &model.name, &fields.name),
            ConflictField::new("Provider", provider_name(&model.provider_id), provider_name(&fields.provider_id)),
            ConflictField::new("Upstream model", &model.upstream_model, &fields.upstream_model),
            ConflictField::new("Input price", &shown(price.input_micros), fields.input_price.trim()),
            ConflictField::new("Output price", &shown(price.output_micros), fields.output_price.trim()),
            ConflictField::new("General keys", &saved_keys, &keys::words(&fields.more, &keys)),
        ],
        typed: [
            ("name", fields.name.as_str()),
            ("provider_id", fields.provider_id.as_str()),
            ("upstream_model", fields.upstream_model.as_str()),
            ("input_price", fields.input_price.as_str()),
            ("output_price", fields.output_price.as_str()),
        ]
        .into_iter()
        .chain(more)
        .collect(),
    };
    conflict::show(state, session, conflict).await
}
