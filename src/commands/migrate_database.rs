//! `keyward migrate-database`

use std::path::Path;

use super::{Failure, failed, open_existing};
use crate::{
    config::{Config, StorageConfig},
    data_dir,
    domain::{
        installation,
        mark::{self, Verdict},
    },
};

/// Copies the installation from SQLite to a database of PostgreSQL. Begun again after an interruption, it goes on.
pub async fn run(config: Config, to: Option<String>, to_file: Option<&Path>) -> Result<(), Failure> {
    let to = match (to, to_file) {
        (Some(url), _) => url,
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            text.map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?.trim().to_owned()
        }
        (None, None) => return Err(Failure(String::from("say where to: --to postgres://… or --to-file FILE"))),
    };
    if !config.storage.database_url.starts_with("sqlite:") {
        return Err(Failure(String::from(
            "KEYWARD_DATABASE_URL names no SQLite database: only from there it can be moved",
        )));
    }
    if !to.starts_with("postgres://") && !to.starts_with("postgresql://") {
        return Err(Failure(String::from("--to must be a URL that starts with postgres://")));
    }
    // Nobody may write to what is being copied.
    let _lock = data_dir::lock_data_dir(&config).map_err(failed)?;
    let core = open_existing(&config).await?;
    if let Verdict::Behind(_, why) = mark::examine(&core).await.map_err(failed)? {
        return Err(Failure(why));
    }
    let target = StorageConfig { database_url: to, ..config.storage.clone() };
    let told = |table: &str, rows: u64, checksum: &str| println!("{table}: {rows} rows, checksum {checksum}");
    let done = installation::copy(core.store.db(), &target, told).await.map_err(failed);
    core.store.db().close().await;
    done?;
    let moved = data_dir::moved_file(&config.storage);
    std::fs::write(&moved, "moved to PostgreSQL by keyward migrate-database\n").map_err(|error| {
        Failure(format!(
            "everything is there, but the old database could not be marked as moved: {}: {error}",
            moved.display()
        ))
    })?;
    println!("Everything is there, and the same. Next:");
    println!("  1. set KEYWARD_DATABASE_URL to the new database, and KEYWARD_MASTER_KEY_FILE to {}", {
        config.storage.master_key.path.display()
    });
    println!("  2. start keyward serve with the same data directory, which holds the rollback mark");
    println!("  3. keep the old database as a backup; it is served no more unless you remove {}", moved.display());
    Ok(())
}
