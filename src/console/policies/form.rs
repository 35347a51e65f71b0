//! New policy, and Edit.

use askama::Template;
use axum::extract::State as AxumState;
use serde::Deserialize;

use super::{LIST, done};
use crate::{
    console::{
        Answer, State,
        agent_keys::edit::words,
        assets::ASSET_VERSION,
        conflict::{self, Conflict, ConflictField},
        damaged::{self, Damaged},
        forms::{self, Form, Id, Refused},
        page,
        parts::{Choice, Field},
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::policies::{self, MAX_CACHE_SECONDS, NewPolicy, Requirements, RoutesFrom},
    error::{Code, Result},
};

/// `GET /settings/policies/new` and `GET /settings/policies/{id}/edit`; saved by `POST` to the same URL: `name`, `tags`,
/// `models` and `routes` (a line each), `routes_from`, `cache_seconds` ('' = 0), and `nonce` (New) or `version` (Edit).
#[derive(Clone, Debug, Default, Template)]
#[template(path = "policy_form.html")]
pub struct PolicyFormPage {
    /// Around it.
    pub shell: Shell,
    /// The policy that is edited; `None` = New.
    pub id: Option<String>,
    /// Its name as saved, for the title of Edit.
    pub saved_name: String,
    /// Nothing was refused yet: New starts in its first field, a refused form in the first refused one.
    pub fresh: bool,
    /// Name
    pub name: Field,
    /// Tags
    pub tags: Field,
    /// Models
    pub models: Field,
    /// Routes
    pub routes: Field,
    /// Where the path of the call may stand.
    pub routes_from: Vec<Choice>,
    /// For how many seconds answers are kept.
    pub cache_seconds: Field,
    /// The most of them.
    pub max_seconds: u32,
    /// Edit: the version read.
    pub version: String,
    /// New: the idempotency key.
    pub nonce: String,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// What was typed. A place of the path that is not offered is no form of ours.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    name: String,
    tags: String,
    models: String,
    routes: String,
    routes_from: RoutesFrom,
    cache_seconds: String,
    nonce: String,
    version: String,
}

impl Fields {
    /// A form that holds what is asked.
    fn of(requires: &Requirements) -> Fields {
        Fields {
            tags: requires.tags.join(" "),
            models: requires.models.join("\n"),
            routes: requires.routes.join("\n"),
            routes_from: requires.routes_from,
            cache_seconds: Some(requires.cache_seconds)
                .filter(|seconds| *seconds > 0)
                .map_or_else(String::new, |s| s.to_string()),
            ..Fields::default()
        }
    }

    /// What was typed to be asked; not yet judged. Seconds that are no number are too many, and so refused with the rest.
    fn requires(&self) -> Requirements {
        let lines = |text: &str| -> Vec<String> {
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        };
        Requirements {
            models: lines(&self.models),
            tags: words(&self.tags),
            routes: lines(&self.routes),
            routes_from: self.routes_from,
            cache_seconds: match self.cache_seconds.trim() {
                "" => 0,
                text => text.parse().unwrap_or(u32::MAX),
            },
        }
    }
}

/// `GET /settings/policies/new`
pub async fn new(AxumState(state): AxumState<State>, session: Session) -> Answer {
    let fields = Fields { nonce: forms::nonce(&state.core)?, ..Fields::default() };
    show(&state, &session, None, fields, Refused::nothing()).await
}

/// `POST /settings/policies/new`
pub async fn create(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let mut fields = form.fields;
    let new = NewPolicy { name: fields.name.clone(), requires: fields.requires() };
    match policies::create(&state.core, session.actor(), new, Some(&once)).await {
        Ok(_) => Ok(done(Flash::PolicyCreated)),
        Err(error) => {
            if error.code == Code::IdempotencyMismatch {
                fields.nonce = forms::nonce(&state.core)?;
            }
            show(&state, &session, None, fields, Refused::by(&session, error)?).await
        }
    }
}

/// `GET /settings/policies/{id}/edit`
pub async fn edit(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let standing = policies::get_standing(&state.core, &id).await?;
    let policy = standing.row;
    if standing.is_damaged {
        return damaged::show(&session, Damaged::Policy, &id, &policy.name, "");
    }
    let asked = Fields::of(&Requirements::of_column(&policy.requires)?);
    let fields = Fields { name: policy.name, version: policy.version.to_string(), ..asked };
    show(&state, &session, Some(&id), fields, Refused::nothing()).await
}

/// `POST /settings/policies/{id}/edit`
pub async fn save(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = Some(forms::version(&fields.version)?);
    let requires = |_| -> Result<Requirements> { Ok(fields.requires()) };
    match policies::edit(&state.core, session.actor(), &id, version, Some(&fields.name), requires).await {
        Ok(_) => Ok(done(Flash::PolicySaved)),
        Err(error) if error.code == Code::VersionMismatch => show_conflict(&state, &session, &id, &fields).await,
        Err(error) => show(&state, &session, Some(&id), fields, Refused::by(&session, error)?).await,
    }
}

async fn show(state: &State, session: &Session, id: Option<&str>, fields: Fields, mut refused: Refused) -> Answer {
    let saved_name = match id {
        Some(id) => policies::get(&state.core, id).await?.name,
        None => String::new(),
    };
    let choice = |from: RoutesFrom| Choice {
        value: from.as_str().to_owned(),
        label: place(from).to_owned(),
        selected: from == fields.routes_from,
    };
    let shown = PolicyFormPage {
        shell: session.shell(Nav::Settings),
        id: id.map(str::to_owned),
        saved_name,
        fresh: refused.is_nothing(),
        routes_from: RoutesFrom::ALL.into_iter().map(choice).collect(),
        name: Field::new(fields.name, refused.take("name")),
        tags: Field::new(fields.tags, refused.take("requires/tags")),
        models: Field::new(fields.models, refused.take("requires/models")),
        routes: Field::new(fields.routes, refused.take("requires/routes")),
        cache_seconds: Field::new(fields.cache_seconds, refused.take("requires/cache_seconds")),
        max_seconds: MAX_CACHE_SECONDS,
        version: fields.version,
        nonce: fields.nonce,
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

/// Where the path of the call stands, as people read it.
fn place(from: RoutesFrom) -> &'static str {
    match from {
        RoutesFrom::Path => "Behind /verify in the URL (Envoy)",
        RoutesFrom::XForwardedUri => "The header X-Forwarded-Uri (Caddy, Traefik)",
        RoutesFrom::XOriginalUri => "The header X-Original-Uri (nginx)",
    }
}

async fn show_conflict(state: &State, session: &Session, id: &str, fields: &Fields) -> Answer {
    let policy = policies::get(&state.core, id).await?;
    let saved = Fields::of(&Requirements::of_column(&policy.requires)?);
    let list = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
    let seconds = |text: &str| if text.trim().is_empty() { String::from("0") } else { text.to_owned() };
    let lines = |label, saved: &str, typed: &str| ConflictField::new(label, &list(saved), &list(typed));
    let conflict = Conflict {
        kind: "policy",
        id,
        name: &policy.name,
        version: policy.version,
        saved_at: policy.updated_at,
        edit_href: format!("{LIST}/{id}/edit"),
        nav: Nav::Settings,
        fields: vec![
            ConflictField::new("Name", &policy.name, &fields.name),
            ConflictField::new("Tags", &saved.tags, &words(&fields.tags).join(" ")),
            lines("Models", &saved.models, &fields.models),
            lines("Routes", &saved.routes, &fields.routes),
            ConflictField::new("Path of the call", place(saved.routes_from), place(fields.routes_from)),
            ConflictField::new("Seconds kept", &seconds(&saved.cache_seconds), &seconds(&fields.cache_seconds)),
        ],
        typed: vec![
            ("name", fields.name.as_str()),
            ("tags", fields.tags.as_str()),
            ("models", fields.models.as_str()),
            ("routes", fields.routes.as_str()),
            ("routes_from", fields.routes_from.as_str()),
            ("cache_seconds", fields.cache_seconds.as_str()),
        ],
    };
    conflict::show(state, session, conflict).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_what_is_asked_and_asks_for_what_it_holds() {
        let asks = Requirements {
            models: vec![String::from("gpt-5"), String::from("OpenAI/o3, large")],
            tags: vec![String::from("prod"), String::from("team:a")],
            routes: vec![String::from("/v1/*"), String::from("/a,b")],
            routes_from: RoutesFrom::XOriginalUri,
            cache_seconds: 30,
        };
        assert_eq!(Fields::of(&asks).requires(), asks);
        assert_eq!(Fields::default().requires(), Requirements::default());
        assert_eq!(Fields::of(&Requirements::default()).cache_seconds, "");
        let typed =
            Fields { cache_seconds: String::from("ten"), routes: String::from(" /a \r\n\r\n/b"), ..Fields::default() };
        assert!(typed.requires().cache_seconds > MAX_CACHE_SECONDS);
        assert_eq!(typed.requires().routes, ["/a", "/b"]);
    }
}
