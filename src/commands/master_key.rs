//! `keyward master-key new`, `keyward master-key rotate`

use std::path::Path;

use vault::{Entropy, MasterKey};

use super::{Failure, Rotation, failed, key_rotation, open_to_rewrap};
use crate::{
    config::{Config, KeyFileOrigin, MASTER_KEY_CREDENTIAL, MasterKeyFile, StorageConfig},
    domain::{
        Core, installation,
        key_provider::KeyProvider,
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
    let core = open_to_rewrap(&config).await?;
    let done = step(&core, &config, &rotation).await;
    // The mark is left to the server, which may be running: a mark that is behind is fine.
    core.store.db().close().await;
    done
}

async fn step(core: &Core, config: &Config, rotation: &Rotation) -> Result<(), Failure> {
    let storage = &config.storage;
    if let Verdict::Behind(_, why) = mark::examine(core).await.map_err(failed)? {
        return Err(Failure(why));
    }
    if rotation.finish {
        master_key::finish(core, &named(storage)?).await.map_err(failed)?;
        println!("finished: only the new master key opens this installation; the old one can be destroyed");
        println!("(older backups of the database still need it)");
    } else if rotation.abort {
        master_key::abort(core, &named(storage)?).await.map_err(failed)?;
        println!("aborted: only the old master key opens this installation");
    } else if rotation.rewrap {
        let present = present(core, storage).await?;
        master_key::rewrap(core, &present).await.map_err(failed)?;
        println!("rewrapped: the newest version of {} wraps the keys now", present.words());
        println!("(older backups of the database still need the older ones)");
    } else if let Some(next) = &rotation.new_master_key_file {
        let file = MasterKeyFile { path: next.clone(), origin: KeyFileOrigin::Named };
        let provider = KeyProvider::MasterKey(installation::read_master_key(&file).map_err(failed)?);
        master_key::begin(core, &present(core, storage).await?, &provider).await.map_err(failed)?;
        println!("The keys can be unwrapped with either now. Next:");
        println!("  1. put the new key there: {}", put_there(&storage.master_key, next));
        if storage.transit.is_some() {
            println!("     and unset KEYWARD_TRANSIT_URL and the settings beside it");
        }
        println!("  2. restart every keyward serve; calls need no pause");
        println!("  3. run: keyward master-key rotate --finish");
    } else if rotation.to_transit {
        if storage.transit.is_none() {
            return Err(Failure(String::from(
                "set KEYWARD_TRANSIT_URL and the settings beside it for this command, as the servers will have them",
            )));
        }
        let next = named(storage)?;
        master_key::begin(core, &present(core, storage).await?, &next).await.map_err(failed)?;
        println!("The keys can be unwrapped with the master key and with {} now. Next:", next.words());
        println!("  1. give every keyward serve the settings KEYWARD_TRANSIT_… that this command had");
        println!("  2. restart them; calls need no pause");
        println!("  3. run: keyward master-key rotate --finish");
    }
    if !rotation.compromised {
        return Ok(());
    }
    let (_, next) = master_key::kinds(core).await.map_err(failed)?;
    if next.is_none() && !rotation.abort {
        // Under the new master key alone: wrapped by the old one, they would be in other hands as well.
        return key_rotation::rotate(core, config, true).await;
    }
    key_rotation::list_to_replace(core).await?;
    if next.is_some() {
        println!("--finish --compromised replaces every key inside as well");
    }
    Ok(())
}

/// What the settings name.
fn named(storage: &StorageConfig) -> Result<KeyProvider, Failure> {
    installation::provider(storage).map_err(failed)
}

/// What wraps the keys now.
async fn present(core: &Core, storage: &StorageConfig) -> Result<KeyProvider, Failure> {
    let (kind, _) = master_key::kinds(core).await.map_err(failed)?;
    installation::provider_of(storage, kind).map_err(failed)
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
