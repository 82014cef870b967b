//! Where this machine is by its own addresses, and which of several nodes is the nearest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::state::KnownNode;
use crate::transport::address::NodeUrl;
use crate::transport::channel;

/// Nodes of one site that are measured, at most.
const MAX_MEASURED: usize = 8;

/// How long a node may take to be reached.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hosts in documentation (RFC 5737 and 3849): the way to them is the way to everybody.
/// Nothing is sent there.
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The address that this machine has on its way to a node; `None` where there is no way.
pub async fn address_towards(url: &NodeUrl) -> Option<IpAddr> {
    let found = tokio::net::lookup_host(url.authority());
    let mut hosts = timeout(PATIENCE, found).await.ok()?.ok()?;
    hosts.find_map(address_on_the_way_to)
}

/// Its addresses on the way to a node and to everybody, in this order.
pub async fn addresses(url: &NodeUrl) -> Vec<IpAddr> {
    let elsewhere = ELSEWHERE.map(|address| SocketAddr::new(address, 443));
    let elsewhere = elsewhere.into_iter().filter_map(address_on_the_way_to);
    address_towards(url).await.into_iter().chain(elsewhere).collect()
}

/// The system chooses the address of a datagram that is never sent.
fn address_on_the_way_to(host: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if host.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(host).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Those of these nodes that are reached, the one that answers first before the others.
pub async fn by_distance(nodes: &[KnownNode]) -> Vec<KnownNode> {
    let mut measuring = JoinSet::new();
    for node in nodes.iter().take(MAX_MEASURED).cloned() {
        measuring.spawn(async move {
            let url: NodeUrl = node.url.parse().ok()?;
            let begun = Instant::now();
            timeout(PATIENCE, channel::reach(&url)).await.ok()?.ok()?;
            Some((begun.elapsed(), node))
        });
    }
    let mut reached: Vec<(Duration, KnownNode)> =
        measuring.join_all().await.into_iter().flatten().collect();
    reached.sort_by_key(|(took, _)| *took);
    reached.into_iter().map(|(_, node)| node).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_machine_knows_its_own_address_towards_a_node() {
        let url: NodeUrl = "https://127.0.0.1:8443".parse().expect("a URL");
        assert_eq!(address_towards(&url).await, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(addresses(&url).await[0], IpAddr::from(Ipv4Addr::LOCALHOST));
    }

    #[tokio::test]
    async fn nodes_that_are_not_reached_are_left_out() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let closed = format!("https://{}", free.local_addr().expect("an address"));
        drop(free);
        let node = |name: &str, url: &str| KnownNode { node: name.to_owned(), url: url.to_owned() };
        let nodes = [node("gone", &closed), node("here", &url), node("none", "no URL")];
        assert_eq!(by_distance(&nodes).await, [node("here", &url)]);
    }
}
