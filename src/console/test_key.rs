//! 'Test key', wherever it stands.

use askama::Template;
use axum::{extract::State as AxumState, http::StatusCode};
use serde::Deserialize;

use super::{
    Answer, State,
    assets::ASSET_VERSION,
    forms::{Form, Id, Refused, typed as given},
    page,
    session::Session,
    shell::{Flash, Nav, Shell},
};
use crate::{
    domain::{general_keys, key_test, models, providers},
    error::{Code, Error},
};

/// The answer to every 'Test key': `POST /keys/general/test`, `/keys/general/{id}/test`, `/catalog/providers/{id}/test`,
/// `/catalog/models/{id}/test` (the last two without fields). The script takes `#test-result` out of it.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "test_result.html")]
pub struct TestResultPage {
    /// Around it.
    pub shell: Shell,
    /// What was tested: a key's name; empty for one not saved yet.
    pub name: String,
    /// The outcome.
    pub result: TestResult,
    /// Where to go on.
    pub back_href: String,
}

/// The outcome of 'Test key', in the provider's own words.
#[derive(Clone, Debug, Default)]
pub struct TestResult {
    /// The provider accepted the key.
    pub ok: bool,
    /// The provider's HTTP status; `None` where it was not reached.
    pub status: Option<u16>,
    /// Its message: at most 300 characters, the key blotted out. May be empty.
    pub detail: String,
    /// The name of the provider that was asked.
    pub provider: String,
}

/// The fields of a general key's form that matter here.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    value: String,
    provider_id: String,
}

/// `POST /keys/general/test`
pub async fn typed(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let Fields { value, provider_id } = form.fields;
    let tested = if provider_id.is_empty() {
        Err(Error::field("provider_id", "Choose a provider under ‘Link to provider’: the key is tested there."))
    } else {
        key_test::typed(&state.core, value, &provider_id).await
    };
    show(&session, Nav::Keys, String::new(), String::from("/keys/general/new"), tested)
}

/// `POST /keys/general/{id}/test`
pub async fn stored(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let name = general_keys::get(&state.core, &id).await?.key.name;
    let provider_id = given(&form.fields.provider_id);
    let tested = match given(&form.fields.value) {
        Some(value) => key_test::typed_for(&state.core, &id, value, provider_id.as_deref()).await,
        None => key_test::stored(&state.core, &id, provider_id.as_deref()).await,
    };
    show(&session, Nav::Keys, name, format!("/keys/general/{id}/edit"), tested)
}

/// `POST /catalog/providers/{id}/test`
pub async fn of_provider(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let name = providers::get(&state.core, &id).await?.provider.name;
    let tested = key_test::of_provider(&state.core, &id).await;
    show(&session, Nav::Providers, name, format!("/catalog#{id}"), tested)
}

/// `POST /catalog/models/{id}/test`
pub async fn of_model(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let name = models::get(&state.core, &id).await?.model.name;
    let tested = key_test::of_model(&state.core, &id).await;
    show(&session, Nav::Providers, name, format!("/catalog/models/{id}/edit"), tested)
}

/// The outcome; that nothing could be tested is one as well, and the page that shows it is no failure.
fn show(
    session: &Session,
    nav: Nav,
    name: String,
    back_href: String,
    tested: Result<key_test::TestResult, Error>,
) -> Answer {
    let result = match tested {
        Ok(key_test::TestResult { ok, status, detail, provider }) => {
            // Without an answer the words are ours.
            let detail = if status.is_none() { super::forms::sentence(&detail) } else { detail };
            TestResult { ok, status, detail, provider }
        }
        Err(error) if error.code == Code::StorageUnavailable => return Err(error.into()),
        Err(error) => {
            let detail = super::forms::sentence(&error.detail);
            let mut refused = Refused::by(session, error)?;
            let why = ["value", "provider_id"].iter().find_map(|name| refused.take(name));
            TestResult { detail: why.unwrap_or(detail), ..TestResult::default() }
        }
    };
    let shown = TestResultPage { shell: session.shell(nav), name, result, back_href };
    page(StatusCode::OK, &shown)
}
