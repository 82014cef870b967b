//! TUF clients that follow a node from outside: our `tuf-client`, and
//! python-tuf, which knows nothing of us.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aws_lc_rs::signature::Ed25519KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio::process::Command;

use crate::binaries;
use crate::run::{Outcome, run};

/// A folder of trusted metadata, begun with a pinned root, and the node that it
/// follows.
pub struct Follower {
    /// Trusted metadata.
    pub metadata: PathBuf,
    /// Where targets are put.
    pub targets: PathBuf,
    base: String,
    ca: PathBuf,
}

impl Follower {
    /// A follower of the node at `url` that trusts `ca` for TLS.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn new(folder: &Path, url: &str, ca: &Path) -> Result<Self> {
        let (metadata, targets) = (folder.join("metadata"), folder.join("targets"));
        fs::create_dir_all(&metadata)?;
        fs::create_dir_all(&targets)?;
        Ok(Self { metadata, targets, base: url.to_owned(), ca: ca.to_owned() })
    }

    /// The same, following another node from now on.
    #[must_use]
    pub fn following(mut self, url: &str) -> Self {
        url.clone_into(&mut self.base);
        self
    }

    /// `tuf-client init`: pins a root.
    ///
    /// # Errors
    /// When the program was not built.
    pub async fn init(&self, root: &Path) -> Result<Outcome> {
        run(self.tuf_client()?.arg("init").arg(root)).await
    }

    /// `tuf-client refresh`.
    ///
    /// # Errors
    /// When the program was not built.
    pub async fn refresh(&self) -> Result<Outcome> {
        run(self.tuf_client()?.arg("--metadata-url").arg(self.metadata_url()).arg("refresh")).await
    }

    /// `tuf-client download`.
    ///
    /// # Errors
    /// When the program was not built.
    pub async fn download(&self, target: &str) -> Result<Outcome> {
        run(self
            .tuf_client()?
            .arg("--metadata-url")
            .arg(self.metadata_url())
            .args(["--target-name", target, "--target-dir"])
            .arg(&self.targets)
            .arg("--target-base-url")
            .arg(self.target_url())
            .arg("download"))
        .await
    }

    /// python-tuf refreshes from the pinned root and downloads a target.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn python(&self, python: &Path, root: &Path, target: &str) -> Result<Outcome> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/follow.py");
        run(Command::new(python)
            .arg(script)
            .arg(root)
            .arg(self.metadata_url())
            .arg(self.target_url())
            .arg(target)
            .arg(&self.metadata)
            .arg(&self.targets)
            .env("SSL_CERT_FILE", &self.ca))
        .await
    }

    fn metadata_url(&self) -> String {
        format!("{}/tuf/metadata/", self.base)
    }

    fn target_url(&self) -> String {
        format!("{}/tuf/targets/", self.base)
    }

    fn tuf_client(&self) -> Result<Command> {
        let mut command = Command::new(binaries::tuf_client()?);
        command.arg("--metadata-dir").arg(&self.metadata).env("SSL_CERT_FILE", &self.ca);
        Ok(command)
    }
}

/// A signed file that says something else, signed with `key` (PEM) in the
/// place of its only signature.
///
/// # Errors
/// When it is no signed file, or the key cannot be used.
pub fn signed_anew(file: &[u8], key: &Path, change: impl FnOnce(&mut Value)) -> Result<Vec<u8>> {
    let mut file: Value = serde_json::from_slice(file)?;
    change(&mut file["signed"]);
    let key = PrivatePkcs8KeyDer::from_pem_file(key).context("no private key")?;
    let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())?;
    let signature = key.sign(canonical(&file["signed"])?.as_bytes());
    file["signatures"][0]["sig"] = hex(signature.as_ref()).into();
    Ok(serde_json::to_vec(&file)?)
}

/// Canonical JSON of what has no control characters: members in order, no
/// blanks.
fn canonical(value: &Value) -> Result<String> {
    Ok(match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let one = |(name, value): (&String, &Value)| {
                Ok(format!("{}:{}", quoted(name), canonical(value)?))
            };
            let members: Vec<_> = sorted.into_iter().map(one).collect::<Result<_>>()?;
            format!("{{{}}}", members.join(","))
        }
        Value::Array(entries) => {
            let entries: Vec<_> = entries.iter().map(canonical).collect::<Result<_>>()?;
            format!("[{}]", entries.join(","))
        }
        Value::String(text) => quoted(text),
        other => serde_json::to_string(other)?,
    })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A python that has python-tuf, in an environment of its own in the target
/// folder. `None` when it cannot be installed, which is said.
///
/// # Errors
/// When there is no target folder.
pub async fn python_tuf() -> Result<Option<PathBuf>> {
    let folder = binaries::target_folder()?.join("python-tuf");
    let python = folder.join("bin/python");
    let ready = folder.join("ready");
    if ready.is_file() {
        return Ok(Some(python));
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .await?
        .success()
        .context("python3 with venv is needed")?;
    let install = ["-m", "pip", "install", "--quiet", "--retries", "1", "tuf>=6"];
    let installed = run(Command::new(&python).args(install)).await?;
    if installed.code != 0 {
        eprintln!("SKIPPED: python-tuf cannot be installed here:\n{}", installed.stderr);
        return Ok(None);
    }
    fs::write(ready, "")?;
    Ok(Some(python))
}
