//! The signals that end a command in order.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Completes with the first SIGINT or SIGTERM, and says which. From the call on
/// neither ends the process by itself.
///
/// # Errors
/// The system lets nobody wait for signals.
pub(crate) fn first_to_stop() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
