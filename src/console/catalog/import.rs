//! Importing a provider's models: those it says it has, to choose from.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

use super::keys::Typed;
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        forms::{Form, Id},
        page,
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        model_import::{self, Imported, Offered},
        providers,
    },
    error::Code,
};

/// `GET /catalog/providers/{id}/import`; `POST` to the same URL: `model_N` for each that was chosen.
#[derive(Clone, Debug, Template)]
#[template(path = "import_models.html")]
pub struct ImportPage {
    /// Around it.
    pub shell: Shell,
    /// `pr_…`
    pub id: String,
    /// The provider's name.
    pub name: String,
    /// What can be chosen.
    pub offered: Vec<OfferedRow>,
    /// How many of them are models already.
    pub known: usize,
    /// Why there is no list: the provider's own words.
    pub problem: Option<String>,
    /// After an import: how many were made, and which were not, and why.
    pub done: Option<(usize, Vec<(String, String)>)>,
}

/// A model that the provider has.
#[derive(Clone, Debug)]
pub struct OfferedRow {
    /// The provider's name for it.
    pub name: String,
    /// The name of the model it is already.
    pub known_as: Option<String>,
    /// Why it cannot be one under that name.
    pub refused: Option<String>,
}

/// What was chosen.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    #[serde(flatten)]
    chosen: Typed,
}

/// `GET /catalog/providers/{id}/import`
pub async fn ask(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    show(&state, &session, &id, StatusCode::OK, None).await
}

/// `POST /catalog/providers/{id}/import`
pub async fn import(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let chosen = form.fields.chosen.into_iter().filter(|(name, _)| name.starts_with("model_"));
    let names: Vec<String> = chosen.map(|(_, model)| model).collect();
    if names.is_empty() {
        return show(&state, &session, &id, StatusCode::UNPROCESSABLE_ENTITY, None).await;
    }
    let Imported { made, skipped } = model_import::import(&state.core, session.actor(), &id, names).await?;
    if skipped.is_empty() {
        let done = format!("/catalog?provider_id={id}&done={}", Flash::ModelsImported.code());
        return Ok(Redirect::to(&done).into_response());
    }
    show(&state, &session, &id, StatusCode::OK, Some((made.len(), skipped))).await
}

async fn show(
    state: &State,
    session: &Session,
    id: &str,
    status: StatusCode,
    done: Option<(usize, Vec<(String, String)>)>,
) -> Answer {
    let provider = providers::get(&state.core, id).await?.provider;
    let nothing_chosen = status == StatusCode::UNPROCESSABLE_ENTITY;
    let (offered, problem) = match model_import::offered(&state.core, id).await {
        Ok(offered) => (offered, None),
        Err(error)
            if matches!(
                error.code,
                Code::UpstreamUnreachable | Code::UnsupportedWireFormat | Code::NoGeneralKey | Code::OriginNotBound
            ) =>
        {
            (Vec::new(), Some(error.detail))
        }
        Err(error) => return Err(error.into()),
    };
    let problem = problem.or_else(|| nothing_chosen.then(|| String::from("Choose at least one model.")));
    let row = |one: Offered| OfferedRow {
        name: one.upstream_model,
        known_as: one.model.map(|(_, name)| name),
        refused: one.refused,
    };
    let offered: Vec<_> = offered.into_iter().map(row).collect();
    let shown = ImportPage {
        shell: session.shell(Nav::Providers),
        id: provider.id,
        name: provider.name,
        known: offered.iter().filter(|row| row.known_as.is_some()).count(),
        offered,
        problem,
        done,
    };
    page(status, &shown)
}
