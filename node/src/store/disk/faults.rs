//! A disk that fails on purpose, for tests.
//!
//! Every step is counted. A plan says at which count what happens: one failure,
//! after which all is well again, or the end, after which nothing works any
//! more, as when the power goes. A sync that fails loses what was written to
//! the file since the last one that succeeded, which is what Linux may do.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Disk, Space, Step};

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Steps are only counted.
    Count,
    /// The step of this number fails, no other.
    FailAt(u64, Errno),
    /// The step of this number and all later ones fail.
    EndAt(u64),
    /// Every read fails, nothing else.
    FailReads(Errno),
    /// From the step of this number on the disk is full.
    FullAt(u64),
}

/// Counts steps and lets them fail.
#[derive(Debug)]
pub(crate) struct Faults {
    plan: Mutex<Plan>,
    steps: AtomicU64,
    /// By file: where bytes were written since its last sync.
    unsynced: Mutex<HashMap<PathBuf, Vec<(u64, usize)>>>,
}

impl Faults {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            plan: Mutex::new(plan),
            steps: AtomicU64::new(0),
            unsynced: Mutex::default(),
        })
    }

    /// The disk that fails so.
    pub(in crate::store) fn disk(self: &Arc<Self>) -> Disk {
        Disk { faults: Some(self.clone()) }
    }

    /// Another plan, counted anew.
    pub(crate) fn replace(&self, plan: Plan) {
        *lock(&self.plan) = plan;
        self.steps.store(0, Ordering::SeqCst);
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    pub(super) fn step(&self, step: Step<'_>) -> io::Result<()> {
        let number = self.steps.fetch_add(1, Ordering::SeqCst);
        match *lock(&self.plan) {
            Plan::FailAt(at, errno) if at == number => Err(errno.into()),
            Plan::EndAt(at) if number >= at => Err(Errno::IO.into()),
            Plan::FailReads(errno) if matches!(step, Step::Read(_)) => Err(errno.into()),
            Plan::FullAt(at) if number >= at && takes_room(step) => Err(Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }

    /// What the disk says of its room, where a plan says so.
    pub(super) fn space(&self) -> Option<Space> {
        match *lock(&self.plan) {
            Plan::FullAt(at) if self.steps() > at => Some(Space { total: 1 << 40, free: 0 }),
            _ => None,
        }
    }

    pub(super) fn wrote(&self, path: &Path, at: u64, length: usize) {
        lock(&self.unsynced).entry(path.to_owned()).or_default().push((at, length));
    }

    pub(super) fn synced(&self, path: &Path) {
        lock(&self.unsynced).remove(path);
    }

    pub(super) fn lose(&self, file: &File, path: &Path) -> io::Result<()> {
        for (at, length) in lock(&self.unsynced).remove(path).unwrap_or_default() {
            file.write_all_at(&vec![0; length], at)?;
        }
        Ok(())
    }
}

/// Whether a full disk lets this step fail.
fn takes_room(step: Step<'_>) -> bool {
    matches!(
        step,
        Step::Make(_) | Step::Allocate(_) | Step::Write(_) | Step::Sync(_) | Step::Commit
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
