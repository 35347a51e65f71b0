//! `keyward master-key new`, `keyward master-key rotate`

use std::path::Path;

use vault::{Entropy, MasterKey};

use super::{Failure, Rotation, failed, open_existing};
use crate::{
    config::{Config, KeyFileOrigin, MASTER_KEY_CREDENTIAL, MasterKeyFile},
    domain::{
        Core, installation,
        mark::{self, Verdict},
        master_key,
    },
};

/// Prints a fresh master key.
pub fn new() -> Result<(), Failure> {
    let key = MasterKey::generate(&Entropy::system()).map_err(failed)?;
    println!("{}", *key.to_file_text());
    Ok(())
}

/// Carries out one step of a change, beside a running server or without one.
pub async fn rotate(config: Config, rotation: Rotation) -> Result<(), Failure> {
    let core = open_existing(&config).await?;
    let present = installation::read_master_key(&config.storage.master_key).map_err(failed)?;
    let done = step(&core, &config, &present, &rotation).await;
    // The mark is left to the server, which may be running: a mark that is behind is fine.
    core.store.db().close().await;
    done
}

async fn step(core: &Core, config: &Config, present: &MasterKey, rotation: &Rotation) -> Result<(), Failure> {
    if let Verdict::Behind(_, why) = mark::examine(core).await.map_err(failed)? {
        return Err(Failure(why));
    }
    if rotation.finish {
        master_key::finish(core, present).await.map_err(failed)?;
        println!("finished: only the new master key opens this installation; the old one can be destroyed");
        println!("(older backups of the database still need it)");
    } else if rotation.abort {
        master_key::abort(core, present).await.map_err(failed)?;
        println!("aborted: only the old master key opens this installation");
    } else if let Some(next) = &rotation.new_master_key_file {
        begin(core, present, next).await?;
        println!("Both master keys open this installation now. Next:");
        println!("  1. put the new key there: {}", put_there(&config.storage.master_key, next));
        println!("  2. restart every keyward serve; calls need no pause");
        println!("  3. run: keyward master-key rotate --finish");
    }
    if rotation.compromised {
        println!("Whoever had the old master key and the database could read these; replace them at their providers:");
        for key in master_key::to_replace(core).await.map_err(failed)? {
            println!("  {key}");
        }
    }
    Ok(())
}

/// How the next master key takes the present one's place.
fn put_there(present: &MasterKeyFile, next: &Path) -> String {
    let (next, path) = (next.display(), present.path.display());
    match present.origin {
        KeyFileOrigin::DataDir | KeyFileOrigin::Named => format!("install -m 600 {next} {path}"),
        KeyFileOrigin::Credential => format!(
            "systemd-creds encrypt --name={MASTER_KEY_CREDENTIAL} {next} FILE, with the FILE that the unit's \
             LoadCredentialEncrypted= names"
        ),
    }
}

async fn begin(core: &Core, present: &MasterKey, next: &Path) -> Result<(), Failure> {
    let next = MasterKeyFile { path: next.to_owned(), origin: KeyFileOrigin::Named };
    let next = installation::read_master_key(&next).map_err(failed)?;
    master_key::begin(core, present, &next).await.map_err(failed)
}
