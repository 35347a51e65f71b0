//! Create a management token, the one time its secret is seen, and Edit.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

use super::LIST;
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        failure::Failure,
        forms::{self, Form, Id, Refused},
        moment::Moment,
        page,
        parts::Field,
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        clock::DAY_MS,
        idempotency::Outcome,
        management_tokens::{self, DEFAULT_DAYS, MAX_DAYS, NewToken, TokenView},
        scopes::{SCOPES, Scopes},
    },
    error::Code,
};

/// How the name of a scope's box begins.
const BOX: &str = "scope.";

/// `GET /settings/tokens/new` and `GET /settings/tokens/{id}/edit`; saved by `POST` to the same URL: `name`, a
/// `scope.NAME` for each that is ticked, and `expires_in_days` and `nonce` (Create) or `version` (Edit).
#[derive(Clone, Debug, Default, Template)]
#[template(path = "token_form.html")]
pub struct TokenFormPage {
    /// Around it.
    pub shell: Shell,
    /// The token that is edited; `None` = Create.
    pub id: Option<String>,
    /// Its name as saved, for the title of Edit.
    pub saved_name: String,
    /// Nothing was refused yet.
    pub fresh: bool,
    /// Name
    pub name: Field,
    /// The scopes to choose from.
    pub scopes: Vec<ScopeBox>,
    /// Why they were refused.
    pub scopes_error: Option<String>,
    /// Days until it expires.
    pub expires_in_days: Field,
    /// When a token made now ends.
    pub expires: Moment,
    /// Days where nothing is typed.
    pub default_days: i64,
    /// The most days.
    pub max_days: i64,
    /// Edit: the version read.
    pub version: String,
    /// Create: the idempotency key.
    pub nonce: String,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// A scope to tick.
#[derive(Clone, Debug, Default)]
pub struct ScopeBox {
    /// `agent-keys:read`
    pub name: &'static str,
    /// It is ticked.
    pub is_ticked: bool,
}

/// The answer, `no-store`, to the `POST` that made the token: the one time its secret is seen.
#[derive(Clone, Template)]
#[template(path = "token_shown.html")]
pub struct TokenShownPage {
    /// Around it.
    pub shell: Shell,
    /// `mt_…`
    pub id: String,
    /// The new token's name.
    pub name: String,
    /// Its mask.
    pub mask: String,
    /// The secret; `None` where it was shown already.
    pub secret: Option<String>,
    /// When it ends.
    pub expires: Moment,
    /// The public URL, without a slash at the end.
    pub base_url: String,
}

/// What was typed.
#[derive(Default, Deserialize)]
pub struct Fields {
    #[serde(default)]
    name: String,
    #[serde(default)]
    expires_in_days: String,
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    version: String,
    #[serde(flatten)]
    others: BTreeMap<String, String>,
}

impl Fields {
    /// The scopes that are ticked.
    fn scopes(&self) -> Vec<String> {
        self.others.keys().filter_map(|name| name.strip_prefix(BOX)).map(str::to_owned).collect()
    }
}

/// `GET /settings/tokens/new`
pub async fn new(AxumState(state): AxumState<State>, session: Session) -> Answer {
    let fields = Fields { nonce: forms::nonce(&state.core)?, ..Fields::default() };
    show(&state, &session, None, fields, Refused::nothing()).await
}

/// `POST /settings/tokens/new`
pub async fn create(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let mut fields = form.fields;
    let days = match forms::typed(&fields.expires_in_days).map(|days| days.trim().parse::<i64>()) {
        None => None,
        Some(Ok(days)) => Some(days),
        Some(Err(_)) => {
            let why = format!("must be a whole number of days, from 1 to {MAX_DAYS}");
            return show(&state, &session, None, fields, Refused::field("expires_in_days", &why)).await;
        }
    };
    let new = NewToken { name: fields.name.clone(), scopes: fields.scopes(), expires_in_days: days };
    match management_tokens::create(&state.core, session.actor(), new, Some(&once)).await {
        Ok(Outcome::Done(created)) => show_once(&state, &session, created.view, Some(created.secret.to_string())),
        Ok(Outcome::Replay(id)) => {
            let view = management_tokens::get(&state.core, &id).await?;
            show_once(&state, &session, view, None)
        }
        Err(error) => {
            if error.code == Code::IdempotencyMismatch {
                fields.nonce = forms::nonce(&state.core)?;
            }
            show(&state, &session, None, fields, Refused::by(&session, error)?).await
        }
    }
}

/// `GET /settings/tokens/{id}/edit`
pub async fn edit(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let fields = saved(&state, &id).await?;
    show(&state, &session, Some(&id), fields, Refused::nothing()).await
}

/// `POST /settings/tokens/{id}/edit`
pub async fn save(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = Some(forms::version(&fields.version)?);
    let (actor, scopes) = (session.actor(), fields.scopes());
    match management_tokens::edit(&state.core, actor, &id, version, Some(&fields.name), Some(&scopes)).await {
        Ok(_) => Ok(Redirect::to(&format!("{LIST}?done={}", Flash::TokenSaved.code())).into_response()),
        Err(error) if error.code == Code::VersionMismatch => {
            let why = "The token was changed after you had opened this page. This is how it is now.";
            let refused = Refused::whole(StatusCode::CONFLICT, why.to_owned());
            show(&state, &session, Some(&id), saved(&state, &id).await?, refused).await
        }
        Err(error) => show(&state, &session, Some(&id), fields, Refused::by(&session, error)?).await,
    }
}

async fn saved(state: &State, id: &str) -> Result<Fields, Failure> {
    let token = management_tokens::get(&state.core, id).await?.token;
    let ticked = Scopes::of_column(&token.scopes).names().map(|name| (format!("{BOX}{name}"), String::new()));
    let version = token.version.to_string();
    Ok(Fields { name: token.name, version, others: ticked.collect(), ..Fields::default() })
}

async fn show(state: &State, session: &Session, id: Option<&str>, fields: Fields, mut refused: Refused) -> Answer {
    let token = match id {
        Some(id) => Some(management_tokens::get(&state.core, id).await?.token),
        None => None,
    };
    let held = token.as_ref().map(|token| Scopes::of_column(&token.scopes)).unwrap_or_default();
    let to_give = session.actor().authority.scopes_to_give();
    let ticked = fields.scopes();
    let offered = SCOPES.into_iter().filter(|name| to_give.holds(name) || held.holds(name));
    let now = state.core.clock.now_ms();
    let days = fields.expires_in_days.trim().parse().ok().filter(|days| (1..=MAX_DAYS).contains(days));
    let shown = TokenFormPage {
        shell: session.shell(Nav::Settings),
        id: id.map(str::to_owned),
        saved_name: token.map(|token| token.name).unwrap_or_default(),
        fresh: refused.is_nothing(),
        name: Field::new(fields.name, refused.take("name")),
        scopes: offered.map(|name| ScopeBox { name, is_ticked: ticked.iter().any(|one| one == name) }).collect(),
        scopes_error: refused.take("scopes").map(|_| String::from("Choose at least one.")),
        expires_in_days: Field::new(fields.expires_in_days, refused.take("expires_in_days")),
        expires: Moment::new(now + days.unwrap_or(DEFAULT_DAYS) * DAY_MS, now),
        default_days: DEFAULT_DAYS,
        max_days: MAX_DAYS,
        version: fields.version,
        nonce: fields.nonce,
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

fn show_once(state: &State, session: &Session, view: TokenView, secret: Option<String>) -> Answer {
    let token = view.token;
    let shown = TokenShownPage {
        shell: session.shell(Nav::Settings),
        id: token.id,
        name: token.name,
        mask: token.masked_secret,
        secret,
        expires: Moment::new(token.expires_at, state.core.clock.now_ms()),
        base_url: state.web.base(),
    };
    page(StatusCode::OK, &shown)
}
