//! Packages of rpm, made on the spot by rpmbuild.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::run::run;

/// A package for every machine with one file, `/usr/share/NAME/version`; one that belongs
/// beside its earlier versions has `/usr/share/NAME-VERSION/version`.
#[derive(Debug, Clone)]
pub struct Rpm {
    name: String,
    version: String,
    tags: String,
    script: String,
    is_beside: bool,
}

impl Rpm {
    /// A package in the first release of a version.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        let (tags, script) = (String::new(), String::new());
        let (name, version) = (name.to_owned(), version.to_owned());
        Self { name, version, tags, script, is_beside: false }
    }

    /// One that belongs beside its earlier versions, as kernels do.
    #[must_use]
    pub fn beside(self) -> Self {
        Self { is_beside: true, ..self.with_tag("Provides: installonlypkg(kernel)") }
    }

    /// With a tag, such as `Requires: lib`.
    #[must_use]
    pub fn with_tag(mut self, line: &str) -> Self {
        self.tags.push_str(&format!("{line}\n"));
        self
    }

    /// With a script before it is installed. It is Lua, which rpm brings along: no
    /// program of the machine is needed for it.
    #[must_use]
    pub fn with_script(self, lines: &str) -> Self {
        Self { script: format!("%pre -p <lua>\n{lines}\n"), ..self }
    }

    /// Writes the `.rpm` into `folder`.
    ///
    /// # Errors
    /// When rpmbuild fails or the disk is full.
    pub async fn build(&self, folder: &Path) -> Result<PathBuf> {
        let top = tempfile::tempdir_in(folder)?;
        let spec = top.path().join("package.spec");
        fs::write(&spec, self.spec())?;
        run(Command::new("rpmbuild")
            .args(["-bb", "--quiet", "--define"])
            .arg(format!("_topdir {}", top.path().display()))
            .arg(&spec))
        .await?
        .success()?;
        let name = format!("{}-{}-1.noarch.rpm", self.name, self.version);
        let kept = folder.join(&name);
        fs::rename(top.path().join("RPMS/noarch").join(&name), &kept)
            .with_context(|| format!("rpmbuild made no {name}"))?;
        Ok(kept)
    }

    fn spec(&self) -> String {
        let Self { name, version, tags, script, is_beside } = self;
        let folder = if *is_beside { format!("{name}-{version}") } else { name.clone() };
        format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: sample\nLicense: none\nBuildArch: noarch\n\
             {tags}%description\nMade for a test.\n{script}\
             %install\nmkdir -p %{{buildroot}}/usr/share/{folder}\necho {version} > %{{buildroot}}/usr/share/{folder}/version\n\
             %files\n/usr/share/{folder}/version\n"
        )
    }
}
