//! Makes this host a node of a mesh.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Layout;
use crate::generation::storage;
use crate::identity::join;
use crate::identity::token::Token;
use crate::store::{self, Mode, Store, Table, Tag};
use crate::transport::address::NodeUrl;

/// What is needed to join.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// The data folder, new or empty.
    pub data: PathBuf,
    /// The token from `invite`, as text.
    pub token: String,
    /// Where children and machines reach the node, without a slash at its end.
    pub url: String,
    /// Where it will listen.
    pub listen: SocketAddr,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct JoinReport {
    /// The node's name, from the token.
    pub node: String,
    /// The mesh's identifier.
    pub mesh_id: String,
    /// The node that it pulls from.
    pub parent: String,
}

/// Where a node that has joined finds its parent, until it has a generation
/// that says so.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ParentRecord {
    /// The parent's name.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// The parent's URL.
    #[prost(string, tag = "2")]
    pub(super) url: String,
}

/// The parent learned from joining, under [`PARENT_KEY`].
pub(super) static PARENT: Table<str, ParentRecord> = Table::new(Tag::Parent, 1);

/// The only key of [`PARENT`].
pub(super) const PARENT_KEY: &str = "parent";

/// Joins: the key is made here and never sent; the certificate comes from the
/// primary by way of the parent. `serve` fetches the first generation.
///
/// A joining that was cut short goes on where it was when it is run again.
///
/// # Errors
/// A token that is no good, a parent that cannot be reached or refuses, or a
/// folder that is in use or somebody else's.
pub async fn run(options: JoinOptions) -> Result<JoinReport, super::Error> {
    let token = Token::decode(&options.token).map_err(join::Error::from)?;
    let url: NodeUrl = options.url.parse().map_err(super::Error::Url)?;
    let layout = Layout::new(&options.data);
    let data = options.data.clone();
    let store = tokio::task::spawn_blocking(move || match Store::open(&data, Mode::Create) {
        // Made by a joining that was cut short; what is whole is refused below.
        Err(store::Error::AlreadyExists { .. }) => Store::open(&data, Mode::Existing),
        opened => opened,
    })
    .await
    .map_err(super::open::Error::Thread)??;
    let joined = join::join(&token, &layout.identity(), &url).await?;
    let parent =
        ParentRecord { name: joined.parent.to_string(), url: joined.parent_url.to_string() };
    let (root, folder) = (joined.tuf_root, layout.identity());
    let identity = joined.identity;
    // The certificate comes last: until it is there this can be run again.
    store
        .run(move |store| {
            storage::pin(store, &root)?;
            store.put(&PARENT, PARENT_KEY, &parent)?;
            Ok::<_, super::Error>(identity.save(&folder)?)
        })
        .await?;
    Ok(JoinReport {
        node: token.subject.name().to_owned(),
        mesh_id: joined.mesh_id,
        parent: joined.parent.to_string(),
    })
}
