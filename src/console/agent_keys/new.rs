//! Create API Key → Agent API Key, and the one time its secret is seen.

use askama::Template;
use axum::{extract::State as AxumState, http::StatusCode, response::Response};
use serde::Deserialize;

use super::{
    edit::words,
    limits::{LimitFields, Typed},
    max_days,
};
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
        agent_key_defaults,
        agent_key_new::{self, Created, NewKey},
        agent_keys,
        agent_secrets::{self, SecretStatus},
        clock::DAY_MS,
        idempotency::Outcome,
        models,
        paging::ListQuery,
    },
    error::Code,
};

/// `GET /keys/agent/new`. `POST /keys/agent/new`: `name`, `expires_in_days` ('' = the longest), those of [`Typed`], `nonce`; answers
/// [`ShowOncePage`], and for a nonce it knows [`AlreadyShownPage`].
#[derive(Clone, Debug, Default, Template)]
#[template(path = "agent_key_new.html")]
pub struct AgentKeyNewPage {
    /// Around it.
    pub shell: Shell,
    /// Nothing was refused yet: New starts in its first field, a refused form in the first refused one.
    pub fresh: bool,
    /// API Key Name
    pub name: Field,
    /// Days until it expires.
    pub expires_in_days: Field,
    /// Description
    pub description: Field,
    /// Tags
    pub tags: Field,
    /// Its limits.
    pub limits: LimitFields,
    /// The most days allowed.
    pub max_days: u32,
    /// When a key made now ends with `expires_in_days` as shown (the longest, when empty).
    pub expires: Moment,
    /// The idempotency key.
    pub nonce: String,
    /// There is a model to call.
    pub has_model: bool,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// The answer, `no-store`, to the `POST /keys/agent/new` that made the key: the one time its secret is seen.
#[derive(Clone, Template)]
#[template(path = "show_once.html")]
pub struct ShowOncePage {
    /// Around it.
    pub shell: Shell,
    /// `ak_…`
    pub id: String,
    /// The new key's name.
    pub name: String,
    /// The secret, `kw_…`.
    pub secret: String,
    /// When it ends.
    pub expires: Moment,
    /// Of a key that was rotated: when its old secret ends; `None` within = it ended at once.
    pub rotated: Option<Option<Moment>>,
    /// The public URL, without a slash at the end: `https://keys.example.com`.
    pub base_url: String,
    /// A model this key may use, for the snippets; `None` = none exists yet.
    pub model: Option<String>,
}

impl ShowOncePage {
    /// The model's name inside double quotes, as JSON, Python and TypeScript all read it. Names hold no control characters.
    fn quoted_model(&self) -> String {
        self.model.as_deref().unwrap_or("YOUR_MODEL").replace('\\', "\\\\").replace('"', "\\\"")
    }

    /// The same inside a shell's single quotes.
    fn shell_model(&self) -> String {
        self.quoted_model().replace('\'', r"'\''")
    }
}

/// The answer to a reload of [`ShowOncePage`], or to its form posted twice.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "already_shown.html")]
pub struct AlreadyShownPage {
    /// Around it.
    pub shell: Shell,
    /// `ak_…`
    pub id: String,
    /// The key's name.
    pub name: String,
    /// Its mask.
    pub mask: String,
}

/// `GET /keys/agent/{id}/used`: whether the first call came. The script asks for it from [`ShowOncePage`], and takes
/// `[data-used]` out of it.
#[derive(Clone, Debug, Template)]
#[template(path = "agent_key_used.html")]
pub struct AgentKeyUsedPage {
    /// Around it.
    pub shell: Shell,
    /// The key's name.
    pub name: String,
    /// The last use of its present secret.
    pub used: Option<Moment>,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    description: String,
    tags: String,
    expires_in_days: String,
    nonce: String,
    #[serde(flatten)]
    limits: Typed,
}

/// `GET /keys/agent/new`
pub async fn form(AxumState(state): AxumState<State>, session: Session) -> Answer {
    let fields = Fields { nonce: forms::nonce(&state.core)?, ..Fields::default() };
    show_form(&state, &session, fields, Refused::nothing()).await
}

/// `GET /keys/agent/{id}/used`
pub async fn used(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let key = agent_keys::get(&state.core, &id).await?;
    let secrets = agent_secrets::list(&state.core, &id).await?;
    let last_used = secrets.iter().find(|secret| secret.status == SecretStatus::Current).map(|now| now.last_used_at);
    let used = Moment::of_column(last_used.unwrap_or(0), state.core.clock.now_ms());
    page(StatusCode::OK, &AgentKeyUsedPage { shell: session.shell(Nav::Keys), name: key.name, used })
}

/// `POST /keys/agent/new`
pub async fn create(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let mut fields = form.fields;
    let days = match forms::typed(&fields.expires_in_days).map(|days| days.trim().parse::<i64>()) {
        None => None,
        Some(Ok(days)) => Some(days),
        Some(Err(_)) => {
            let why = format!("must be a whole number of days, from 1 to {}", max_days(&state));
            return show_form(&state, &session, fields, Refused::field("expires_in_days", &why)).await;
        }
    };
    let limits = match fields.limits.parse() {
        Ok(limits) => limits,
        Err(error) => return show_form(&state, &session, fields, Refused::of(&error)).await,
    };
    let new = NewKey {
        name: fields.name.clone(),
        expires_in_days: days,
        limits,
        description: fields.description.clone(),
        tags: words(&fields.tags),
        owner_id: None,
        issued: None,
    };
    match agent_key_new::create(&state.core, session.actor(), new, Some(&once)).await {
        Ok(Outcome::Done(created)) => show_once(&state, &session, created, None).await,
        Ok(Outcome::Replay(id)) => already_shown(&state, &session, &id).await,
        Err(error) => {
            if error.code == Code::IdempotencyMismatch {
                fields.nonce = forms::nonce(&state.core)?;
            }
            show_form(&state, &session, fields, Refused::by(&session, error)?).await
        }
    }
}

async fn show_form(state: &State, session: &Session, fields: Fields, mut refused: Refused) -> Answer {
    let now = state.core.clock.now_ms();
    let longest = state.core.agent_key_max_days;
    let days = fields.expires_in_days.trim().parse().ok().filter(|days| (1..=longest).contains(days));
    let shown = AgentKeyNewPage {
        shell: session.shell(Nav::Keys),
        fresh: refused.is_nothing(),
        name: Field::new(fields.name, refused.take("name")),
        description: Field::new(fields.description, refused.take("description")),
        tags: Field::new(fields.tags, refused.take("tags")),
        expires_in_days: Field::new(fields.expires_in_days, refused.take("expires_in_days")),
        limits: LimitFields::new(fields.limits, &agent_key_defaults::get(&state.core).await?.1, &mut refused),
        max_days: max_days(state),
        expires: Moment::new(now + days.unwrap_or(longest) * DAY_MS, now),
        nonce: fields.nonce,
        has_model: first_model(state).await?.is_some(),
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

/// Shows a new secret, this once.
pub async fn show_once(state: &State, session: &Session, created: Created, rotated: Option<Option<Moment>>) -> Answer {
    let Created { key, secret } = created;
    let shown = ShowOncePage {
        shell: session.shell(Nav::Keys),
        id: key.id,
        name: key.name,
        secret: secret.to_string(),
        expires: Moment::new(key.expires_at, state.core.clock.now_ms()),
        rotated,
        base_url: state.web.base().to_owned(),
        // A secret that was made must be seen: the page can do without the name of a model.
        model: first_model(state).await.unwrap_or_default(),
    };
    page(StatusCode::OK, &shown)
}

/// The first model, by name.
async fn first_model(state: &State) -> Result<Option<String>, Failure> {
    let first = ListQuery { limit: Some(1), ..ListQuery::default() };
    Ok(models::list(&state.core, &first).await?.items.into_iter().next().map(|view| view.model.name))
}

/// Says that a secret was shown already.
///
/// # Errors
/// A key that is gone; a storage failure.
pub async fn already_shown(state: &State, session: &Session, id: &str) -> Result<Response, Failure> {
    let key = agent_keys::get(&state.core, id).await?;
    let shell = session.shell(Nav::Keys);
    page(StatusCode::OK, &AlreadyShownPage { shell, id: key.id, name: key.name, mask: key.masked_secret })
}
