//! Making a node the primary's successor: its keys are brought together here,
//! and its next `serve` takes the place.
//!
//! Nothing of it needs the old primary. The keys that it kept alone are lost;
//! new ones are made here, and a root signed with the keys kept offline says
//! so. What cannot be replaced (the mesh's CA, the keys that stock clients
//! trust) has to be exported while there is a primary: [`export`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Stage, membership};
use serde::{Deserialize, Serialize};

use super::{Layout, open};
use crate::durable;
use crate::generation::storage;
use crate::identity::certificate::Subject;
use crate::identity::files::{self, Identity};
use crate::openpgp::{self, SigningKey as RepositoryKey};
use crate::store::{self, Mode, Store};
use crate::succession::mark::{self, Mark, Promotion};
use crate::succession::records;
use crate::tuf::ceremony::{self, Request};
use crate::tuf::layout::MeshRole;
use crate::tuf::repository::{self, Repository, RoleKeys, files_of as role_key_files};
use crate::tuf::signing::{self, SigningKey};
use crate::tuf::storage::MemoryStorage;
use crate::tuf::{RoleName, paper};

/// Lists what an export is of.
const LIST: &str = "export.json";
/// Longest such list, and longest key file.
const MAX_LENGTH: u64 = 64 << 10;

/// Why nothing was exported, or a node was not made the successor.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The store.
    #[error("the data folder cannot be used")]
    Store(#[from] store::Error),
    /// The identity.
    #[error("the node's identity cannot be used")]
    Identity(#[from] files::Error),
    /// The generation.
    #[error("the generation on disk cannot be used")]
    Open(#[from] open::Error),
    /// Not a primary's folder.
    #[error("{} holds no keys of a primary", .0.display())]
    NoPrimary(PathBuf),
    /// An export is there already.
    #[error("{} is there already: exported keys are never overwritten; name a new folder", .0.display())]
    Taken(PathBuf),
    /// A file.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The export is none.
    #[error("{} is no list of exported keys; `patchmesh standby export-keys` writes one", .0.display())]
    List(PathBuf),
    /// The export of another mesh.
    #[error("the exported keys are of mesh {found}, this node is of mesh {ours}")]
    OtherMesh {
        /// The export's.
        found: String,
        /// The node's.
        ours: String,
    },
    /// Another CA.
    #[error("the exported CA is not the one that this node trusts")]
    OtherCa,
    /// A repository key.
    #[error("the repository key {} cannot be used", path.display())]
    RepositoryKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: openpgp::Error,
    },
    /// Not the key that clients trust.
    #[error("{} is not the key that stock clients of this stage trust", .0.display())]
    OtherRepositoryKey(PathBuf),
    /// A role's key.
    #[error("a key of the signed roles cannot be used")]
    Key(#[from] signing::Error),
    /// What is published.
    #[error("what was signed last cannot be read")]
    Repository(#[from] repository::Error),
    /// Too few root keys.
    #[error(
        "the root has to be signed with {needed} of its keys, {found} are here; name more with --root-key FILE"
    )]
    RootKeys {
        /// How many are needed.
        needed: u32,
        /// How many there are.
        found: usize,
    },
    /// A role that the primary must sign alone.
    #[error("role {0} is held by people's keys: the successor could not sign who is the primary")]
    Offline(RoleName),
    /// New holders.
    #[error("the new keys cannot be given their roles")]
    Ceremony(#[from] ceremony::Error),
    /// Signing.
    #[error("the new holders of the roles cannot be signed for")]
    Sign(#[from] paper::Refused),
    /// The tree.
    #[error("this node cannot take the primary's place")]
    Tree(#[from] membership::Rejection),
    /// The mark.
    #[error("the data folder cannot be marked")]
    Mark(#[from] mark::Error),
}

/// What an export is of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exported {
    mesh_id: String,
    /// The ids of the roles' keys that stay on the primary.
    online: Vec<String>,
}

/// What was exported.
#[derive(Debug, Clone)]
pub struct ExportReport {
    /// The files, in their new place.
    pub files: Vec<PathBuf>,
    /// Whether a key of the root was among them.
    pub has_root: bool,
}

/// Copies the keys that cannot be made anew from the primary's data folder
/// into a new folder. Blocks.
///
/// # Errors
/// See [`Fault`].
pub fn export(data: &Path, to: &Path) -> Result<ExportReport, Fault> {
    let layout = Layout::new(data);
    let (identity, keys) = (layout.identity(), layout.role_keys());
    if !identity.join(files::CA_KEY_FILE).exists() {
        return Err(Fault::NoPrimary(data.to_owned()));
    }
    let mesh_id = Identity::load(&identity)?.certificate().mesh_id.clone();
    let mut copied = vec![identity.join(files::CA_FILE), identity.join(files::CA_KEY_FILE)];
    let root = role_key_files(&RoleName::ROOT, &keys)?;
    let has_root = !root.is_empty();
    copied.extend(root);
    copied.extend(Stage::ALL.map(|stage| layout.repository_key(stage)));
    let mut online = BTreeSet::new();
    for role in ceremony::roles().filter(|role| !is_offline(role)) {
        for file in role_key_files(&role, &keys)? {
            online.insert(SigningKey::read(&file)?.id().to_string());
        }
    }
    let places = copied.iter().map(|file| to.join(file.file_name().unwrap_or_default()));
    // All or nothing: keys of two exports in one folder would be worth neither.
    if let Some(taken) = places.chain([to.join(LIST)]).find(|place| place.exists()) {
        return Err(Fault::Taken(taken));
    }
    make_folder(to)?;
    let mut files = Vec::new();
    for file in copied {
        let place = to.join(file.file_name().unwrap_or_default());
        write_secret(&place, &read(&file)?)?;
        files.push(place);
    }
    let list = Exported { mesh_id, online: online.into_iter().collect() };
    let place = to.join(LIST);
    let text = serde_json::to_string_pretty(&list).map_err(|_| Fault::List(place.clone()))?;
    write_secret(&place, &text)?;
    files.push(place);
    Ok(ExportReport { files, has_root })
}

/// What makes a node the successor.
#[derive(Debug, Clone)]
pub struct PromoteOptions {
    /// Its data folder; the node does not run.
    pub data: PathBuf,
    /// The exported keys.
    pub keys: PathBuf,
    /// Keys of the root that are kept elsewhere.
    pub root_keys: Vec<PathBuf>,
    /// Where it is reached from now on, if elsewhere.
    pub url: Option<String>,
}

/// What was prepared.
#[derive(Debug, Clone)]
pub struct PromoteReport {
    /// The node.
    pub node: NodeName,
    /// Whose place it takes.
    pub old: String,
    /// The roles that get a new key.
    pub roles: Vec<String>,
    /// Whether the old primary's own records are here.
    pub has_records: bool,
}

/// Brings the keys together and marks the data folder; `serve` does the rest.
/// Blocks.
///
/// It may be run again before that: the new keys take the place of those of
/// the run before, and what is not said anew (the URL) stays.
///
/// # Errors
/// See [`Fault`]; the node is what it was then.
pub fn promote(options: &PromoteOptions) -> Result<PromoteReport, Fault> {
    let layout = Layout::new(&options.data);
    let store = Store::open(&options.data, Mode::Existing)?;
    let previous = Mark::read(&options.data)?;
    let identity = Identity::load(&layout.identity())?;
    let name = match &identity.certificate().subject {
        Subject::Node(name) => name.clone(),
        user => return Err(open::Error::NotANode(user.clone()).into()),
    };
    let generation = open::restore(&store, &name)?;
    generation.mesh.succeed(&name)?;
    let list = options.keys.join(LIST);
    let exported: Exported =
        serde_json::from_str(&read(&list)?).map_err(|_| Fault::List(list.clone()))?;
    if exported.mesh_id != generation.mesh.id {
        let ours = generation.mesh.id.clone();
        return Err(Fault::OtherMesh { found: exported.mesh_id, ours });
    }
    let ca = files::load_ca(&options.keys, &generation.mesh.id)?;
    if ca.certificate() != identity.ca() {
        return Err(Fault::OtherCa);
    }
    let mut repositories = Vec::new();
    for stage in Stage::ALL {
        let place = layout.repository_key(stage);
        let path = options.keys.join(place.file_name().unwrap_or_default());
        let text = read(&path)?;
        let public = RepositoryKey::from_armored(&text)
            .and_then(|key| key.public_armored())
            .map_err(|source| Fault::RepositoryKey { path: path.clone(), source })?;
        if generation.repository_key(stage) != Some(public.as_str()) {
            return Err(Fault::OtherRepositoryKey(path));
        }
        repositories.push((place, text));
    }
    let repository = Repository::open(&MemoryStorage::new(storage::trusted(&store)?))?;
    let root_keys = root_keys(options, &repository)?;
    let lost: BTreeSet<&str> = exported.online.iter().map(String::as_str).collect();
    let folder = layout.role_keys();
    make_folder(&folder)?;
    let (papers, roles) = replace(&repository, &lost, &root_keys, &folder)?;
    for (place, text) in repositories {
        if !place.exists() {
            write_secret(&place, &text)?;
        }
    }
    files::save_ca(&layout.identity(), &ca)?;
    let kept = records::kept(&store)?;
    let has_records = kept.is_some();
    if let Some(kept) = kept {
        let mut transaction = store.transaction();
        transaction.replace_primary_records(kept)?;
        transaction.commit()?;
    }
    let now = Timestamp::now();
    let old = generation.mesh.primary().map(|old| old.name.to_string()).unwrap_or_default();
    let mark = Mark {
        backup: 0,
        made_at: now,
        restored_at: now,
        generation: generation.number,
        url: options.url.clone().or_else(|| previous.and_then(|one| one.url)),
        promotion: Some(Promotion { papers: papers.clone() }),
    };
    mark.write(&options.data)?;
    remove_idle(&repository, &papers, &folder)?;
    Ok(PromoteReport { node: name, old, roles, has_records })
}

/// The keys of the root that are at hand: enough of them.
fn root_keys(options: &PromoteOptions, repository: &Repository) -> Result<Vec<SigningKey>, Fault> {
    let mut files = role_key_files(&RoleName::ROOT, &options.keys)?;
    files.extend(options.root_keys.iter().cloned());
    let holders = &repository.root().roles.root;
    let (mut keys, mut seen) = (Vec::new(), BTreeSet::new());
    for file in files {
        let key = SigningKey::read(&file)?;
        if holders.keyids().contains(key.id()) && seen.insert(key.id().clone()) {
            keys.push(key);
        }
    }
    let needed = holders.threshold().get();
    if keys.len() < needed as usize {
        return Err(Fault::RootKeys { needed, found: keys.len() });
    }
    Ok(keys)
}

/// Makes a new key for every role that a lost key holds, and the signed root
/// and targets that say so. Returns the roles too.
fn replace(
    repository: &Repository,
    lost: &BTreeSet<&str>,
    root_keys: &[SigningKey],
    folder: &Path,
) -> Result<(Vec<paper::Paper>, Vec<String>), Fault> {
    let (root, top) = (repository.root(), repository.top());
    let (mut request, mut keys) = (Request::default(), RoleKeys::default());
    let mut found = Vec::new();
    for role in ceremony::roles().filter(|role| !is_offline(role)) {
        let Some(mut holding) = ceremony::holding(root, top, &role) else { continue };
        let before = holding.keys.len();
        holding.keys.retain(|key| key.id().is_ok_and(|id| !lost.contains(id.as_str())));
        let is_lost = holding.keys.len() < before;
        // What the primary signs by itself, at any hour.
        let is_own = [RoleName::SNAPSHOT, RoleName::TIMESTAMP]
            .into_iter()
            .chain([MeshRole::Content, MeshRole::WaveState, MeshRole::Mesh].map(MeshRole::name))
            .any(|own| own == role);
        if is_own && (!is_lost || holding.threshold > 1) {
            return Err(Fault::Offline(role));
        }
        if is_lost {
            found.push((role, holding));
        }
    }
    let mut roles = Vec::new();
    for (role, mut holding) in found {
        holding.keys.push(keys.rotate(&role, folder)?);
        roles.push(role.to_string());
        request.change.insert(role, holding);
    }
    let mut papers = ceremony::prepare(root, top, &request, Timestamp::now())?;
    for paper in &mut papers {
        for key in root_keys {
            paper.sign(key)?;
        }
    }
    Ok((papers, roles))
}

/// Removes the keys that hold no role once `papers` count: those that a run
/// before made. The mark no longer names them, so a crash on the way only
/// leaves some of them for the next run.
fn remove_idle(
    repository: &Repository,
    papers: &[paper::Paper],
    folder: &Path,
) -> Result<(), Fault> {
    let (root, top) = repository.after(papers)?;
    for role in ceremony::roles() {
        let Some(holding) = ceremony::holding(&root, &top, &role) else { continue };
        for file in role_key_files(&role, folder)? {
            let key = SigningKey::read(&file)?;
            if holding.keys.iter().any(|one| one.id().is_ok_and(|id| id == *key.id())) {
                continue;
            }
            fs::remove_file(&file).map_err(|source| Fault::Io {
                operation: "remove",
                path: file.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

/// Roles whose keys are meant to be kept offline.
fn is_offline(role: &RoleName) -> bool {
    *role == RoleName::ROOT || *role == RoleName::TARGETS
}

fn make_folder(path: &Path) -> Result<(), Fault> {
    durable::make_folder(path).map_err(|source| Fault::Io {
        operation: "make",
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<String, Fault> {
    let failed = |source| Fault::Io { operation: "read", path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_LENGTH {
        return Err(Fault::List(path.to_owned()));
    }
    fs::read_to_string(path).map_err(failed)
}

/// Never over a file that is there.
fn write_secret(path: &Path, text: &str) -> Result<(), Fault> {
    durable::write_new(path, text.as_bytes(), durable::SECRET).map_err(|source| Fault::Io {
        operation: "write",
        path: path.to_owned(),
        source,
    })
}
