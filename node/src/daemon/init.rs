//! Makes a mesh and its primary in a new data folder.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{NodeName, Site, UserName};
use patchmesh_topology::node::{Mesh, Stage, membership};
use patchmesh_topology::person::User;

use super::Layout;
use crate::durable;
use crate::identity::ca::{self, Ca, Request};
use crate::identity::files::{self, Identity};
use crate::openpgp::SigningKey;
use crate::primary::draft::{Draft, Written};
use crate::primary::publisher::{self, Press};
use crate::primary::signing::Signing;
use crate::primary::views::Views;
use crate::store::{Mode, Store};
use crate::transport::address::NodeUrl;
use crate::tuf::repository::RoleKeys;

/// The user that `init` makes.
const ADMINISTRATOR: &str = "admin";

/// What a new mesh is to be.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The data folder, new or empty.
    pub data: PathBuf,
    /// The company's name for its mesh.
    pub mesh_name: String,
    /// The primary's own name.
    pub node_name: NodeName,
    /// Where the primary stands.
    pub site: Site,
    /// Where other nodes and machines reach it, without a slash at its end.
    pub url: String,
    /// Where it will listen.
    pub listen: SocketAddr,
    /// Life of the primary's certificate.
    pub certificate_lifetime: Duration,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct InitReport {
    /// The mesh's random identifier.
    pub mesh_id: String,
    /// The first generation.
    pub generation: u64,
}

/// Why no mesh was made.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The URL.
    #[error("the primary's URL cannot be used")]
    Url(#[from] crate::transport::address::Error),
    /// The mesh.
    #[error("the mesh cannot be founded")]
    Mesh(#[from] membership::Rejection),
    /// A key.
    #[error("a key cannot be made")]
    Key(#[from] crate::identity::key::Error),
    /// A certificate.
    #[error("a certificate cannot be made")]
    Certificate(#[from] ca::Error),
    /// A repository key.
    #[error("a repository key cannot be made")]
    RepositoryKey(#[from] crate::openpgp::Error),
    /// A role's key.
    #[error("the key of a signed role cannot be made")]
    RoleKey(#[from] crate::tuf::signing::Error),
    /// The first generation.
    #[error("the first generation cannot be published")]
    Publish(#[from] publisher::Fault),
    /// A file.
    #[error("{path:?} cannot be written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No randomness.
    #[error("the operating system gives no randomness")]
    Random,
    /// A worker thread ended abnormally.
    #[error("a worker thread ended abnormally")]
    Thread(#[from] tokio::task::JoinError),
}

/// Makes the mesh: its CA, the keys of every role and stage, the primary's
/// and the administrator's certificates, and the first generation. All keys
/// stay in the data folder (single-operator mode).
///
/// # Errors
/// A folder that is in use or somebody else's, or what [`Fault`] lists.
pub async fn run(options: InitOptions) -> Result<InitReport, super::Error> {
    tokio::task::spawn_blocking(move || make(&options)).await.map_err(Fault::from)?
}

fn make(options: &InitOptions) -> Result<InitReport, super::Error> {
    let url: NodeUrl = options.url.parse().map_err(Fault::from)?;
    let store = Store::open(&options.data, Mode::Create)?;
    let layout = Layout::new(&options.data);
    let now = Timestamp::now();
    let mesh_id = random_id()?;
    let ca = Ca::create(&mesh_id, &options.mesh_name, now).map_err(Fault::from)?;
    files::save_ca(&layout.identity(), &ca)?;
    let key = certify_primary(options, &layout, &ca, &url, now)?;
    let mut mesh = Mesh::found(
        mesh_id.clone(),
        options.mesh_name.clone(),
        options.node_name.clone(),
        options.site.clone(),
        url.to_string(),
        key,
    )
    .map_err(Fault::from)?;
    let admin = certify_administrator(&layout, &ca, now)?;
    mesh.users.extend(admin.map(|(name, key)| (name.clone(), User::administrator(name, key))));
    let (keys, repositories) = make_keys(&layout, &options.mesh_name, now)?;
    for (stage, key) in &repositories {
        let armored = key.public_armored().map_err(Fault::from)?;
        mesh.repository_keys.insert(*stage, armored);
    }
    let draft = Draft::first(mesh, store.clone(), now);
    let mut press = Press {
        store,
        signing: Signing::first(keys),
        views: Views::new(repositories),
        name: options.node_name.clone(),
    };
    let generation = press.publish(None, draft, Written::ALL).map_err(Fault::from)?;
    Ok(InitReport { mesh_id, generation: generation.number })
}

fn random_id() -> Result<String, Fault> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Fault::Random)?;
    Ok(hex::encode(random))
}

/// Makes the primary's own key and certificate; returns the key's SHA-256.
fn certify_primary(
    options: &InitOptions,
    layout: &Layout,
    ca: &Ca,
    url: &NodeUrl,
    now: Timestamp,
) -> Result<Sha256, super::Error> {
    let key = files::load_or_make_key(&layout.identity())?;
    let request = key.certificate_request(options.node_name.as_str()).map_err(Fault::from)?;
    let request = Request::parse(&request).map_err(Fault::from)?;
    let lifetime = options.certificate_lifetime;
    let certificate =
        ca.issue_node(&request, &options.node_name, url, lifetime, now).map_err(Fault::from)?;
    let identity = Identity::new(key, certificate, ca.certificate().clone())?;
    identity.save(&layout.identity())?;
    Ok(request.spki_sha256)
}

/// Makes the credentials of the user `admin`.
fn certify_administrator(
    layout: &Layout,
    ca: &Ca,
    now: Timestamp,
) -> Result<Option<(UserName, Sha256)>, super::Error> {
    let Ok(name) = ADMINISTRATOR.parse::<UserName>() else { return Ok(None) };
    let key = files::load_or_make_key(&layout.admin())?;
    let request = key.certificate_request(name.as_str()).map_err(Fault::from)?;
    let request = Request::parse(&request).map_err(Fault::from)?;
    let certificate =
        ca.issue_user(&request, &name, ca::USER_LIFETIME, now).map_err(Fault::from)?;
    Identity::new(key, certificate, ca.certificate().clone())?.save(&layout.admin())?;
    Ok(Some((name, request.spki_sha256)))
}

/// Makes the keys of every role and of every stage's repositories.
fn make_keys(
    layout: &Layout,
    mesh_name: &str,
    now: Timestamp,
) -> Result<(RoleKeys, BTreeMap<Stage, SigningKey>), Fault> {
    let folder = layout.role_keys();
    durable::make_folder(&folder).map_err(|source| Fault::File { path: folder.clone(), source })?;
    let keys = RoleKeys::generate()?;
    keys.write_new(&folder)?;
    let mut repositories = BTreeMap::new();
    for stage in Stage::ALL {
        let key = SigningKey::generate(&format!("{mesh_name} {stage} updates"), now)?;
        write_secret(&layout.repository_key(stage), &key.to_armored()?)?;
        repositories.insert(stage, key);
    }
    Ok((keys, repositories))
}

fn write_secret(path: &Path, text: &str) -> Result<(), Fault> {
    durable::write_new(path, text.as_bytes(), durable::SECRET)
        .map_err(|source| Fault::File { path: path.to_owned(), source })
}
