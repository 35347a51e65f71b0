//! `keyward check`

use super::{Failure, failed};
use crate::{app, config::Config};

/// Opens everything that `serve` would, and says what is wrong.
pub async fn run(config: Config) -> Result<(), Failure> {
    if config.storage.database_url.starts_with("sqlite:") && !config.storage.data_dir.is_dir() {
        return Err(Failure(format!(
            "the data directory {} does not exist yet; keyward serve makes it",
            config.storage.data_dir.display()
        )));
    }
    let core = app::open_core(&config, 1).await.map_err(failed)?;
    core.reload().await.map_err(failed)?;
    let refused: Vec<String> = core.catalog().refused().map_err(failed)?;
    println!("configuration: good; reached at {}", config.web.base());
    println!("master key: good ({})", config.storage.master_key_file.display());
    println!("database: good, {} models", core.catalog().models().map_err(failed)?.count());
    core.store.db().close().await;
    if refused.is_empty() { Ok(()) } else { Err(Failure(refused.join("; "))) }
}
