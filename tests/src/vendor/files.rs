//! A vendor of plain files: a folder with a manifest that gpg signs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::repository::Key;

/// A file of a revision.
#[derive(Debug, Clone)]
pub struct File {
    path: String,
    bytes: Vec<u8>,
    language: Option<String>,
    architecture: Option<String>,
    place: Option<String>,
    mode: Option<String>,
}

impl File {
    /// A file with some content of its own for each path and seed.
    #[must_use]
    pub fn new(path: &str, seed: &str, bytes: usize) -> Self {
        let mut content = vec![0; bytes];
        let mut hasher = blake3::Hasher::new();
        hasher.update(path.as_bytes()).update(&[0]).update(seed.as_bytes());
        hasher.finalize_xof().fill(&mut content);
        Self::of(path, content)
    }

    /// A file with this content.
    #[must_use]
    pub fn of(path: &str, bytes: Vec<u8>) -> Self {
        let path = path.to_owned();
        Self { path, bytes, language: None, architecture: None, place: None, mode: None }
    }

    /// Put in place there on machines.
    #[must_use]
    pub fn to(mut self, path: &str) -> Self {
        self.place = Some(path.to_owned());
        self
    }

    /// With these permissions there, such as `0755`.
    #[must_use]
    pub fn with_mode(mut self, mode: &str) -> Self {
        self.mode = Some(mode.to_owned());
        self
    }

    /// For one language.
    #[must_use]
    pub fn in_language(mut self, tag: &str) -> Self {
        self.language = Some(tag.to_owned());
        self
    }

    /// For one architecture.
    #[must_use]
    pub fn on(mut self, architecture: &str) -> Self {
        self.architecture = Some(architecture.to_owned());
        self
    }

    /// Its content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of its content, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.bytes);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn table(&self) -> String {
        let mut text = format!(
            "[[revision.payload]]\nfile = \"{}\"\nlength = {}\nsha256 = \"{}\"\n",
            self.path,
            self.bytes.len(),
            self.sha256()
        );
        let Self { language, architecture, place, mode, .. } = self;
        let stated = [
            ("language", language),
            ("architecture", architecture),
            ("path", place),
            ("mode", mode),
        ];
        for (key, value) in stated {
            if let Some(value) = value {
                text.push_str(&format!("{key} = \"{value}\"\n"));
            }
        }
        text
    }
}

/// A revision as the manifest states it.
#[derive(Debug, Clone)]
pub struct Update {
    /// Its id, such as `KB5034441`.
    pub id: String,
    /// Its version.
    pub version: String,
    /// More lines of its table.
    pub more: String,
    /// Its files.
    pub files: Vec<File>,
}

impl Update {
    /// A revision without anything optional.
    #[must_use]
    pub fn new(id: &str, version: &str, files: &[File]) -> Self {
        Self {
            id: id.to_owned(),
            version: version.to_owned(),
            more: String::new(),
            files: files.to_vec(),
        }
    }

    /// With more lines of TOML, such as `severity = "critical"`.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.more = format!("{}{lines}\n", self.more);
        self
    }

    fn table(&self) -> String {
        let files: String = self.files.iter().map(File::table).collect();
        let Self { id, version, more, .. } = self;
        format!(
            "\n[[revision]]\nid = \"{id}\"\nversion = \"{version}\"\ntitle = \"{id}\"\n{more}{files}"
        )
    }
}

/// A folder with a manifest, and the key that signs it.
pub struct FilesVendor {
    key: Key,
    folder: PathBuf,
    // Removed last.
    _parent: TempDir,
}

impl FilesVendor {
    /// A vendor that has released these.
    ///
    /// # Errors
    /// When gpg fails or the disk is full.
    pub async fn with(updates: &[Update]) -> Result<Self> {
        let parent = tempfile::Builder::new().prefix("pm-files-").tempdir()?;
        let key = Key::generate(parent.path(), "Files Vendor").await?;
        let folder = parent.path().join("folder");
        fs::create_dir_all(&folder)?;
        let vendor = Self { key, folder, _parent: parent };
        vendor.release(updates).await?;
        Ok(vendor)
    }

    /// Writes the files and a manifest of exactly these, and signs it.
    ///
    /// # Errors
    /// When gpg fails or the disk is full.
    pub async fn release(&self, updates: &[Update]) -> Result<()> {
        for file in updates.iter().flat_map(|update| &update.files) {
            let path = self.folder.join(&file.path);
            fs::create_dir_all(path.parent().context("a path without folder")?)?;
            fs::write(path, &file.bytes)?;
        }
        let tables: String = updates.iter().map(Update::table).collect();
        // Whole seconds, as people write it; never in the future.
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
        self.publish(&format!("format = 1\n[source]\nreleased = {now}\n{tables}")).await
    }

    /// Writes and signs a manifest of one's choice.
    ///
    /// # Errors
    /// When gpg fails or the disk is full.
    pub async fn publish(&self, manifest: &str) -> Result<()> {
        fs::write(self.manifest(), manifest)?;
        self.key.sign_detached(&self.manifest(), &self.folder.join("manifest.toml.asc")).await
    }

    /// The folder for `source add files`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.folder.join("manifest.toml")
    }

    /// The key for `source add files`.
    #[must_use]
    pub fn keyring(&self) -> PathBuf {
        self.key.public.clone()
    }
}
