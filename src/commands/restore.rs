//! `keyward restore accept`, `keyward restore confirm`, `keyward restore clock`.

use super::{Failure, RestoreCommand, failed, open_existing};
use crate::{
    app,
    config::Config,
    data_dir,
    domain::{Core, actor::Actor, restore},
};

/// Carries out one of them.
pub async fn run(config: Config, command: RestoreCommand) -> Result<(), Failure> {
    if let RestoreCommand::Confirm = command {
        let core = open_existing(&config).await?;
        let done = restore::confirm(&core, &Actor::command("restore confirm")).await.map_err(failed);
        core.store.db().close().await;
        println!("{} agent keys are enabled again", done?);
        return Ok(());
    }
    // Nobody may work on what is being decided about.
    let _lock = data_dir::lock_data_dir(&config).map_err(failed)?;
    let core = open_existing(&config).await?;
    let _claim = app::claim(&core).await.map_err(failed)?;
    let done = match command {
        RestoreCommand::Accept { keep_agent_keys } => accept(&core, keep_agent_keys).await,
        RestoreCommand::Clock => restore::reset_clock(&core).await.map_err(failed),
        RestoreCommand::Confirm => Ok(()),
    };
    core.store.db().close().await;
    done
}

async fn accept(core: &Core, keep_agent_keys: bool) -> Result<(), Failure> {
    let done = restore::accept(core, keep_agent_keys).await.map_err(failed)?;
    println!("accepted: epoch {} begins, and every session has ended", done.epoch);
    for line in &done.replayed {
        println!("taken away again: {line}");
    }
    for line in &done.by_hand {
        println!("done after this copy was made, and to be done again by hand: {line}");
    }
    match &done.unproven {
        None => println!("The journal of revocations is whole: whatever was revoked since is revoked again."),
        Some(why) if done.held > 0 => {
            println!("{why}: {} agent keys are disabled.", done.held);
            println!("Look through them, delete those that were revoked, and run: keyward restore confirm");
        }
        Some(why) => println!("warning: {why}: agent keys that were revoked since may be good again"),
    }
    Ok(())
}
