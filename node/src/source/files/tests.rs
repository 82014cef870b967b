//! Folders with and without faults.

mod bad;
mod good;

use std::path::Path;

use patchmesh_topology::digest::Sha256;
use tempfile::TempDir;

use super::*;
use crate::openpgp::SigningKey;
use crate::source::FetchPolicy;

pub(super) const FRENCH: &[u8] = b"un correctif";
pub(super) const JAPANESE: &[u8] = b"an update for Japan";

pub(super) fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().expect("a time")
}

pub(super) fn sha256(bytes: &[u8]) -> Sha256 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Sha256::try_from(digest.as_ref()).expect("32 bytes")
}

/// A `[[revision.payload]]` for a file with this content.
pub(super) fn payload(file: &str, bytes: &[u8], more: &str) -> String {
    format!(
        "[[revision.payload]]\nfile = \"{file}\"\nlength = {}\nsha256 = \"{}\"\n{more}\n",
        bytes.len(),
        sha256(bytes)
    )
}

/// A revision with one French file.
pub(super) fn revision(id: &str, version: &str, more: &str) -> String {
    format!(
        "[[revision]]\nid = \"{id}\"\nversion = \"{version}\"\ntitle = \"{id}\"\n{more}\n{}",
        payload("fr/one.msu", FRENCH, "language = \"fr-FR\"")
    )
}

pub(super) fn manifest(revisions: &[String]) -> String {
    format!("format = 1\n{}", revisions.concat())
}

/// A vendor's folder, its key, and what the operator said of it.
pub(super) struct Vendor {
    pub(super) folder: TempDir,
    pub(super) key: SigningKey,
    pub(super) config: Config,
}

impl Vendor {
    pub(super) fn new(manifest: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::generate("vendor", Timestamp::UNIX_EPOCH).expect("a key");
        let config = Config::validate(Options {
            name: "msp".into(),
            folder: folder.path().to_owned(),
            keyring: key.public_binary().expect("a certificate"),
            unsigned: false,
            policy: FetchPolicy::OnDemand,
        });
        let vendor = Self { folder, key, config: config.expect("a source") };
        for (name, bytes) in [("fr/one.msu", FRENCH), ("ja/one.msu", JAPANESE)] {
            vendor.write(name, bytes);
        }
        vendor.release(manifest);
        vendor
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// Writes a manifest and signs it.
    pub(super) fn release(&self, manifest: &str) {
        self.write(MANIFEST, manifest.as_bytes());
        let signature = self.key.sign_detached(manifest.as_bytes(), now()).expect("signed");
        self.write(SIGNATURES[0], signature.as_bytes());
    }

    pub(super) async fn sync(&self, state: &SyncState) -> Result<Outcome, Error> {
        sync(&self.config, state, now(), |_| false, &Progress::default()).await
    }

    /// What a first synchronisation finds.
    pub(super) async fn revisions(&self) -> Vec<Revision> {
        match self.sync(&SyncState::default()).await.expect("synchronised") {
            Outcome::Changed { revisions, .. } => revisions,
            Outcome::Unchanged { .. } => panic!("nothing was known before"),
        }
    }

    /// The faults that a synchronisation tells, and that `source check` tells
    /// with them.
    pub(super) async fn faults(&self) -> Vec<String> {
        let error = self.sync(&SyncState::default()).await.expect_err("refused");
        let Error::Manifest { faults, .. } = error else { panic!("{error}") };
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let checked = self.check();
        assert!(told.iter().all(|fault| checked.contains(fault)), "{told:?} {checked:?}");
        told
    }

    /// What `source check` tells.
    pub(super) fn check(&self) -> Vec<String> {
        let name = self.config.name();
        let keyring = self.config.keyring();
        let checked = check::folder(self.path(), name, keyring, now(), &Progress::default());
        checked.expect("readable").faults.iter().map(ToString::to_string).collect()
    }
}
