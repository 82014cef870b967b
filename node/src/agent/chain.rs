//! What headquarters signed, fetched from a node and checked here: the node is
//! believed nothing.
//!
//! What always holds: every document is the one that a signed name leads to, by
//! the role that the name is delegated to; metadata never goes back; the mesh's
//! epoch never falls. So a node that was broken into can withhold, and no more.
//!
//! A machine that is cut off goes on with what it holds, checked anew each time,
//! until the first part of it expires. So who withholds gains nothing over a node
//! that serves its last state for as long as that is good.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::{set, wire};
use patchmesh_topology::approval::{ApprovalSet, Decision};
use patchmesh_topology::digest::{Digest, Sha256};
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::mode::AtDeadline;
use patchmesh_topology::node::{InstallMode, Mesh};
use patchmesh_topology::revision::{Binding, CatalogueEntry, DocumentRef, Revision, RevisionId};
use patchmesh_topology::rollout::deadline::Weights;
use patchmesh_topology::rollout::{RolloutSet, WaveStateSet};

use super::documents::{self, Documents};
use super::link::Link;
use crate::log::in_one_line;
use crate::signed::{document, names};
use crate::tuf::{
    self, Client, Fetch, FolderStorage, Limits, RoleName, Storage, TargetPath, TrustedMetadata,
};

/// Why there is nothing to go by.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The metadata is not trusted, or cannot be had.
    #[error("cannot follow the mesh's signed metadata")]
    Tuf(#[source] Box<tuf::client::Error>),
    /// The root that the machine got when it joined is gone or damaged.
    #[error(
        "{} is damaged or gone, so nothing that headquarters signed can be checked; join again with a new token: `patchmesh agent join`",
        path.display()
    )]
    Root {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<tuf::client::Error>,
    },
    /// A document cannot be had.
    #[error("cannot have a signed document")]
    Document(#[from] documents::Error),
    /// What is signed cannot be used.
    #[error("what is signed cannot be used")]
    Load(#[source] Box<document::Error>),
    /// The mesh's document is of an earlier life of the primary.
    #[error(
        "the mesh document is of epoch {found}, and {known} was seen: it comes from a primary that was replaced"
    )]
    Epoch {
        /// Its epoch.
        found: u64,
        /// The greatest seen.
        known: u64,
    },
    /// The machine's group is not there.
    #[error("the mesh has no group {0}; join again with a token of another group")]
    Group(GroupName),
}

impl Error {
    /// Whether it lies with the node or the way to it, so that what is held is as
    /// good as it was.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        use {documents::Error as Document, tuf::client::Error as Tuf};
        match self {
            Self::Tuf(error) => !matches!(**error, Tuf::Load { .. } | Tuf::Persist { .. }),
            Self::Document(error) => !matches!(error, Document::Keep { .. }),
            Self::Root { .. } | Self::Load(_) | Self::Epoch { .. } | Self::Group(_) => false,
        }
    }
}

impl Error {
    /// Of metadata that is kept in `storage`.
    fn tuf(storage: &FolderStorage, error: tuf::client::Error) -> Self {
        use tuf::client::Error as Tuf;
        match error {
            Tuf::NoTrustedRoot | Tuf::Root(_) => {
                Self::Root { path: storage.path(&RoleName::ROOT), source: Box::new(error) }
            }
            error => Self::Tuf(Box::new(error)),
        }
    }
}

impl From<document::Error> for Error {
    fn from(error: document::Error) -> Self {
        Self::Load(Box::new(error))
    }
}

/// What is signed, as far as a machine of one group needs it.
#[derive(Debug)]
pub struct Chain {
    /// Version of the snapshot.
    pub number: u64,
    /// When the first part of what is signed expires.
    pub expires: Timestamp,
    /// The tree and the groups.
    pub mesh: Mesh,
    /// What the group's machines do by themselves.
    pub mode: InstallMode,
    /// The decisions of the group's stage.
    pub approvals: ApprovalSet,
    /// The plans.
    pub plans: RolloutSet,
    /// Where they stand.
    pub states: WaveStateSet,
    /// What the group's machines do at deadlines.
    pub at_deadline: AtDeadline,
    /// What deadlines hang on beside what vendors state, where they install at them; `None`: it
    /// is signed, and cannot be had.
    pub weights: Option<Weights>,
    /// Which payloads are blobs of the mesh.
    pub bindings: BTreeMap<Sha256, Binding>,
    /// Entries of the revisions below.
    pub entries: BTreeMap<RevisionId, CatalogueEntry>,
    /// What is approved for the group.
    pub revisions: BTreeMap<RevisionId, Revision>,
}

/// Reads documents by their signed names.
struct Reader<'a> {
    trusted: &'a TrustedMetadata,
    link: Option<&'a Link>,
    documents: &'a Documents,
    used: RefCell<BTreeSet<Digest>>,
}

/// Who follows the mesh, and what is known of it already.
#[derive(Debug)]
pub struct Follower<'a> {
    /// The metadata that was trusted last.
    pub storage: FolderStorage,
    /// The documents that are at hand.
    pub documents: &'a Documents,
    /// The machine's group.
    pub group: &'a GroupName,
    /// The greatest epoch of the mesh that was seen.
    pub known_epoch: u64,
    /// When.
    pub now: Timestamp,
}

impl Follower<'_> {
    /// Follows the mesh to its newest state.
    ///
    /// # Errors
    /// What cannot be had or is not to be trusted; what was trusted before stays.
    pub async fn follow(&self, link: &Link) -> Result<Chain, Error> {
        self.read(link.clone(), Some(link)).await
    }

    /// The newest state that is held whole, if nothing of it is expired.
    ///
    /// # Errors
    /// What lacks or is expired.
    pub async fn held(&self) -> Result<Chain, Error> {
        self.read(Held(self.storage.clone()), None).await
    }

    async fn read(&self, repository: impl Fetch, link: Option<&Link>) -> Result<Chain, Error> {
        let mut client = Client::new(repository, self.storage.clone(), Limits::default());
        let refreshed = client.refresh_all(self.now).await;
        let trusted = refreshed.map_err(|error| Error::tuf(&self.storage, error))?;
        let documents = self.documents;
        let reader = Reader { trusted, link, documents, used: RefCell::default() };
        let mesh: Mesh = document::decode::<wire::Topology, Mesh>(
            names::TOPOLOGY,
            &reader.named(names::TOPOLOGY).await?,
        )?;
        if mesh.epoch < self.known_epoch {
            return Err(Error::Epoch { found: mesh.epoch, known: self.known_epoch });
        }
        let group = mesh.groups.get(self.group);
        let group = group.ok_or_else(|| Error::Group(self.group.clone()))?;
        let (stage, mode, at_deadline) = (group.stage, group.install_mode, group.at_deadline);
        let name = names::approvals(stage);
        let approvals =
            reader.set(name, |index, lookup| set::read_approvals(index, lookup)).await?;
        if approvals.stage != stage {
            return Err(document::Error::Stage(stage).into());
        }
        let plans = reader.named(names::ROLLOUTS).await?;
        let plans = document::decode::<wire::RolloutSet, RolloutSet>(names::ROLLOUTS, &plans)?;
        let states = reader.named(names::WAVE_STATES).await?;
        let states =
            document::decode::<wire::WaveStates, WaveStateSet>(names::WAVE_STATES, &states)?;
        let weights = match at_deadline {
            AtDeadline::Wait => Some(Weights::new()),
            AtDeadline::Install => reader.weights().await?,
        };
        let bindings =
            reader.set(names::BINDINGS, |index, lookup| set::read_bindings(index, lookup)).await?;
        let mut entries = reader
            .set(names::CATALOGUE, |index, lookup| set::read_catalogue(index, lookup))
            .await?;
        let is_approved = |id: &RevisionId| {
            let approval = approvals.get(id, self.group);
            approval.is_some_and(|one| matches!(one.decision, Decision::Approved(_)))
        };
        entries.retain(|id, _| is_approved(id));
        let revisions = reader.revisions(&entries).await?;
        self.documents.prune(&reader.used.into_inner())?;
        let (number, expires) = (trusted.snapshot_version().unwrap_or_default(), trusted.expires());
        Ok(Chain {
            number,
            expires,
            mesh,
            mode,
            approvals,
            plans,
            states,
            at_deadline,
            weights,
            bindings,
            entries,
            revisions,
        })
    }
}

/// What was trusted last, as the repository of a machine that is cut off: there is
/// no newer root and no other timestamp.
struct Held(FolderStorage);

impl Fetch for Held {
    type Error = io::Error;

    async fn fetch(&self, file: &str, _: u64) -> io::Result<Option<Vec<u8>>> {
        let role = RoleName::TIMESTAMP;
        if file == role.file_name(None) { self.0.load(&role) } else { Ok(None) }
    }

    async fn fetch_target(&self, _: &str, _: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl Reader<'_> {
    /// The document that a signed name leads to.
    async fn named(&self, name: &str) -> Result<Bytes, Error> {
        let absent = || document::Error::NoTarget(name.to_owned());
        let path = TargetPath::new(name).map_err(|_| absent())?;
        let target = document::target(self.trusted, &path)?.ok_or_else(absent)?;
        let document = DocumentRef { digest: target.digest, length: target.length };
        let bytes = self.all(vec![document]).await?.remove(&target.digest);
        let bytes = bytes.ok_or(documents::Error::Absent(target.digest))?;
        // Both digests that are signed have to be the document's.
        if crate::identity::sha256(&bytes) != target.sha256 {
            return Err(document::Error::Mismatch(name.to_owned()).into());
        }
        Ok(bytes)
    }

    /// What deadlines hang on; nothing before there is something to say. A node with earlier
    /// software has none of it, and what it has opens as ever.
    async fn weights(&self) -> Result<Option<Weights>, Error> {
        let path = TargetPath::new(names::DEADLINES).ok();
        let target = path.map(|path| document::target(self.trusted, &path)).transpose()?;
        if target.flatten().is_none() {
            return Ok(Some(Weights::new()));
        }
        let read = self.set(names::DEADLINES, |index, lookup| set::read_weights(index, lookup));
        match read.await {
            Ok(weights) => Ok(Some(weights)),
            Err(error @ Error::Document(_)) if error.is_withheld() => {
                let why = in_one_line(&error);
                tracing::warn!(why, "it cannot be told what is due: nothing goes by its deadline");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn all(&self, wanted: Vec<DocumentRef>) -> Result<HashMap<Digest, Bytes>, Error> {
        self.used.borrow_mut().extend(wanted.iter().map(|one| one.digest));
        Ok(self.documents.fetch(self.link, &wanted).await?)
    }

    async fn set<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Bytes, &dyn Fn(&DocumentRef) -> Option<Bytes>) -> Result<T, set::Error>,
    ) -> Result<T, Error> {
        let failed = |source| document::Error::Set { name: name.to_owned(), source };
        let index = self.named(name).await?;
        let parts = self.all(set::partitions(&index).map_err(failed)?).await?;
        let set = read(&index, &|document| parts.get(&document.digest).cloned());
        Ok(set.map_err(failed)?)
    }

    async fn revisions(
        &self,
        entries: &BTreeMap<RevisionId, CatalogueEntry>,
    ) -> Result<BTreeMap<RevisionId, Revision>, Error> {
        let wanted = entries.values().map(|entry| entry.document).collect();
        let mut documents = self.all(wanted).await?;
        let mut revisions = BTreeMap::new();
        for (id, entry) in entries {
            let bytes = documents.remove(&entry.document.digest);
            let revision = document::revision(id, entry, bytes)?
                .ok_or(documents::Error::Absent(entry.document.digest))?;
            revisions.insert(id.clone(), std::sync::Arc::unwrap_or_clone(revision));
        }
        Ok(revisions)
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use std::fs;

    use jiff::SignedDuration;

    use super::*;
    use crate::generation::load::{self, Loaded, Staged};
    use crate::generation::testing::{hq, joined, refresh};
    use crate::primary::testing::TestPrimary;

    #[tokio::test]
    async fn what_is_held_whole_is_gone_on_with_until_it_expires() {
        let primary = TestPrimary::start().await;
        let (_child, child) = joined(&primary.store);
        let (learned, trusted) = refresh(&primary.store, &child).await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut storage = FolderStorage::new(folder.path().to_owned());
        for (role, bytes) in learned.current() {
            storage.persist(role, 0, bytes).expect("kept");
        }
        let documents = Documents::new(folder.path().join("documents"));
        fs::create_dir(folder.path().join("documents")).expect("a folder");
        let held = async |now| {
            let (storage, group) = (storage.clone(), &"workstations".parse().expect("a name"));
            let follower = Follower { storage, documents: &documents, group, known_epoch: 0, now };
            follower.held().await
        };
        let now = Timestamp::now();
        let lacking = held(now).await.expect_err("no documents");
        assert!(matches!(lacking, Error::Document(documents::Error::CutOff(_))), "{lacking}");

        let mut staged = Staged::new(&child, Vec::new());
        while let Loaded::Lacking(lacking) =
            load::load(&trusted, &hq(), &staged, None).expect("loaded")
        {
            for document in lacking {
                let bytes = primary.store.get_blob(&document.digest).expect("read").expect("held");
                let path = folder.path().join("documents").join(document.digest.to_string());
                fs::write(path, &bytes).expect("kept");
                staged.add(document, bytes);
            }
        }
        let chain = held(now).await.expect("whole");
        assert_eq!(chain.number, primary.current.get().number);
        assert!(chain.expires > now + SignedDuration::from_hours(12), "{}", chain.expires);
        held(chain.expires - SignedDuration::from_secs(1)).await.expect("good to its end");
        let over = held(chain.expires).await.expect_err("expired");
        assert!(crate::log::in_one_line(&over).contains("expired"), "{over:?}");
        assert!(over.is_withheld());

        // The root is what all else hangs on; what else is damaged is fetched again.
        let (role, now) = (RoleName::ROOT, Timestamp::now());
        let path = storage.path(&role);
        let root = fs::read(&path).expect("the root");
        for damaged in [Some(root[..root.len() / 2].to_vec()), Some(b"\xff\x00".to_vec()), None] {
            match &damaged {
                Some(bytes) => fs::write(&path, bytes).expect("damaged"),
                None => fs::remove_file(&path).expect("removed"),
            }
            let told = held(now).await.expect_err("no root");
            assert!(matches!(&told, Error::Root { path: named, .. } if *named == path), "{told}");
            assert!(!told.is_withheld() && told.to_string().contains("agent join"), "{told}");
        }
    }
}
