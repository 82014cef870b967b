//! Debian packages: real ones from the distribution, and samples made here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::binaries::target_folder;
use crate::run::run;

/// Small packages that need little more than a C library, among them
/// `Multi-Arch` ones, `all` ones and two binaries of one source.
const SMALL: &[&str] = &[
    "hello",
    "tree",
    "figlet",
    "jq",
    "libjq1",
    "libonig5",
    "dos2unix",
    "pwgen",
    "pv",
    "less",
    "ed",
    "time",
    "wamerican",
];

/// Packages whose version has an epoch; the first that there is.
const WITH_EPOCH: &[&str] = &["rdate", "isomd5sum", "libcap2-bin"];

/// Packages of 20 to 30 MB without dependencies; the first that there is.
const LARGE: &[&str] =
    &["connectagram-data", "tanglet-data", "frozen-bubble-data", "fonts-hanazono"];

/// What counts as large.
pub const LARGE_BYTES: u64 = 20 * 1000 * 1000;

/// One `.deb`.
#[derive(Debug, Clone)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its version, with epoch.
    pub version: String,
    /// The source package's name.
    pub source: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// The file.
    pub file: PathBuf,
    /// The file's length.
    pub bytes: u64,
}

impl Package {
    async fn read(file: &Path) -> Result<Self> {
        let format = "${Package}\n${Version}\n${source:Package}\n${Architecture}";
        let outcome =
            run(Command::new("dpkg-deb").arg("--show").arg("--showformat").arg(format).arg(file))
                .await?
                .success()?;
        let fields: Vec<&str> = outcome.stdout.lines().collect();
        let [name, version, source, architecture] = fields[..] else {
            anyhow::bail!("dpkg-deb said {:?} about {}", outcome.stdout, file.display());
        };
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            source: source.to_owned(),
            architecture: architecture.to_owned(),
            file: file.to_owned(),
            bytes: fs::metadata(file)?.len(),
        })
    }
}

/// Packages of the distribution that this runs on: at least twelve, one of them
/// large, one with an epoch. Downloaded once, then kept in the target folder.
///
/// # Errors
/// When there is neither a network nor an earlier download.
pub async fn distribution() -> Result<Vec<Package>> {
    let folder = target_folder()?.join("vendor-packages");
    fs::create_dir_all(&folder)?;
    // Several scenarios may want them at once; the first one downloads.
    let lock = File::create(folder.join("lock"))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;

    let mut packages = Vec::new();
    for name in SMALL {
        packages.push(download(&folder, name).await?);
    }
    packages.push(first_of(&folder, WITH_EPOCH).await?);
    packages.push(first_of(&folder, LARGE).await?);
    drop(lock);

    ensure!(packages.iter().any(|package| package.bytes > LARGE_BYTES), "no large package");
    ensure!(packages.iter().any(|package| package.version.contains(':')), "no epoch");
    Ok(packages)
}

async fn first_of(folder: &Path, names: &[&str]) -> Result<Package> {
    let mut last = None;
    for name in names {
        match download(folder, name).await {
            Ok(package) => return Ok(package),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no names were given")?)
}

async fn download(folder: &Path, name: &str) -> Result<Package> {
    if let Some(file) = downloaded(folder, name)? {
        return Package::read(&file).await;
    }
    // In a folder of its own first: a download that was cut leaves no half file.
    let partial = tempfile::tempdir_in(folder)?;
    run(Command::new("apt-get")
        .args(["download", "-q", "-o", "APT::Sandbox::User=root", name])
        .current_dir(partial.path()))
    .await?
    .success()
    .with_context(|| format!("could not download {name}; has `apt-get update` been run?"))?;
    let file = downloaded(partial.path(), name)?
        .with_context(|| format!("apt-get left no file for {name}"))?;
    let kept = folder.join(file.file_name().context("a file has a name")?);
    fs::rename(&file, &kept)?;
    Package::read(&kept).await
}

fn downloaded(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        if file_name.starts_with(&format!("{name}_")) && file_name.ends_with(".deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A package to be made on the spot.
#[derive(Debug, Clone)]
pub struct Sample {
    name: String,
    version: String,
    architecture: String,
    fields: Vec<String>,
    scripts: Vec<(&'static str, String)>,
    bytes: usize,
}

impl Sample {
    /// An architecture-independent package of a few hundred bytes.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
            fields: Vec::new(),
            scripts: Vec::new(),
            bytes: 64,
        }
    }

    /// With so much content that does not compress.
    #[must_use]
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// With a `Depends` field.
    #[must_use]
    pub fn with_depends(self, depends: &str) -> Self {
        self.with_field("Depends", depends)
    }

    /// With any other field, such as `Provides`.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.push(format!("{name}: {value}\n"));
        self
    }

    /// With a maintainer script, such as `postinst`: what `sh` is to do.
    #[must_use]
    pub fn with_script(mut self, name: &'static str, lines: &str) -> Self {
        self.scripts.push((name, format!("#!/bin/sh\nset -e\n{lines}\n")));
        self
    }

    /// Writes the `.deb` into `folder`.
    ///
    /// # Errors
    /// When dpkg-deb fails or the disk is full.
    pub async fn build(&self, folder: &Path) -> Result<Package> {
        let tree = tempfile::tempdir_in(folder)?;
        let control = tree.path().join("DEBIAN");
        let content = tree.path().join("usr/share").join(&self.name);
        fs::create_dir_all(&control)?;
        fs::create_dir_all(&content)?;
        fs::write(control.join("control"), self.control())?;
        for (name, script) in &self.scripts {
            fs::write(control.join(name), script)?;
            set_mode(&control.join(name), 0o755)?;
        }
        let seed = format!("{} {}", self.name, self.version);
        write_noise(&content.join("payload"), &seed, self.bytes as u64)?;
        set_mode(tree.path(), 0o755)?;

        let version = self.version.replace(':', "%3a");
        let file = folder.join(format!("{}_{version}_{}.deb", self.name, self.architecture));
        run(Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Znone"])
            .arg(tree.path())
            .arg(&file))
        .await?
        .success()?;
        Package::read(&file).await
    }

    fn control(&self) -> String {
        let fields = self.fields.concat();
        format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Vendor <vendor@vendor.example>\n\
             Section: utils\nPriority: optional\n{fields}Description: sample update\n Made for a test.\n",
            self.name, self.version, self.architecture
        )
    }
}

/// Writes bytes that depend on nothing but `seed` and do not compress.
///
/// # Errors
/// When the disk is full.
pub fn write_noise(path: &Path, seed: &str, bytes: u64) -> Result<()> {
    let mut noise = blake3::Hasher::new().update(seed.as_bytes()).finalize_xof();
    let mut reader = std::io::Read::take(&mut noise, bytes);
    let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(path)?);
    std::io::copy(&mut reader, &mut file)?;
    std::io::Write::flush(&mut file)?;
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}
