//! Tells nodes which machines were shut out.
//!
//! The ledger decides; what it says goes into the next generation. Since the two are not
//! written in one step, the whole is said again now and then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use patchmesh_topology::revocation;
use tokio_util::sync::CancellationToken;

use super::publisher::{self, Publisher};
use crate::identity::machines::life;
use crate::reports::ledger::Ledger;
use crate::store;

/// How often what has ended by itself is forgotten.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// How soon it is tried again where it failed.
const AGAIN: Duration = Duration::from_secs(60);

/// Why nodes were not told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger cannot be read.
    #[error("it cannot be read which machines were revoked")]
    Store(#[from] store::Error),
    /// It was not published.
    #[error("no generation that says so was published")]
    Publish(#[from] publisher::Error<Infallible>),
}

/// Publishes who is shut out, where nodes do not know it yet.
///
/// # Errors
/// See [`Error`]; nothing was published.
pub async fn tell(publisher: &Publisher, ledger: &Ledger) -> Result<(), Error> {
    let reading = ledger.clone();
    let shut_out = ledger.store().run(move |_| reading.revoked()).await?;
    publisher
        .publish(move |draft| {
            let next = revocation::next(&draft.revocations, shut_out, life(), draft.now);
            if next != *draft.revocations {
                draft.revocations = Arc::new(next);
            }
            Ok(())
        })
        .await?;
    Ok(())
}

/// Tells nodes at once and every hour, until `stop`.
pub async fn run(publisher: Publisher, ledger: Ledger, stop: CancellationToken) {
    loop {
        let pause = match tell(&publisher, &ledger).await {
            Ok(()) => PERIOD,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "nodes are not told which machines were revoked");
                AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}
