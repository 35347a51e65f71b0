//! `keyward serve`

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, failed};
use crate::{app::App, config::Config, domain::first_run};

/// Runs until it is told to stop.
pub async fn run(config: Config) -> Result<(), Failure> {
    let mut stop = StopSignals::new()?;
    let app = App::start(config).await.map_err(failed)?;
    println!("Keyward listens at {}", app.config.web.base());
    if app.config.web.admin.is_some() {
        println!("Console and management API are at {}", app.config.web.console_base());
    }
    if app.config.web.is_nameless() {
        println!("and at this machine's other addresses; set KEYWARD_PUBLIC_URL to the URL that others reach it under");
    }
    if let Some(link) = app.setup_link().await.map_err(failed)? {
        println!("There is no member yet. Make the first one in a browser, within an hour:");
        println!("  {link}");
        println!("or here, with a management token:");
        println!("  keyward bootstrap --email YOU@EXAMPLE.COM --password-stdin --token-name first");
    }
    if first_run::is_orphaned(&app.core).await.map_err(failed)? {
        println!("warning: {}", first_run::without_members());
    }
    stop.wait().await;
    tracing::info!("told to stop");
    app.drain(stop.wait()).await;
    app.stop().await;
    Ok(())
}

/// SIGTERM and SIGINT, heard from the moment this is made: before anything listens, so that an early one is not lost.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to hear.
    pub fn new() -> Result<StopSignals, Failure> {
        let hear = |kind| signal(kind).map_err(failed);
        Ok(StopSignals { terminate: hear(SignalKind::terminate())?, interrupt: hear(SignalKind::interrupt())? })
    }

    /// Waits for either; the next wait is for a further one.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
