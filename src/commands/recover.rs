//! `keyward recover`

use super::{Failure, failed, read_line};
use crate::{
    assembly,
    config::Config,
    domain::{installation, new_password},
};

/// Sets a member's password and removes their second factor. Works beside a running server, which asks the database at each request who is signed in.
pub async fn run(config: Config, email: &str) -> Result<(), Failure> {
    let password = read_line()?;
    if installation::is_new(&config.storage).await.map_err(failed)? {
        let dir = config.storage.data_dir.display();
        return Err(Failure(format!("there is no database yet; is KEYWARD_DATA_DIR ({dir}) the right one?")));
    }
    let core = assembly::open_core(&config, 1).await.map_err(failed)?;
    let done = new_password::recover(&core, email, password).await;
    core.store.db().close().await;
    let done = done.map_err(|error| match error.fields.first() {
        Some(field) => Failure(format!("the password on standard input {}", field.detail)),
        None => failed(error),
    })?;
    let factor = if done.had_second_factor { "; their second factor was removed" } else { "" };
    println!("{} has a new password; their sessions ended{factor}", done.member.email);
    Ok(())
}
