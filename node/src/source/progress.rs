//! A cheap handle through which long work says how far it is.

use std::fmt;
use std::sync::Arc;

/// How far one step of the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// What is being done, such as `main/binary-amd64/Packages.xz`.
    pub name: &'a str,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes altogether; 0 where that is not known.
    pub total: u64,
}

type Receiver = dyn Fn(Step<'_>) + Send + Sync;

/// Where reports of progress go; by default nowhere.
///
/// The receiver is called for every piece read, so it should only note the
/// step and leave drawing to a timer.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Receiver>>);

impl Progress {
    /// Reports go to `receiver`.
    pub fn new(receiver: impl Fn(Step<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(receiver)))
    }

    /// Says how far a step is.
    pub fn step(&self, name: &str, bytes: u64, total: u64) {
        if let Some(receiver) = &self.0 {
            receiver(Step { name, bytes, total });
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(on)" } else { "Progress(off)" })
    }
}
