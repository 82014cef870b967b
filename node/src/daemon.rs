//! The only composition root of `serve`.

use tokio_util::sync::CancellationToken;

use crate::config::Settings;

pub mod init;
pub mod join;

/// Why a node cannot be made or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part that is still to come.
    #[error("{0} is not built yet")]
    Missing(&'static str),
}

/// Runs the node of a data folder until told to stop.
pub async fn serve(settings: Settings, stop: CancellationToken) -> Result<(), Error> {
    let _ = (settings, stop);
    Err(Error::Missing("serve"))
}
