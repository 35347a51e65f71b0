//! `keyward check`

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use super::{Failure, failed};
use crate::{
    app, assembly,
    config::{Config, StorageConfig},
    domain::{
        Core,
        clock::DAY_MS,
        installation,
        mark::{self, Verdict},
        master_key::{self, Progress},
        overview, scrubber,
    },
};

/// Opens everything that `serve` would, and says what is wrong. Makes no database and no master key.
pub async fn run(config: Config) -> Result<(), Failure> {
    app::open_tls(&config).map_err(failed)?;
    let mail_server = assembly::check_mailer(&config).map_err(failed)?;
    let is_new = installation::is_new(&config.storage).await.map_err(failed)?;
    let redis = try_redis(&config).await?;
    if is_new {
        println!("configuration: good; reached at {}", config.web.base());
        tell_mail_server(mail_server.as_deref());
        println!("{}", wrapping_of_new(&config.storage).await?);
        println!("database: new: would be made by keyward serve");
        redis.iter().for_each(|place| println!("redis: good ({place})"));
        warn_of_open_directory(&config.storage);
        return Ok(());
    }
    let core = assembly::open_core(&config, 1).await.map_err(failed)?;
    let mark = match mark::examine(&core).await.map_err(failed)? {
        Verdict::Good(mark) => format!("good, at event {}", mark.seq),
        Verdict::Unmarked => String::from("none: would be made by keyward serve"),
        Verdict::Behind(_, why) => return Err(Failure(why)),
    };
    core.reload().await.map_err(failed)?;
    let refused: Vec<String> = core.catalog().refused().map_err(failed)?;
    println!("configuration: good; reached at {}", config.web.base());
    tell_mail_server(mail_server.as_deref());
    println!("{}", wrapping(&config.storage));
    println!("database: good, {} models", core.catalog().models().map_err(failed)?.count());
    redis.iter().for_each(|place| println!("redis: good ({place})"));
    if master_key::progress(&core).await.map_err(failed)? == Progress::UnderWay {
        println!(
            "master key: a change is under way, and old and new one are good; finish it: keyward master-key rotate --finish"
        );
    }
    tell_keys(&core).await?;
    scrubber::round(&core, Duration::ZERO).await.map_err(failed)?;
    let (rows, failed_rows) = core.findings.last().unwrap_or_default();
    println!("rows: {rows} looked through, {failed_rows} changed outside Keyward");
    println!("rollback mark: {mark} ({})", config.storage.state_dir.display());
    core.store.db().close().await;
    warn_of_open_directory(&config.storage);
    if failed_rows > 0 {
        return Err(Failure(format!(
            "{failed_rows} rows were changed outside Keyward and are refused; the lines above name them: delete those things, or \
             restore the database from a backup"
        )));
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure(refused.join("; "))) }
}

/// Asks the Redis that is set what a server would ask it, of a key that nobody has; gives its address.
async fn try_redis(config: &Config) -> Result<Option<String>, Failure> {
    let Some(minutes) = assembly::open_minutes(config, "check", "check").map_err(failed)? else { return Ok(None) };
    match minutes.check().await {
        Ok(()) => Ok(Some(minutes.place())),
        Err(why) => Err(Failure(format!("KEYWARD_REDIS_URL: {why}"))),
    }
}

/// What e-mail would go out by; nobody is called.
fn tell_mail_server(words: Option<&str>) {
    if let Some(words) = words {
        println!("e-mail: by the mail server {words}");
    }
}

/// How old the keys inside are, and how far a rotation of them is.
async fn tell_keys(core: &Core) -> Result<(), Failure> {
    let overview = overview::of(core).await.map_err(failed)?;
    let now = core.clock.now_ms();
    let ages: Vec<String> = overview
        .keys
        .iter()
        .filter(|key| key.is_current)
        .map(|key| format!("{} {} days", key.purpose, (now - key.created_at).max(0) / DAY_MS))
        .collect();
    println!("keys inside: {} (age)", ages.join(", "));
    let older = overview.keys.iter().filter(|key| !key.is_current).count();
    match overview.rotation {
        Some(rotation) => println!(
            "keys inside: a rotation is under way ({}), {} of {} rows are left; go on with it: keyward master-key \
             rotate-data",
            rotation.stage.as_str(),
            rotation.rows_left,
            rotation.rows
        ),
        None if older > 0 => println!("keys inside: {older} older ones are kept for what only they can read"),
        None => {}
    }
    Ok(())
}

/// What wraps the keys, which were opened with it.
fn wrapping(storage: &StorageConfig) -> String {
    match &storage.transit {
        None => format!("master key: good ({})", storage.master_key.path.display()),
        Some(transit) => format!("transit key: good ({}/{} at {})", transit.mount, transit.key, transit.url),
    }
}

/// The same before there are keys.
async fn wrapping_of_new(storage: &StorageConfig) -> Result<String, Failure> {
    if storage.transit.is_none() && !storage.master_key.path.exists() {
        return Ok(format!("master key: new: would be made by keyward serve ({})", storage.master_key.path.display()));
    }
    installation::provider(storage).map_err(failed)?.prepare().await.map_err(failed)?;
    Ok(wrapping(storage))
}

/// Says so where others may look into the data directory: what Keyward makes there they cannot read, but names, sizes
/// and whatever somebody else put there they can.
fn warn_of_open_directory(storage: &StorageConfig) {
    let Ok(metadata) = fs::metadata(&storage.data_dir) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let dir = storage.data_dir.display();
        println!("warning: the data directory {dir} is open to others (mode {mode:o}); run: chmod 700 {dir}");
    }
}
