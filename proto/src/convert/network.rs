//! Networks: the sites that addresses belong to.

use patchmesh_topology::name::Site;
use patchmesh_topology::node::network::Network;

use super::{At, Error, each, sorted};
use crate::wire;

/// A network and its site.
///
/// # Errors
/// No prefix, bits set after it, or no site.
pub fn network(value: &wire::Network) -> Result<(Network, Site), Error> {
    Ok((value.prefix.parse().at("prefix")?, value.site.parse().at("site")?))
}

/// The networks of a mesh.
pub(super) fn networks<C: FromIterator<(Network, Site)>>(
    values: Vec<wire::Network>,
) -> Result<C, Error> {
    sorted("networks", each("networks", values, |value| network(&value))?)
}

/// A network for the wire.
#[must_use]
pub fn network_to_wire(network: &Network, site: &Site) -> wire::Network {
    wire::Network { prefix: network.to_string(), site: site.to_string() }
}
