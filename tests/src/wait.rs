//! Waiting for a condition, with a deadline. Nothing else here sleeps.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(40);

/// What is plenty for a step of a small cluster on a busy two-core machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until `probe` yields a value.
///
/// # Errors
/// After `within`, what was awaited and what the last look said.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let last = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => anyhow!("not yet"),
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(last).with_context(|| format!("waited {within:?} for {what}"));
        }
        sleep(POLL).await;
    }
}

/// Makes sure that `probe` holds for as long as `lasting`.
///
/// # Errors
/// What the probe said when it first failed.
pub async fn holds(
    what: &str,
    lasting: Duration,
    mut probe: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let end = Instant::now() + lasting;
    while Instant::now() < end {
        probe().await.with_context(|| format!("{what} did not hold"))?;
        sleep(POLL).await;
    }
    Ok(())
}
