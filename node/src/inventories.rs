//! What is on the machines that report to this node, as each last said. It stays at the
//! node: a machine sends some 150 KB whenever something on it changed, which thin lines
//! upward are not for.

use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::report::{InstalledPackage, Inventory};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::MachineName;
use prost::Message;
use tokio::sync::Semaphore;

use crate::agent::inventory::Listing;
use crate::agent::inventory::listing::MAX_SENT;
use crate::store::{self, Store, Table, Tag};

/// By machine.
static INVENTORIES: Table<str, Record> = Table::new(Tag::MachineInventory, 1);

/// How hard they are packed: they are written often and read rarely.
const LEVEL: i32 = 3;

/// Inventories that are packed at a time.
const MAX_AT_ONCE: usize = 2;

/// Packages that are found at most.
pub const MAX_FOUND: usize = 10_000;

#[derive(Clone, PartialEq, Message)]
struct Record {
    /// BLAKE3.
    #[prost(bytes = "vec", tag = "1")]
    digest: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    at: Option<prost_types::Timestamp>,
    /// An inventory, packed by zstd.
    #[prost(bytes = "vec", tag = "3")]
    packed: Vec<u8>,
}

/// Why an inventory is not kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// zstd's.
    #[error("the inventory of machine {0} cannot be packed or unpacked")]
    Packed(String, #[source] std::io::Error),
    /// Not what was written.
    #[error("the inventory of machine {0} is damaged")]
    Damaged(String, #[source] prost::DecodeError),
}

/// An inventory and when it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// It.
    pub inventory: Inventory,
    /// BLAKE3.
    pub digest: Vec<u8>,
    /// By this node's clock.
    pub at: Option<prost_types::Timestamp>,
}

/// Where a package was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The machine.
    pub machine: String,
    /// The package there.
    pub package: InstalledPackage,
    /// When that was said.
    pub at: Option<prost_types::Timestamp>,
}

/// What looking for a package came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Search {
    /// By machine, at most [`MAX_FOUND`].
    pub found: Vec<Found>,
    /// Whether there are more.
    pub is_cut: bool,
    /// Machines that were looked at.
    pub machines: u64,
}

/// The inventories of a node: one for each machine, at most 1 MiB before it is packed.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inventories {
    store: Store,
    turns: Arc<Semaphore>,
}

impl Inventories {
    /// Those in the store.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), turns: Arc::new(Semaphore::new(MAX_AT_ONCE)) }
    }

    /// Whether the machine's last one has this digest. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn holds(&self, machine: &MachineName, digest: &[u8]) -> Result<bool, Error> {
        let record = self.store.get(&INVENTORIES, machine.as_str())?;
        Ok(record.is_some_and(|record| record.digest == digest))
    }

    /// Keeps the machine's inventory in place of the one before, durably.
    ///
    /// # Errors
    /// See [`Error`]; the one before stays.
    pub async fn keep(
        &self,
        machine: MachineName,
        listing: Listing,
        now: Timestamp,
    ) -> Result<Digest, Error> {
        // It is never closed.
        let _turn = self.turns.acquire().await.ok();
        let write = move |store: &Store| {
            let digest = listing.digest();
            let bytes = Inventory::from(listing).encode_to_vec();
            let packed = zstd::bulk::compress(&bytes, LEVEL)
                .map_err(|error| Error::Packed(machine.to_string(), error))?;
            let (digest_bytes, at) = (digest.as_bytes().to_vec(), Some(timestamp_to_wire(now)));
            let record = Record { digest: digest_bytes, at, packed };
            store.put(&INVENTORIES, machine.as_str(), &record)?;
            Ok(digest)
        };
        self.store.run(write).await
    }

    /// What is on a machine. Blocks.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn of(&self, machine: &MachineName) -> Result<Option<Kept>, Error> {
        let record = self.store.get(&INVENTORIES, machine.as_str())?;
        record.map(|record| record.unpack(machine.as_str())).transpose()
    }

    /// On which machines a package is. Blocks, for some 0.2 ms a machine.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find(&self, package: &str) -> Result<Search, Error> {
        let (mut search, mut failed) = (Search::default(), None);
        self.store.for_each(&INVENTORIES, |machine: String, record: Record| {
            let kept = match record.unpack(&machine) {
                Ok(kept) => kept,
                Err(error) => {
                    failed = Some(error);
                    return Ok(false);
                }
            };
            search.machines += 1;
            for one in kept.inventory.packages.into_iter().filter(|one| one.name == package) {
                if search.found.len() == MAX_FOUND {
                    search.is_cut = true;
                    break;
                }
                search.found.push(Found { machine: machine.clone(), package: one, at: kept.at });
            }
            Ok(true)
        })?;
        failed.map_or(Ok(search), Err)
    }
}

impl Record {
    fn unpack(self, machine: &str) -> Result<Kept, Error> {
        let bytes = zstd::bulk::decompress(&self.packed, MAX_SENT)
            .map_err(|error| Error::Packed(machine.to_owned(), error))?;
        let inventory = Inventory::decode(&bytes[..])
            .map_err(|error| Error::Damaged(machine.to_owned(), error))?;
        Ok(Kept { inventory, digest: self.digest, at: self.at })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use patchmesh_topology::applicability::inventory as model;

    use super::*;
    use crate::store::Mode;

    fn listing(version: &str) -> Listing {
        let package = |version: &str| model::Package {
            format: model::Format::Deb,
            architecture: "amd64".to_owned(),
            version: version.to_owned(),
            fault: String::new(),
            held: false,
            relations: Default::default(),
        };
        let packages = [("nginx", version), ("dpkg", "1.22")];
        let packages = packages.map(|(name, version)| (name.to_owned(), vec![package(version)]));
        Listing::from(&model::Inventory { packages: packages.into(), ..Default::default() })
    }

    #[tokio::test]
    async fn the_last_inventory_of_each_machine_is_kept_and_searched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let name = |text: &str| text.parse::<MachineName>().unwrap();
        let inventories = Inventories::new(&Store::open(&path, Mode::Create).unwrap());
        let keep = async |machine: &str, version: &str| {
            inventories.keep(name(machine), listing(version), Timestamp::UNIX_EPOCH).await.unwrap()
        };
        let old = keep("pc-1", "1").await;
        keep("pc-2", "1").await;
        let new = keep("pc-1", "2").await;
        assert!(!inventories.holds(&name("pc-1"), old.as_bytes()).unwrap());
        assert!(inventories.holds(&name("pc-1"), new.as_bytes()).unwrap());
        assert!(!inventories.holds(&name("pc-3"), new.as_bytes()).unwrap());
        drop(inventories);

        let inventories = Inventories::new(&Store::open(&path, Mode::Existing).unwrap());
        let kept = inventories.of(&name("pc-1")).unwrap().unwrap();
        assert_eq!(kept.digest, new.as_bytes());
        assert_eq!(Listing::try_from(kept.inventory).unwrap(), listing("2"));
        assert_eq!(inventories.of(&name("pc-3")).unwrap(), None);
        let search = inventories.find("nginx").unwrap();
        let found: Vec<(&str, &str)> =
            search.found.iter().map(|one| (&one.machine[..], &one.package.version[..])).collect();
        assert_eq!(found, [("pc-1", "2"), ("pc-2", "1")]);
        assert_eq!((search.machines, search.is_cut), (2, false));
        assert_eq!(inventories.find("gone").unwrap().found, []);
    }
}
