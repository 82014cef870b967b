//! The vendor's repository: reprepro in a folder, signed by a throwaway key.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::packages::Package;
use crate::run::run;

/// The suite that every vendor here has.
pub const SUITE: &str = "stable";

/// The only component.
pub const COMPONENT: &str = "main";

/// An OpenPGP key in a keyring folder of its own.
pub struct Key {
    home: PathBuf,
    fingerprint: String,
    /// The public part, armored.
    pub public: PathBuf,
}

impl Key {
    /// Makes a key without a passphrase.
    ///
    /// # Errors
    /// When gpg fails.
    pub async fn generate(folder: &Path, owner: &str) -> Result<Self> {
        let home = folder.join(format!("gnupg-{}", owner.replace(' ', "-").to_lowercase()));
        fs::create_dir_all(&home)?;
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        }
        let mut key = Self { public: home.join("public.asc"), home, fingerprint: String::new() };
        key.gpg(&["--quick-generate-key", owner, "ed25519", "sign", "never"]).await?;
        let listing = key.gpg(&["--with-colons", "--list-keys"]).await?;
        key.fingerprint = listing
            .lines()
            .find_map(|line| line.strip_prefix("fpr:"))
            .and_then(|rest| rest.split(':').find(|field| !field.is_empty()))
            .context("gpg listed no key")?
            .to_owned();
        fs::write(&key.public, key.gpg(&["--armor", "--export"]).await?)?;
        Ok(key)
    }

    /// Signs a file; the signature is detached and armored.
    ///
    /// # Errors
    /// When gpg fails.
    pub async fn sign_detached(&self, file: &Path, signature: &Path) -> Result<()> {
        let (file, signature) = (file.display().to_string(), signature.display().to_string());
        self.gpg(&["--armor", "--output", &signature, "--detach-sign", &file]).await?;
        Ok(())
    }

    async fn gpg(&self, arguments: &[&str]) -> Result<String> {
        let outcome = run(Command::new("gpg")
            .arg("--homedir")
            .arg(&self.home)
            .args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"])
            .args(["--passphrase", ""])
            .args(arguments))
        .await?
        .success()?;
        Ok(outcome.stdout)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // gpg leaves an agent behind for each keyring folder.
        let _ = std::process::Command::new("gpgconf")
            .arg("--homedir")
            .arg(&self.home)
            .args(["--kill", "gpg-agent"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

/// What reprepro keeps: `conf`, `db`, `dists` and `pool`.
pub struct Repository {
    base: PathBuf,
    key: Key,
    /// The time of the last release, in seconds since 1970.
    released: AtomicU64,
}

impl Repository {
    /// An empty repository.
    ///
    /// # Errors
    /// When gpg or reprepro fails.
    pub async fn create(folder: &Path) -> Result<Self> {
        let key = Key::generate(folder, "Vendor").await?;
        let base = folder.join("repository");
        fs::create_dir_all(base.join("conf"))?;
        let architecture = architecture().await?;
        fs::write(
            base.join("conf/distributions"),
            format!(
                "Origin: Vendor\nLabel: Vendor\nSuite: {SUITE}\nCodename: {SUITE}\n\
                 Architectures: {architecture}\nComponents: {COMPONENT}\n\
                 DebIndices: Packages Release . .gz .xz\nValidFor: 30d\n\
                 Description: updates made for a test\nSignWith: {}\n",
                key.fingerprint
            ),
        )?;
        let repository = Self { base, key, released: AtomicU64::new(0) };
        repository.reprepro(&["export"]).await?;
        Ok(repository)
    }

    /// The folder that the server serves.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The public key, armored.
    #[must_use]
    pub fn keyring(&self) -> &Path {
        &self.key.public
    }

    /// Adds packages and signs the result.
    ///
    /// # Errors
    /// When reprepro refuses one.
    pub async fn include(&self, packages: &[Package]) -> Result<()> {
        let files: Vec<String> =
            packages.iter().map(|package| package.file.display().to_string()).collect();
        let mut arguments = vec!["-S", "utils", "-P", "optional", "includedeb", SUITE];
        arguments.extend(files.iter().map(String::as_str));
        self.reprepro(&arguments).await?;
        self.stamp()
    }

    /// Two releases never have the same `Last-Modified`, which counts whole
    /// seconds: tests release faster than any vendor.
    fn stamp(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let stamp = now.max(self.released.load(Ordering::SeqCst) + 1);
        self.released.store(stamp, Ordering::SeqCst);
        let time = UNIX_EPOCH + Duration::from_secs(stamp);
        let mut folders = vec![self.base.join("dists")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    File::open(path)?.set_modified(time)?;
                }
            }
        }
        Ok(())
    }

    /// A file of the suite, such as `Release`.
    #[must_use]
    pub fn suite_file(&self, name: &str) -> PathBuf {
        self.base.join("dists").join(SUITE).join(name)
    }

    /// Changes the text of `Release` and signs it again, as a vendor with an old
    /// or a mistaken release would have it.
    ///
    /// # Errors
    /// When gpg fails.
    pub async fn rewrite_release(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let release = self.suite_file("Release");
        let text = change(fs::read_to_string(&release)?);
        fs::write(&release, text)?;
        let source = release.display().to_string();
        for (form, name) in [("--clearsign", "InRelease"), ("--detach-sign", "Release.gpg")] {
            let output = self.suite_file(name).display().to_string();
            let arguments =
                ["--armor", "--digest-algo", "SHA512", form, "--output", &output, &source];
            self.key.gpg(&arguments).await?;
        }
        self.stamp()
    }

    async fn reprepro(&self, arguments: &[&str]) -> Result<()> {
        run(Command::new("reprepro")
            .arg("--basedir")
            .arg(&self.base)
            .arg("--gnupghome")
            .arg(&self.key.home)
            .args(["--silent", "--ignore=wrongdistribution"])
            .args(arguments))
        .await?
        .success()?;
        Ok(())
    }
}

/// The architecture of this machine, in Debian's words.
///
/// # Errors
/// When dpkg is missing.
pub async fn architecture() -> Result<String> {
    let outcome = run(Command::new("dpkg").arg("--print-architecture")).await?.success()?;
    Ok(outcome.stdout.trim().to_owned())
}
