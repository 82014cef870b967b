//! The vendor: sample packages and a signed apt repository of them, made with
//! the distribution's own tools.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::folder::{make_folder, write};
use super::{Error, process, web};

/// How long one of the tools may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The only suite.
pub(super) const SUITE: &str = "stable";
/// The only component.
pub(super) const COMPONENT: &str = "main";
/// The source package that nobody in the company wants.
pub(super) const UNWANTED: &str = "toolbar";
/// Who signs the vendor's releases.
const SIGNER: &str = "Demo Vendor <vendor@demo.invalid>";

/// A binary package.
struct Sample {
    name: &'static str,
    source: &'static str,
    version: &'static str,
    /// `None`: the machine's own.
    architecture: Option<&'static str>,
    extra: &'static str,
    /// Bytes that do not compress.
    bytes: usize,
    summary: &'static str,
}

/// An epoch, a `~`, a package for all architectures, one that is large.
const SAMPLES: [Sample; 5] = [
    Sample {
        name: "greeter",
        source: "greeter",
        version: "1.4-2",
        architecture: None,
        extra: "",
        bytes: 24 << 10,
        summary: "says hello, now without the buffer overflow",
    },
    Sample {
        name: "ledger",
        source: "ledger",
        version: "2:3.1~rc2-1",
        architecture: None,
        extra: "Depends: ledger-common (= 2:3.1~rc2-1)\n",
        bytes: 512 << 10,
        summary: "keeps accounts",
    },
    Sample {
        name: "ledger-common",
        source: "ledger",
        version: "2:3.1~rc2-1",
        architecture: Some("all"),
        extra: "Multi-Arch: foreign\n",
        bytes: 96 << 10,
        summary: "keeps accounts (files for all architectures)",
    },
    Sample {
        name: "atlas-data",
        source: "atlas-data",
        version: "2026.11",
        architecture: Some("all"),
        extra: "",
        bytes: 12 << 20,
        summary: "maps of everywhere",
    },
    Sample {
        name: UNWANTED,
        source: UNWANTED,
        version: "9.0-1",
        architecture: None,
        extra: "",
        bytes: 8 << 10,
        summary: "a toolbar for your browser",
    },
];

/// A package file as a machine will have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// Of the whole file, by the vendor's own making.
    pub(super) sha256: String,
}

/// The vendor at work.
pub(super) struct Vendor {
    server: web::Server,
    pub(super) keyring: PathBuf,
    pub(super) architecture: String,
    /// What the company wants.
    pub(super) wanted: Vec<Package>,
}

impl Vendor {
    /// Makes the packages and the repository, and serves it.
    pub(super) async fn open(folder: PathBuf) -> Result<Self, Error> {
        let architecture = tool("dpkg", &["--print-architecture"], &folder_of_tools()).await?;
        let architecture = architecture.trim().to_owned();
        let mut wanted = Vec::new();
        for sample in &SAMPLES {
            let file = build(&folder, sample, &architecture).await?;
            if sample.name != UNWANTED {
                wanted.push(Package {
                    name: sample.name,
                    version: sample.version,
                    sha256: file_sha256(&file)?,
                });
            }
        }
        index(&folder, &architecture).await?;
        let keyring = sign(&folder).await?;
        let server = web::Server::start(folder).await?;
        Ok(Self { server, keyring, architecture, wanted })
    }

    /// The repository's base URL.
    pub(super) fn url(&self) -> String {
        self.server.url()
    }
}

fn folder_of_tools() -> PathBuf {
    PathBuf::from("/")
}

/// Runs a tool in a folder and returns what it printed.
async fn tool(program: &str, arguments: &[&str], folder: &Path) -> Result<String, Error> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("LC_ALL", "C.UTF-8");
    let finished = process::run(command, LIMIT).await?;
    if finished.success {
        return Ok(finished.stdout);
    }
    Err(Error::Program { program: program.to_owned(), output: finished.stderr.trim().to_owned() })
}

/// Builds one package and returns its file.
async fn build(folder: &Path, sample: &Sample, native: &str) -> Result<PathBuf, Error> {
    let architecture = sample.architecture.unwrap_or(native);
    let tree = folder.join("build").join(sample.name);
    let share = tree.join("usr/share").join(sample.name);
    make_folder(&tree.join("DEBIAN"))?;
    make_folder(&share)?;
    write(&share.join("content"), content(sample))?;
    let control = format!(
        "Package: {}\nSource: {}\nVersion: {}\nArchitecture: {architecture}\nMaintainer: {SIGNER}\n\
         Section: misc\nPriority: optional\n{}Description: {}\n",
        sample.name, sample.source, sample.version, sample.extra, sample.summary
    );
    // A source of the same name is left out, as the tools of Debian do.
    let control = control.replace(
        &format!("Package: {0}\nSource: {0}\n", sample.name),
        &format!("Package: {}\n", sample.name),
    );
    write(&tree.join("DEBIAN/control"), control)?;

    let pool = folder.join("pool").join(COMPONENT).join(&sample.source[..1]).join(sample.source);
    make_folder(&pool)?;
    let version = sample.version.split_once(':').map_or(sample.version, |(_, version)| version);
    let file = pool.join(format!("{}_{version}_{architecture}.deb", sample.name));
    let (from, to) = (tree.display().to_string(), file.display().to_string());
    tool("dpkg-deb", &["--root-owner-group", "-Zgzip", "-z1", "--build", &from, &to], folder)
        .await?;
    Ok(file)
}

/// Bytes that look random and are the same every time.
fn content(sample: &Sample) -> Vec<u8> {
    let mut bytes = vec![0; sample.bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(sample.name.as_bytes()).update(sample.version.as_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// The SHA-256 of bytes in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

fn file_sha256(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(sha256(&bytes))
}

/// Writes the indices and the `Release` file over them.
async fn index(folder: &Path, architecture: &str) -> Result<(), Error> {
    let suite = folder.join("dists").join(SUITE);
    let binary = suite.join(COMPONENT).join(format!("binary-{architecture}"));
    make_folder(&binary)?;
    let packages = tool("apt-ftparchive", &["packages", "pool"], folder).await?;
    write(&binary.join("Packages"), &packages)?;
    write(&binary.join("Packages.gz"), gzip(packages.as_bytes(), &binary)?)?;
    let release = |name: &str, value: &str| format!("APT::FTPArchive::Release::{name}={value}");
    let options = [
        release("Origin", "Demo Vendor"),
        release("Label", "Demo Vendor"),
        release("Suite", SUITE),
        release("Codename", SUITE),
        release("Components", COMPONENT),
        release("Architectures", architecture),
    ];
    let place = format!("dists/{SUITE}");
    let mut arguments: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
    arguments.extend(["release", &place]);
    let text = tool("apt-ftparchive", &arguments, folder).await?;
    write(&suite.join("Release"), text)
}

fn gzip(bytes: &[u8], place: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|source| Error::Io {
        action: "compress an index in",
        path: place.to_owned(),
        source,
    })
}

/// Makes a key, signs the release with it and exports the public part.
async fn sign(folder: &Path) -> Result<PathBuf, Error> {
    // In a folder of its own with a short name: the agent's socket lies in it,
    // and the name of a socket has little room.
    let io = |source| Error::Io { action: "make a folder in", path: std::env::temp_dir(), source };
    let home = tempfile::Builder::new().prefix("pm-gpg-").tempdir().map_err(io)?;
    let home_text = home.path().display().to_string();
    let gpg = |arguments: &[&str]| {
        let mut all = vec![
            "--homedir",
            home_text.as_str(),
            "--batch",
            "--yes",
            "--quiet",
            "--passphrase",
            "",
        ];
        all.extend_from_slice(arguments);
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = async |arguments: &[&str]| {
        let arguments = gpg(arguments);
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        tool("gpg", &words, folder).await
    };
    let suite = format!("dists/{SUITE}");
    let (release, inline, detached) =
        (format!("{suite}/Release"), format!("{suite}/InRelease"), format!("{suite}/Release.gpg"));
    let signed = async {
        run(&["--quick-generate-key", SIGNER, "ed25519", "sign", "1y"]).await?;
        run(&["--output", &inline, "--clearsign", &release]).await?;
        run(&["--output", &detached, "--armor", "--detach-sign", &release]).await?;
        run(&["--output", "vendor.asc", "--armor", "--export", SIGNER]).await
    };
    let outcome = signed.await;
    // The agent that gpg started ends with its home, or here if it can be told.
    let _ = tool("gpgconf", &["--homedir", &home_text, "--kill", "all"], folder).await;
    outcome.map(|_| folder.join("vendor.asc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_every_time_and_different_for_each() {
        assert_eq!(content(&SAMPLES[0]), content(&SAMPLES[0]));
        assert_ne!(content(&SAMPLES[0])[..1_024], content(&SAMPLES[1])[..1_024]);
        assert_eq!(content(&SAMPLES[0]).len(), SAMPLES[0].bytes);
    }

    #[tokio::test]
    async fn a_real_apt_repository_is_made() {
        if super::super::tools::check().is_err() {
            eprintln!("skipped: the distribution's tools are not here");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let vendor = Vendor::open(folder.path().to_owned()).await.expect("a repository");
        assert_eq!(vendor.wanted.len(), SAMPLES.len() - 1);
        assert!(vendor.wanted.iter().all(|package| package.name != UNWANTED));
        let release =
            std::fs::read_to_string(folder.path().join("dists/stable/InRelease")).expect("a file");
        assert!(
            release.contains("BEGIN PGP SIGNED MESSAGE") && release.contains("main/binary-"),
            "{release}"
        );
        let index = format!("dists/stable/main/binary-{}/Packages", vendor.architecture);
        let packages = std::fs::read_to_string(folder.path().join(index)).expect("a file");
        assert!(
            packages.contains("Version: 2:3.1~rc2-1") && packages.contains("ledger_3.1~rc2-1_"),
            "{packages}"
        );
        assert!(packages.contains("Source: ledger\n"), "{packages}");
        assert!(vendor.keyring.is_file());
    }
}
