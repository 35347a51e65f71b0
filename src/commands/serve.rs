//! `keyward serve`

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, failed};
use crate::{app::App, config::Config};

/// Runs until it is told to stop.
pub async fn run(config: Config) -> Result<(), Failure> {
    let app = App::start(config).await.map_err(failed)?;
    let url = app.config.web.base();
    println!("Keyward listens at {url}");
    if !app.has_member().await.map_err(failed)? {
        println!("There is no member yet. Make the first one, and a management token, with:");
        println!("  keyward bootstrap --email YOU@EXAMPLE.COM --password-stdin --token-name first");
    }
    until_told_to_stop().await?;
    app.stop().await;
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
pub async fn until_told_to_stop() -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to stop");
    Ok(())
}
