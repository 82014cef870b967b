//! A disk that forgets what was not synced when its power is cut.
//!
//! A file system of its own (FUSE), so that whole processes run on it, their
//! database included. What the disk has after a cut:
//!
//! - of a file, the bytes that were there at its last `fsync`, and of what was
//!   written since then whatever the dice say: nothing, a part, torn sectors, all;
//! - of a folder, the entries that were there at its own last `fsync`, and of
//!   later changes some. That a file was synced keeps no entry that leads to it.
//!
//! So everything that a disk with a volatile cache and a file system that only
//! keeps what POSIX promises may do. Two promises more are kept, since journalling
//! file systems give them and RocksDB is built on them: a rename within one
//! folder is one change, and a file that grows has no holes ([`file`]).
//!
//! Everything is in memory, 2 GiB at most. Needs root, `/dev/fuse` and
//! `fusermount3` (Debian: fuse3).

mod file;
mod folder;
mod medium;
mod mounted;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use tempfile::TempDir;
use tokio::process::Command;

use crate::dice::Dice;
use crate::run::{is_installed, run};
use crate::wait::until;
use medium::Medium;
use mounted::Mounted;

/// How long the kernel may take to be done with the files of a killed process.
const LET_GO: Duration = Duration::from_secs(20);

/// Threads that answer the kernel.
const THREADS: usize = 2;

/// What a cut took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Bytes that were written and not synced.
    pub bytes: u64,
    /// Names that were given or taken, in folders that were not synced.
    pub entries: u64,
}

/// A mounted disk; it and all it holds go with the value.
pub struct Disk {
    medium: Arc<Mutex<Medium>>,
    /// Nothing only while it is cut.
    session: Option<BackgroundSession>,
    folder: PathBuf,
    // Removed last.
    _parent: TempDir,
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process of a test that failed may still be there.
        let _ = std::process::Command::new("fusermount3")
            .args(["-u", "-z", "-q"])
            .arg(&self.folder)
            .status();
    }
}

/// Why there can be no such disk here; `None` when there can.
#[must_use]
pub fn obstacle() -> Option<&'static str> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !is_root {
        return Some("needs root, to mount a file system");
    }
    let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    if device.is_err() {
        return Some("needs /dev/fuse");
    }
    (!is_installed("fusermount3")).then_some("needs fusermount3 (Debian: fuse3)")
}

impl Disk {
    /// An empty disk.
    ///
    /// # Errors
    /// When there is an [`obstacle`], or the kernel refuses.
    pub fn new() -> Result<Self> {
        if let Some(obstacle) = obstacle() {
            bail!("{obstacle}");
        }
        let parent = tempfile::Builder::new().prefix("pm-forgetful-").tempdir()?;
        let folder = parent.path().join("disk");
        std::fs::create_dir(&folder)?;
        let medium = Arc::new(Mutex::new(Medium::new()));
        let session = Some(mount(&medium, &folder)?);
        Ok(Self { medium, session, folder, _parent: parent })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Cuts the power and mounts what is left. Whoever used the disk must have
    /// been killed.
    ///
    /// # Errors
    /// When somebody still uses it, or the kernel refuses.
    pub async fn cut(&mut self, dice: &mut Dice) -> Result<Forgotten> {
        until("the disk to be let go of", LET_GO, async || {
            run(Command::new("fusermount3").arg("-u").arg(&self.folder)).await?.success()?;
            Ok(Some(()))
        })
        .await?;
        if let Some(session) = self.session.take() {
            tokio::task::spawn_blocking(|| session.join()).await??;
        }
        let forgotten = self.medium.lock().unwrap_or_else(PoisonError::into_inner).cut(dice);
        self.session = Some(mount(&self.medium, &self.folder)?);
        Ok(forgotten)
    }
}

fn mount(medium: &Arc<Mutex<Medium>>, folder: &Path) -> Result<BackgroundSession> {
    let owner = std::fs::metadata("/proc/self")?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("forgetful".to_owned()),
        MountOption::DefaultPermissions,
        // Also when this process is killed.
        MountOption::AutoUnmount,
    ];
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    let mounted = Mounted::new(medium.clone(), (owner.uid(), owner.gid()));
    fuser::spawn_mount(mounted, folder, &config)
        .with_context(|| format!("cannot mount a file system at {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write;
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn sync_folder(folder: &Path) {
        File::open(folder).unwrap().sync_all().unwrap();
    }

    #[tokio::test]
    async fn what_processes_see_is_a_file_system() {
        if let Some(obstacle) = obstacle() {
            eprintln!("skipped: {obstacle}");
            return;
        }
        let disk = Disk::new().unwrap();
        let at = |name: &str| disk.folder().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::write(at("a/b/c/file"), vec![5; 3_000_000]).unwrap();
        fs::rename(at("a/b/c/file"), at("a/moved")).unwrap();
        assert_eq!(fs::read(at("a/moved")).unwrap(), vec![5; 3_000_000]);
        fs::hard_link(at("a/moved"), at("linked")).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(at("linked")).unwrap();
        file.write_all_at(b"over", 10).unwrap();
        file.set_len(20).unwrap();
        assert_eq!(&fs::read(at("a/moved")).unwrap()[8..16], b"\x05\x05over\x05\x05");
        fs::remove_file(at("linked")).unwrap();
        fs::remove_file(at("a/moved")).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 20, "it is still open");
        file.try_lock().unwrap();
        fs::set_permissions(at("a"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(fs::metadata(at("a")).unwrap().permissions().mode() & 0o7777, 0o700);
        assert!(fs::remove_dir(at("a")).is_err(), "it is not empty");
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::net::UnixStream::connect(at("socket")).unwrap();
        for number in 0..2000 {
            fs::write(at("a").join(format!("{number}")), []).unwrap();
        }
        assert_eq!(fs::read_dir(at("a")).unwrap().count(), 2001);
        fs::remove_dir_all(at("a")).unwrap();
        assert!(!at("a").exists());
    }

    #[tokio::test]
    async fn what_was_not_synced_is_forgotten() {
        if let Some(obstacle) = obstacle() {
            eprintln!("skipped: {obstacle}");
            return;
        }
        let mut disk = Disk::new().unwrap();
        let folder = disk.folder().to_owned();
        // A seed that keeps nothing.
        let mut dice = (0..).map(Dice::seeded).find(|dice| dice.clone().coin()).unwrap();
        let mut file = File::create(folder.join("synced")).unwrap();
        file.write_all(b"synced").unwrap();
        file.sync_all().unwrap();
        sync_folder(&folder);
        file.write_all(b" and not").unwrap();
        let nameless = File::create(folder.join("nameless")).unwrap();
        nameless.sync_all().unwrap();
        fs::create_dir(folder.join("below")).unwrap();
        fs::write(folder.join("below/file"), b"x").unwrap();
        sync_folder(&folder.join("below"));
        drop((file, nameless));
        let forgotten = disk.cut(&mut dice).await.unwrap();
        assert_eq!(forgotten, Forgotten { bytes: 9, entries: 2 });
        assert_eq!(fs::read(folder.join("synced")).unwrap(), b"synced");
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["synced"]);
        // A disk again, and again.
        fs::write(folder.join("synced"), b"other").unwrap();
        let mut dice = (0..).map(Dice::seeded).find(|dice| dice.clone().coin()).unwrap();
        disk.cut(&mut dice).await.unwrap();
        assert_eq!(fs::read(folder.join("synced")).unwrap(), b"synced");
    }
}
