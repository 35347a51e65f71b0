//! Removing a member: the pop-up names their agent keys, and asks what becomes of them.

use axum::{
    extract::State as AxumState,
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

use super::{LIST, show};
use crate::{
    console::{
        Answer, State,
        failure::Failure,
        forms::{self, Form, Id, Refused},
        list::{ListParams, Params},
        parts::Choice,
        session::Session,
        shell::Flash,
    },
    domain::{
        member_removal::{self, Keys},
        roster,
    },
    error::Code,
};

/// What the select says for deleting the keys; no id of a member.
const REVOKE: &str = "revoke";

/// The pop-up over the members. `POST /members/{id}/delete`: `version`; `keys` where there are any: the id of who has them
/// from now on, or `revoke`.
#[derive(Clone, Debug, Default)]
pub struct RemoveMember {
    /// `mb_…`
    pub id: String,
    /// Their name.
    pub name: String,
    /// Their e-mail.
    pub email: String,
    /// It is the reader.
    pub is_me: bool,
    /// The version read.
    pub version: String,
    /// Names of their agent keys.
    pub keys: Vec<String>,
    /// Who could have them.
    pub heirs: Vec<Choice>,
    /// What is chosen.
    pub chosen: String,
    /// Why the choice was refused.
    pub keys_error: Option<String>,
    /// The list, as it was.
    pub cancel_href: String,
    /// Why they were not removed.
    pub error: Option<String>,
}

/// What the pop-up sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    version: String,
    keys: String,
}

/// `GET /members/{id}/delete`
pub async fn ask(
    AxumState(state): AxumState<State>,
    session: Session,
    Id(id): Id,
    Params(params): Params<ListParams>,
) -> Answer {
    let asked = pop_up(&state, &session, &id, &params, "").await?;
    show(&state, &session, &params, StatusCode::OK, Some(asked)).await
}

/// `POST /members/{id}/delete`
pub async fn remove(AxumState(state): AxumState<State>, session: Session, Id(id): Id, form: Form<Fields>) -> Answer {
    let Fields { version, keys } = form.fields;
    let version = forms::version(&version)?;
    let what = match keys.as_str() {
        "" => Keys::None,
        REVOKE => Keys::Revoke,
        heir => Keys::Reassign(heir.to_owned()),
    };
    let Err(error) = member_removal::remove(&state.core, session.actor(), &id, Some(version), what).await else {
        return Ok(Redirect::to(&format!("{LIST}?done={}", Flash::MemberRemoved.code())).into_response());
    };
    let code = error.code;
    let mut refused = Refused::by(&session, error)?;
    let params = ListParams::default();
    // Nobody has seen yet what is shown now.
    let mut asked = pop_up(&state, &session, &id, &params, &keys).await?;
    match code {
        Code::HasAgentKeys => asked.keys_error = Some(String::from("Choose what becomes of them.")),
        Code::VersionMismatch => {
            let why = "They were changed after you had opened this. Look again, and remove them if you still want to.";
            asked.error = Some(why.to_owned());
        }
        _ => asked.error = refused.rest(),
    }
    show(&state, &session, &params, refused.status, Some(asked)).await
}

async fn pop_up(
    state: &State,
    session: &Session,
    id: &str,
    params: &ListParams,
    chosen: &str,
) -> Result<RemoveMember, Failure> {
    let member = roster::get_standing(&state.core, id).await?.row;
    let keys = member_removal::keys_of(&state.core, id).await?;
    let heirs = match keys.is_empty() {
        true => Vec::new(),
        false => roster::active(&state.core).await?,
    };
    let others = heirs.into_iter().filter(|heir| heir.id != id);
    Ok(RemoveMember {
        is_me: id == session.actor().member_id,
        id: member.id,
        name: member.name,
        email: member.email,
        version: member.version.to_string(),
        keys: keys.into_iter().map(|key| key.row.name).collect(),
        heirs: others
            .map(|heir| Choice {
                label: format!("Give them to {} ({})", heir.name, heir.email),
                selected: heir.id == chosen,
                value: heir.id,
            })
            .collect(),
        chosen: chosen.to_owned(),
        keys_error: None,
        cancel_href: params.behind_pop_up(LIST, id),
        error: None,
    })
}
