//! `keyward master-key rotate-data`

use std::time::Duration;

use tokio::time::Instant;
use vault::Purpose;

use super::{Failure, failed, open_existing};
use crate::{
    config::Config,
    data_dir,
    domain::{
        Core, installation,
        key_rotation::{self, ORDINARY, Stage},
        mark::{self, Verdict},
        master_key,
    },
};

/// How long a running server may take to take up new keys.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Replaces the keys inside, beside a running server or without one; goes on where an earlier run ended.
pub async fn run(config: Config, compromised: bool) -> Result<(), Failure> {
    let core = open_existing(&config).await?;
    let done = rotate(&core, &config, compromised).await;
    // The mark is left to the server, which may be running: a mark that is behind is fine.
    core.store.db().close().await;
    done
}

/// The same with the storage open.
pub async fn rotate(core: &Core, config: &Config, compromised: bool) -> Result<(), Failure> {
    if let Verdict::Behind(_, why) = mark::examine(core).await.map_err(failed)? {
        return Err(Failure(why));
    }
    if key_rotation::stage(core).await.map_err(failed)? != Stage::Settled {
        println!("going on with the rotation that is under way");
        carry_on(core, config).await?;
        if !compromised {
            return Ok(());
        }
    }
    let purposes = if compromised { &Purpose::ALL[..] } else { ORDINARY };
    let provider = installation::provider(&config.storage).map_err(failed)?;
    key_rotation::announce(core, &provider, purposes).await.map_err(failed)?;
    println!("new keys are there: {}", purposes.iter().map(|purpose| purpose.as_str()).collect::<Vec<_>>().join(", "));
    carry_on(core, config).await?;
    if compromised {
        list_to_replace(core).await?;
    }
    Ok(())
}

/// From whatever stage a rotation is at to its end.
async fn carry_on(core: &Core, config: &Config) -> Result<(), Failure> {
    loop {
        match key_rotation::stage(core).await.map_err(failed)? {
            Stage::Announced => {
                wait_for_servers(core, config).await?;
                key_rotation::activate(core).await.map_err(failed)?;
                println!("they make from now on");
            }
            Stage::Active => {
                let renewed = key_rotation::rewrite(core).await.map_err(failed)?;
                println!("{} rows are sealed and authenticated anew", renewed.rows);
                wait_for_servers(core, config).await?;
                let refused = key_rotation::retire(core).await.map_err(failed)?;
                println!("finished: the older keys are deleted (older backups of the database hold them still)");
                if refused > 0 {
                    println!(
                        "warning: {refused} rows fail their integrity check, and stay refused; the log names them: restore \
                         them from a backup or delete them"
                    );
                }
            }
            Stage::Settled => {
                key_rotation::retire_peppers(core).await.map_err(failed)?;
                return Ok(());
            }
        }
    }
}

/// Waits until every running server has the keys that there are now.
async fn wait_for_servers(core: &Core, config: &Config) -> Result<(), Failure> {
    let begun = Instant::now();
    while !key_rotation::is_taken_up(core).await.map_err(failed)?
        && data_dir::is_served(config, core).await.map_err(failed)?
    {
        if begun.elapsed() > PATIENCE {
            return Err(Failure(format!(
                "the running keyward serve has not taken up the new keys within {} seconds (its log says why); nothing is \
                 lost, and both work on: run this again to go on",
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Lists the general keys to be replaced at their providers.
pub async fn list_to_replace(core: &Core) -> Result<(), Failure> {
    println!("Whoever had the old master key and the database could read these; replace them at their providers:");
    for key in master_key::to_replace(core).await.map_err(failed)? {
        println!("  {key}");
    }
    Ok(())
}
