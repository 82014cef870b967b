//! The second vendor: a folder of plain files with a signed manifest, in two
//! languages, and a machine that fetches them with nothing but curl.
//!
//! The vendor releases three updates. One replaces another, and one is released
//! again under its version with other bytes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::company::{Company, Node};
use super::folder::{Folder, make_folder, write};
use super::report::MachineReport;
use super::vendor::sha256;
use super::{Error, process};
use crate::openpgp::SigningKey;
use crate::source::files::{MANIFEST, SIGNATURES};

/// What the vendor is called in the company.
const SOURCE: &str = "windows";
/// The update that another one replaces.
const OLD: &str = "KB5000001";
/// The one that replaces it.
const CUMULATIVE: &str = "KB5000002";
/// The one that is released again.
const AGAIN: &str = "KB5000003";
/// Who takes which language.
pub(super) const READERS: [(&str, &str); 2] = [("lyon", "fr-FR"), ("osaka", "ja-JP")];
/// How long one download may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What was seen of the second vendor's updates.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct FilesReport {
    /// `REVISION` that came as another content of a known version.
    pub(crate) updated: Vec<String>,
    /// `REVISION supersedes NAME`.
    pub(crate) supersedes: Vec<String>,
    /// `NODE: FILE` that is approved and not carried there.
    pub(crate) not_carried: Vec<String>,
}

/// The vendor and its folder.
pub(super) struct FilesVendor {
    folder: PathBuf,
    key: SigningKey,
    keyring: PathBuf,
}

/// An update as the vendor has it now.
struct Update {
    id: &'static str,
    more: &'static str,
    seed: &'static str,
    kilobytes: usize,
}

fn updates(again: &'static str) -> [Update; 3] {
    let replaces = "classification = \"rollup\"\nseverity = \"critical\"\ncves = [\"CVE-2026-10001\"]\n\
                    supersedes = [\"KB5000001\"]\nreboot = \"required\"\n";
    [
        Update { id: OLD, more: "classification = \"security\"\n", seed: "1", kilobytes: 64 },
        Update { id: CUMULATIVE, more: replaces, seed: "1", kilobytes: 512 },
        Update { id: AGAIN, more: "reboot = \"never\"\n", seed: again, kilobytes: 128 },
    ]
}

impl Update {
    /// A re-release has a file of its own, so that the first one can be had still.
    fn file(&self, language: &str) -> String {
        format!("{}/{}/{}-{language}.msu", self.id, self.seed, self.id.to_lowercase())
    }

    /// Bytes that no other file has.
    fn content(&self, language: &str) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.file(language).as_bytes()).update(self.seed.as_bytes());
        let mut bytes = vec![0; self.kilobytes << 10];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }
}

impl FilesVendor {
    /// Makes the folder and a key, and releases for the first time.
    pub(super) fn open(folder: PathBuf) -> Result<Self, Error> {
        let failed = |error: crate::openpgp::Error| Error::Program {
            program: "the files vendor".to_owned(),
            output: error.to_string(),
        };
        let key = SigningKey::generate("Demo Files <files@demo.invalid>", Timestamp::now())
            .map_err(failed)?;
        make_folder(&folder)?;
        let keyring = folder.with_extension("asc");
        write(&keyring, key.public_armored().map_err(failed)?)?;
        let vendor = Self { folder, key, keyring };
        vendor.release("1")?;
        Ok(vendor)
    }

    /// Writes files and manifest, and signs it.
    fn release(&self, again: &'static str) -> Result<(), Error> {
        let now = Timestamp::now();
        let released = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let mut text =
            format!("format = 1\n\n[source]\nvendor = \"Demo Files\"\nreleased = {released}\n");
        for update in updates(again) {
            let Update { id, more, .. } = &update;
            text.push_str(&format!(
                "\n[[revision]]\nid = \"{id}\"\nversion = \"1\"\ntitle = \"Demo update {id}\"\n\
                 products = [\"windows-11\"]\n{more}"
            ));
            for (_, language) in READERS {
                let (file, bytes) = (update.file(language), update.content(language));
                text.push_str(&format!(
                    "[[revision.payload]]\nfile = \"{file}\"\nlength = {}\nsha256 = \"{}\"\n\
                     architecture = \"x64\"\nlanguage = \"{language}\"\n",
                    bytes.len(),
                    sha256(&bytes)
                ));
                let file = self.folder.join(file);
                make_folder(file.parent().unwrap_or(&self.folder))?;
                write(&file, bytes)?;
            }
        }
        let signature = self.key.sign_detached(text.as_bytes(), now).map_err(|error| {
            Error::Program { program: "the files vendor".to_owned(), output: error.to_string() }
        })?;
        write(&self.folder.join(MANIFEST), text)?;
        write(&self.folder.join(SIGNATURES[0]), signature)
    }

    fn shown(path: &Path) -> String {
        path.display().to_string()
    }
}

#[derive(Deserialize)]
struct Updates {
    updates: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    revision: String,
    states: Vec<State>,
    facts: Option<Facts>,
}

#[derive(Deserialize)]
struct State {
    state: String,
}

#[derive(Deserialize)]
struct Facts {
    supersedes: Vec<String>,
}

/// A command's answer that nothing is read from.
type Answer = serde_json::Value;

/// The primary learns both releases, one after the other.
pub(super) async fn synchronise(
    company: &Company,
    vendor: &FilesVendor,
) -> Result<FilesReport, Error> {
    let primary = company.primary();
    let (folder, keyring) =
        (FilesVendor::shown(&vendor.folder), FilesVendor::shown(&vendor.keyring));
    let add = ["source", "add", "files", SOURCE, "--folder", &folder, "--keyring", &keyring];
    let _: Answer = primary.run(&add).await?;
    let _: Answer = primary.run(&["source", "sync", SOURCE]).await?;
    vendor.release("2")?;
    let _: Answer = primary.run(&["source", "sync", SOURCE]).await?;
    let list: Updates = primary.run(&["update", "list", "--source", SOURCE]).await?;
    let mut report = FilesReport::default();
    for row in list.updates {
        for name in row.facts.iter().flat_map(|facts| &facts.supersedes) {
            report.supersedes.push(format!("{} supersedes {name}", row.revision));
        }
        if row.states.iter().any(|state| state.state == "updated") {
            report.updated.push(row.revision);
        }
    }
    let again = format!("{SOURCE}:stable/{AGAIN}@1#2");
    if report.updated != [again.as_str()] || report.supersedes.len() != 1 {
        return Err(primary.fault(format!("shows other updates than were released: {report:?}")));
    }
    Ok(report)
}

/// Each reader's node takes one language only.
pub(super) async fn subscribe(company: &Company) -> Result<(), Error> {
    for (node, language) in READERS {
        let arguments = ["node", "subscribe", node, "--language", language];
        let _: Answer = company.primary().run(&arguments).await?;
    }
    Ok(())
}

/// `files/index.json`, as far as it is read here.
#[derive(Deserialize)]
struct Index {
    revisions: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    payloads: Vec<Payload>,
}

#[derive(Deserialize)]
struct Payload {
    path: String,
    language: String,
    sha256: String,
}

/// A machine at each reader's node fetches its language and compares it with
/// what the vendor made.
pub(super) async fn fetch_all(
    folder: &Folder,
    company: &Company,
) -> Result<Vec<MachineReport>, Error> {
    let readers = READERS.into_iter().filter_map(|(name, language)| {
        let node = company.nodes.iter().find(|node| node.name == name)?;
        Some((node, node.group()?, language))
    });
    let fetches = readers.map(|(node, group, language)| async move {
        let name = format!("{}-kiosk", node.name);
        let root = folder.machine(&name);
        make_folder(&root)?;
        let outcome = fetch(node, group, language, &name, &root).await;
        let (updates, problem) = match outcome {
            Ok(updates) => (updates, None),
            Err(error) => (Vec::new(), Some(super::report::with_causes(&error))),
        };
        let (group, node) = (group.to_owned(), node.name.to_owned());
        Ok(MachineReport { name, group, node, ok: problem.is_none(), updates, problem })
    });
    futures_util::future::join_all(fetches).await.into_iter().collect()
}

async fn fetch(
    node: &Node,
    group: &str,
    language: &str,
    machine: &str,
    root: &Path,
) -> Result<Vec<String>, Error> {
    let fault = |problem: String| Error::Machine {
        machine: machine.to_owned(),
        node: node.name.to_owned(),
        problem,
    };
    let base = format!("{}/files/production/{group}", node.url);
    let index = curl(node, &format!("{base}/index.json"), &root.join("index.json")).await;
    let index: Index =
        serde_json::from_slice(&index.map_err(fault)?).map_err(|error| fault(error.to_string()))?;
    let mut got = Vec::new();
    for (update, id) in updates("2").iter().zip([
        format!("{SOURCE}:stable/{OLD}@1"),
        format!("{SOURCE}:stable/{CUMULATIVE}@1"),
        format!("{SOURCE}:stable/{AGAIN}@1#2"),
    ]) {
        let Some(entry) = index.revisions.iter().find(|entry| entry.id == id) else {
            // What was replaced may be withdrawn.
            if update.id == OLD {
                continue;
            }
            return Err(fault(format!("{id} is not in the index")));
        };
        let of = entry.payloads.iter().find(|payload| payload.language == language);
        let payload = of.ok_or_else(|| fault(format!("{id} has nothing for {language}")))?;
        let made = sha256(&update.content(language));
        let place = root.join(update.id);
        let bytes = curl(node, &format!("{base}/{}", payload.path), &place).await.map_err(fault)?;
        if sha256(&bytes) != made || payload.sha256 != made {
            return Err(fault(format!("{id} is not what the vendor made")));
        }
        got.push(format!("{}={}", update.id, id.rsplit('@').next().unwrap_or_default()));
    }
    Ok(got)
}

async fn curl(node: &Node, url: &str, to: &Path) -> Result<Vec<u8>, String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"]);
    command.arg(node.data.join("identity/ca.pem")).arg("--output").arg(to).arg(url);
    let finished = process::run(command, LIMIT).await.map_err(|error| error.to_string())?;
    if !finished.success {
        return Err(format!("curl {url}: {}", finished.stderr.trim()));
    }
    std::fs::read(to).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Shown {
    payloads: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    filename: String,
    language: Option<String>,
    held: bool,
}

/// What is approved and stays away, by each reader's own word.
pub(super) async fn not_carried(company: &Company) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (name, language) in READERS {
        let Some(node) = company.nodes.iter().find(|node| node.name == name) else { continue };
        let revision = format!("{SOURCE}:stable/{CUMULATIVE}@1");
        let shown: Shown = node.run(&["update", "show", &revision]).await?;
        for payload in shown.payloads {
            let is_own = payload.language.as_deref() == Some(language);
            if is_own != payload.held {
                let word = if payload.held { "carries" } else { "lacks" };
                return Err(node.fault(format!("{word} {}", payload.filename)));
            }
            if !payload.held {
                found.push(format!("{name}: {}", payload.filename));
            }
        }
    }
    Ok(found)
}
