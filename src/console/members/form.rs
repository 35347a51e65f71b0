//! Invite a member, and Edit.

use askama::Template;
use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

use super::{LIST, role_choices};
use crate::{
    console::{
        Answer, State,
        assets::ASSET_VERSION,
        conflict::{self, Conflict, ConflictField},
        forms::{self, Form, Id, Refused},
        moment::Moment,
        page,
        parts::{Choice, Field},
        session::Session,
        shell::{Flash, Nav, Shell},
    },
    domain::{
        idempotency::Outcome,
        invitations::{self, Invited, Made},
        roles::Role,
        roster::{self, Edit, Status},
        second_factor,
    },
    error::Code,
};

/// `GET /members/new` and `GET /members/{id}/edit`; saved by `POST` to the same URL: `email`, `name`, `role`, and `nonce`
/// (Invite) or `version` (Edit). `POST /members/{id}/invitation` makes another link;
/// `POST /members/{id}/second-factor` removes theirs: `version`.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "member_form.html")]
pub struct MemberFormPage {
    /// Around it.
    pub shell: Shell,
    /// The member that is edited; `None` = Invite.
    pub id: Option<String>,
    /// Their name as saved, for the title of Edit.
    pub saved_name: String,
    /// Edit: they have set no password yet.
    pub is_invited: bool,
    /// Edit: they have a second factor, and are not the reader.
    pub has_second_factor: bool,
    /// Nothing was refused yet.
    pub fresh: bool,
    /// Email
    pub email: Field,
    /// Name
    pub name: Field,
    /// Roles to choose from.
    pub roles: Vec<Choice>,
    /// Why the role was refused.
    pub role_error: Option<String>,
    /// Edit: the version read.
    pub version: String,
    /// Invite: the idempotency key.
    pub nonce: String,
    /// What is wrong with the whole.
    pub error: Option<String>,
}

/// The answer, `no-store`, to what made an invitation: the one time its link is seen.
#[derive(Clone, Template)]
#[template(path = "invited.html")]
pub struct InvitedPage {
    /// Around it.
    pub shell: Shell,
    /// The invited's name.
    pub name: String,
    /// Their e-mail.
    pub email: String,
    /// The link; `None` where it was shown already.
    pub link: Option<String>,
    /// When it ends.
    pub expires: Moment,
    /// `mb_…`
    pub id: String,
}

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    email: String,
    name: String,
    role: String,
    nonce: String,
    version: String,
}

/// `GET /members/new`
pub async fn new(AxumState(state): AxumState<State>, session: Session) -> Answer {
    let role = Role::Member.as_str().to_owned();
    let fields = Fields { nonce: forms::nonce(&state.core)?, role, ..Fields::default() };
    show(&state, &session, None, fields, Refused::nothing()).await
}

/// `POST /members/new`
pub async fn create(AxumState(state): AxumState<State>, session: Session, form: Form<Fields>) -> Answer {
    let once = form.once(&state, &session, &form.fields.nonce)?;
    let mut fields = form.fields;
    let (name, role) = (forms::typed(&fields.name), Some(fields.role.clone()));
    let invited = Invited { email: fields.email.clone(), name, role };
    match invitations::create(&state.core, session.actor(), invited, Some(&once)).await {
        Ok(Outcome::Done(made)) => show_link(&state, &session, made),
        Ok(Outcome::Replay(id)) => {
            let member = roster::get(&state.core, &id).await?;
            let shell = session.shell(Nav::Members);
            let (name, email) = (member.name, member.email);
            page(StatusCode::OK, &InvitedPage { shell, name, email, link: None, expires: Moment::default(), id })
        }
        Err(error) => {
            if error.code == Code::IdempotencyMismatch {
                fields.nonce = forms::nonce(&state.core)?;
            }
            show(&state, &session, None, fields, Refused::by(&session, error)?).await
        }
    }
}

/// `POST /members/{id}/invitation`
pub async fn invite_again(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    match invitations::renew(&state.core, session.actor(), &id).await {
        Ok(made) => show_link(&state, &session, made),
        Err(error) => {
            let refused = Refused::by(&session, error)?;
            let fields = saved(&state, &id).await?;
            show(&state, &session, Some(&id), fields, refused).await
        }
    }
}

/// `POST /members/{id}/second-factor`: `version`.
pub async fn remove_second_factor(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    form: Form<Fields>,
) -> Answer {
    let version = forms::version(&form.fields.version)?;
    match second_factor::remove(&state.core, session.actor(), &id, Some(version)).await {
        Ok(()) => Ok(Redirect::to(&format!("{LIST}?done={}", Flash::SecondFactorRemoved.code())).into_response()),
        Err(error) => {
            let refused = Refused::by(&session, error)?;
            let fields = saved(&state, &id).await?;
            show(&state, &session, Some(&id), fields, refused).await
        }
    }
}

/// `GET /members/{id}/edit`
pub async fn edit(AxumState(state): AxumState<State>, session: Session, Id(id): Id) -> Answer {
    let fields = saved(&state, &id).await?;
    show(&state, &session, Some(&id), fields, Refused::nothing()).await
}

/// `POST /members/{id}/edit`
pub async fn save(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let fields = form.fields;
    let version = forms::version(&fields.version)?;
    let edit = Edit {
        email: Some(fields.email.clone()),
        name: Some(fields.name.clone()),
        // One who may not give the role that is held sends none.
        role: forms::typed(&fields.role),
    };
    match roster::edit(&state.core, session.actor(), &id, Some(version), edit).await {
        Ok(_) => Ok(Redirect::to(&format!("{LIST}?done={}", Flash::MemberSaved.code())).into_response()),
        Err(error) if error.code == Code::VersionMismatch => show_conflict(&state, &session, &id, &fields).await,
        Err(error) => show(&state, &session, Some(&id), fields, Refused::by(&session, error)?).await,
    }
}

async fn saved(state: &State, id: &str) -> Result<Fields, crate::console::failure::Failure> {
    let member = roster::get(&state.core, id).await?;
    let version = member.version.to_string();
    Ok(Fields { email: member.email, name: member.name, role: member.role, version, ..Fields::default() })
}

async fn show(state: &State, session: &Session, id: Option<&str>, fields: Fields, mut refused: Refused) -> Answer {
    let member = match id {
        Some(id) => Some(roster::get(&state.core, id).await?),
        None => None,
    };
    let shown = MemberFormPage {
        shell: session.shell(Nav::Members),
        id: id.map(str::to_owned),
        is_invited: member.as_ref().is_some_and(|member| Status::of(member) == Status::Invited),
        has_second_factor: member
            .as_ref()
            .is_some_and(|member| !member.second_factor.is_empty() && member.id != session.actor().member_id),
        saved_name: member.map(|member| member.name).unwrap_or_default(),
        fresh: refused.is_nothing(),
        email: Field::new(fields.email, refused.take("email")),
        name: Field::new(fields.name, refused.take("name")),
        roles: role_choices(session.actor(), &fields.role),
        role_error: refused.take("role"),
        version: fields.version,
        nonce: fields.nonce,
        error: refused.rest(),
    };
    page(refused.status, &shown)
}

fn show_link(state: &State, session: &Session, made: Made) -> Answer {
    let Made { member, token, expires_at } = made;
    let shown = InvitedPage {
        shell: session.shell(Nav::Members),
        id: member.id,
        name: member.name,
        email: member.email,
        link: Some(format!("{}/invitation#token={}", state.web.base(), *token)),
        expires: Moment::new(expires_at, state.core.clock.now_ms()),
    };
    page(StatusCode::OK, &shown)
}

async fn show_conflict(state: &State, session: &Session, id: &str, fields: &Fields) -> Answer {
    let member = roster::get(&state.core, id).await?;
    let conflict = Conflict {
        kind: "member",
        id,
        name: &member.name,
        version: member.version,
        saved_at: member.updated_at,
        edit_href: format!("{LIST}/{id}/edit"),
        nav: Nav::Members,
        fields: vec![
            ConflictField::new("Email", &member.email, &fields.email),
            ConflictField::new("Name", &member.name, &fields.name),
            ConflictField::new("Role", &member.role, &fields.role),
        ],
        typed: vec![("email", &fields.email), ("name", &fields.name), ("role", &fields.role)],
    };
    conflict::show(state, session, conflict).await
}
