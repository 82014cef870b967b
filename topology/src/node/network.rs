//! Networks: which addresses belong to which site, and which nodes are nearest.
//!
//! A machine that moves knows its address; the mesh says where that is and who
//! serves there. Which of several is nearest it measures itself.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use super::{Mesh, Node, Stage, tree};
use crate::name::Site;

/// The most networks of a mesh: every machine fetches the mesh document whole.
pub const MAX_NETWORKS: usize = 4096;

/// Bits of an IPv6 address before the IPv4 address that it may hold.
const MAPPED_BITS: u8 = 96;

/// Why a text is no network, or networks cannot change so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a prefix.
    #[error(
        "{0:?} is not a network; write an address and the length of its prefix, such as 10.3.0.0/16 or 2001:db8:3::/48"
    )]
    Form(String),
    /// More bits than the prefix has.
    #[error("{given} has bits set after its prefix; write {right}")]
    HostBits {
        /// The text given.
        given: String,
        /// The network that it lies in.
        right: Network,
    },
    /// IPv4 addresses, written as IPv6.
    #[error("{given} stands for IPv4 addresses; write {right}")]
    Mapped {
        /// The text given.
        given: String,
        /// The same addresses.
        right: Network,
    },
}

/// Why networks cannot change so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such network.
    #[error("there is no network {0}; `patchmesh network list` shows those there are")]
    Unknown(Network),
    /// The mesh would no longer hold together.
    #[error("the mesh would not hold together")]
    Invalid(#[source] tree::Error),
}

/// A range of addresses: an IPv4 or IPv6 prefix without further bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Whether an address lies in it. An IPv4 address written as IPv6
    /// (`::ffff:10.3.0.1`) is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// How many leading bits its addresses have in common.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The IPv4 network that an IPv6 one of IPv4 addresses stands for.
fn unmapped(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(network) = network else { return None };
    let bits = network.prefix_len().checked_sub(MAPPED_BITS)?;
    let address: Ipv6Addr = network.network();
    IpNet::new(address.to_ipv4_mapped()?.into(), bits).ok()
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let written: IpNet = text.parse().map_err(|_| Error::Form(text.to_owned()))?;
        let right = written.trunc();
        if let Some(right) = unmapped(right) {
            return Err(Error::Mapped { given: text.to_owned(), right: Self(right) });
        }
        if written != right {
            return Err(Error::HostBits { given: text.to_owned(), right: Self(right) });
        }
        Ok(Self(right))
    }
}

impl Mesh {
    /// The site that an address belongs to: of the networks that it lies in,
    /// that of the longest prefix. An IPv4 address written as IPv6 is the IPv4
    /// address.
    #[must_use]
    pub fn site_at(&self, address: IpAddr) -> Option<&Site> {
        let lies_in = |(network, _): &(&Network, &Site)| network.contains(address);
        let found = self.networks.iter().filter(lies_in);
        found.max_by_key(|(network, _)| network.prefix_len()).map(|(_, site)| site)
    }

    /// The nodes nearest to a site that serve machines of a stage, in order of
    /// names: those at that very site; where it has none, those at the site that
    /// encloses it, and so on. Only those that take part and are not cut off.
    #[must_use]
    pub fn nearest(&self, site: &Site, stage: Stage) -> Vec<&Node> {
        let serves = |node: &&Node, site: &Site| {
            node.site == *site && node.stages.contains(&stage) && self.is_connected(&node.name)
        };
        let sites = std::iter::successors(Some(site.clone()), Site::enclosing);
        sites
            .map(|site| self.nodes.values().filter(|node| serves(node, &site)).collect::<Vec<_>>())
            .find(|nodes| !nodes.is_empty())
            .unwrap_or_default()
    }

    /// This mesh with a network at a site; it may be there already.
    ///
    /// # Errors
    /// There are too many.
    pub fn set_network(&self, network: Network, site: Site) -> Result<Self, Rejection> {
        let mut mesh = self.clone();
        mesh.networks.insert(network, site);
        mesh.validate().map_err(Rejection::Invalid)?;
        Ok(mesh)
    }

    /// This mesh without a network.
    ///
    /// # Errors
    /// There is none of this prefix.
    pub fn remove_network(&self, network: Network) -> Result<Self, Rejection> {
        let mut mesh = self.clone();
        mesh.networks.remove(&network).ok_or(Rejection::Unknown(network))?;
        Ok(mesh)
    }
}

#[cfg(test)]
mod tests;
