//! `keyward audit verify`, `keyward audit head`, `keyward audit export`: beside a running server or without one.

use std::io::Write;

use super::{AuditCommand, Failure, failed, open_existing};
use crate::{
    config::Config,
    domain::{
        Core,
        audit_chain::{self, Head},
        audit_events::EventQuery,
        audit_export::Export,
    },
};

/// Carries out one of them.
pub async fn run(config: Config, command: AuditCommand) -> Result<(), Failure> {
    let core = open_existing(&config).await?;
    let done = match command {
        AuditCommand::Verify { from_head } => verify(&core, from_head.as_ref()).await,
        AuditCommand::Head => head(&core).await,
        AuditCommand::Export => export(&core).await,
    };
    core.store.db().close().await;
    done
}

async fn verify(core: &Core, kept: Option<&Head>) -> Result<(), Failure> {
    let Some(end) = audit_chain::verify(core, kept).await.map_err(failed)? else {
        println!("good: there is no event yet");
        return Ok(());
    };
    println!("good: events 1 to {} are as they were recorded, and none is missing between them", end.seq);
    if let Some(kept) = kept {
        println!("The chain leads through event {}, whose head was kept.", kept.seq);
    } else {
        println!("Whether events were removed from its end, only a head that was kept elsewhere can prove.");
    }
    println!("To be kept elsewhere: {end}");
    Ok(())
}

async fn head(core: &Core) -> Result<(), Failure> {
    match audit_chain::head(core).await.map_err(failed)? {
        Some(head) => {
            println!("{head}");
            Ok(())
        }
        None => Err(Failure(String::from("there is no event yet, so there is no head to keep"))),
    }
}

async fn export(core: &Core) -> Result<(), Failure> {
    let mut export = Export::new(EventQuery::default()).map_err(failed)?;
    let mut out = std::io::stdout().lock();
    while let Some(lines) = export.next(core).await.map_err(failed)? {
        out.write_all(lines.as_bytes()).map_err(|error| Failure(format!("cannot write the export: {error}")))?;
    }
    out.flush().map_err(|error| Failure(format!("cannot write the export: {error}")))
}
