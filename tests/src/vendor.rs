//! A vendor: packages, a repository signed with a throwaway key, and a web
//! server that can misbehave.
//!
//! The repository is made by reprepro, so that its form is a stranger's and
//! not ours.

pub mod files;
pub mod packages;
pub mod repository;
pub mod rpm;
pub mod server;

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::repository::Repository;
use self::server::Server;

pub use self::packages::{Package, Sample};
pub use self::server::Fault;

/// A repository and the server in front of it.
pub struct Vendor {
    /// The folders behind the server.
    pub repository: Repository,
    /// What the primary talks to.
    pub server: Server,
    // Removed last.
    _folder: tempfile::TempDir,
}

impl Vendor {
    /// A vendor without packages.
    ///
    /// # Errors
    /// When a tool is missing or the disk is full.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("patchmesh-vendor-").tempdir()?;
        let repository = Repository::create(folder.path()).await?;
        let server = Server::start(repository.base()).await?;
        Ok(Self { repository, server, _folder: folder })
    }

    /// A vendor with some packages made on the spot.
    ///
    /// # Errors
    /// When a tool is missing or the disk is full.
    pub async fn with_samples(samples: &[Sample]) -> Result<Self> {
        let vendor = Self::start().await?;
        vendor.release(samples).await?;
        Ok(vendor)
    }

    /// Makes packages and publishes them.
    ///
    /// # Errors
    /// When a tool fails.
    pub async fn release(&self, samples: &[Sample]) -> Result<Vec<Package>> {
        let folder = tempfile::tempdir()?;
        let mut packages = Vec::new();
        for sample in samples {
            packages.push(sample.build(folder.path()).await?);
        }
        self.repository.include(&packages).await?;
        Ok(packages)
    }

    /// Publishes packages that are there.
    ///
    /// # Errors
    /// When a tool fails.
    pub async fn publish(&self, packages: &[Package]) -> Result<()> {
        self.repository.include(packages).await
    }

    /// The URL for `source add`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The key for `source add`.
    #[must_use]
    pub fn keyring(&self) -> PathBuf {
        self.repository.keyring().to_owned()
    }
}

/// A key that signed nothing: what a wrong vendor key looks like.
///
/// # Errors
/// When gpg fails.
pub async fn foreign_keyring(folder: &Path) -> Result<PathBuf> {
    repository::Key::generate(folder, "Somebody Else").await.map(|key| key.public.clone())
}
