//! Tests of the store as a whole, on real folders.

#![allow(clippy::unwrap_used)]
#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is tested")]

mod blob;
mod faults;
mod folder;
mod fuzz;
mod partial;
mod record;

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use tempfile::TempDir;

use super::{Mode, Store};

/// A new store in a folder that goes when the first value is dropped.
fn new_store() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("data"), Mode::Create).unwrap();
    (folder, store)
}

/// Closes and opens, as a restart does.
fn reopen(store: Store) -> Store {
    let path = store.path().to_owned();
    drop(store);
    Store::open(&path, Mode::Existing).unwrap()
}

/// Bytes that differ from piece to piece.
fn sample(length: usize) -> Bytes {
    (0..length)
        .map(|index| (index * 31 + index / 251 + (index >> 20)) as u8)
        .collect::<Vec<_>>()
        .into()
}

/// A small disk in memory, unmounted when dropped.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Nothing when this user can't mount one; the test says so and passes.
    fn new(size: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let disk = Self { folder };
        let size = format!("size={size}");
        let done =
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]), disk.path());
        if !done {
            eprintln!("skipped: mounting a small disk needs root");
        }
        done.then_some(disk)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn make_read_only(&self) {
        assert!(run(Command::new("mount").args(["-o", "remount,ro"]), self.path()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(&mut Command::new("umount"), self.path());
    }
}

fn run(command: &mut Command, path: &Path) -> bool {
    command.arg(path).output().is_ok_and(|output| output.status.success())
}
