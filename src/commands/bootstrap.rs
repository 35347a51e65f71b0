//! `keyward bootstrap`

use super::{Failure, failed, read_line};
use crate::{app, config::Config, domain::first_run};

/// Makes the first member, and a management token where one is named; prints them as JSON.
pub async fn run(config: Config, email: &str, token_name: Option<&str>) -> Result<(), Failure> {
    let password = read_line()?;
    let core = app::open_core(&config, 1).await.map_err(failed)?;
    let first = first_run::unattended(&core, email, password, token_name).await;
    core.store.db().close().await;
    let first = first.map_err(failed)?;
    let token = first.token.as_ref().map(|token| token.as_str());
    println!("{}", serde_json::json!({ "member_id": first.member_id, "token": token }));
    Ok(())
}
