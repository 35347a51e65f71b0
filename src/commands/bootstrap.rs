//! `keyward bootstrap`

use super::{Failure, failed, read_line};
use crate::{app, config::Config, domain::first_run, error::Error};

/// Makes the first member, and a management token where one is named; prints them as JSON.
pub async fn run(config: Config, email: &str, token_name: Option<&str>) -> Result<(), Failure> {
    let password = read_line()?;
    let core = app::open_checked(&config, 1).await.map_err(failed)?;
    let first = first_run::unattended(&core, email, password, token_name).await;
    app::close(&core).await;
    let first = first.map_err(|error| in_our_words(&error))?;
    let token = first.token.as_ref().map(|token| token.as_str());
    println!("{}", serde_json::json!({ "member_id": first.member_id, "token": token }));
    Ok(())
}

/// A refused field, called what the command line calls it.
fn in_our_words(error: &Error) -> Failure {
    let Some(field) = error.fields.first() else { return failed(error) };
    let given = match field.pointer.as_str() {
        "/email" => "--email",
        "/password" => "the password on standard input",
        "/name" => "--token-name",
        other => other,
    };
    Failure(format!("{given} {}", field.detail))
}
