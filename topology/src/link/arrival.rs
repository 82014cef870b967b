//! When a node will have what it lacks, by the schedules of the lines above it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Class;
use super::profile::{Way, forecast};
use super::rate::Rate;
use crate::name::NodeName;
use crate::node::Mesh;

/// When nodes will have all they lack of normal content, from `lacking`: their
/// bytes. None has it before those above it have. `None` where nothing can be said:
/// a line on the way has no limit, or it would take years.
#[must_use]
pub fn arrivals(
    mesh: &Mesh,
    lacking: &BTreeMap<NodeName, u64>,
    now: Timestamp,
) -> BTreeMap<NodeName, Option<Timestamp>> {
    let own = |(name, bytes): (&NodeName, &u64)| {
        let line = mesh.link(name);
        forecast(&line, Way::Down, Class::Normal, *bytes, now, None, Rate::UNLIMITED)
    };
    let lines = lacking.iter().filter(|(_, bytes)| **bytes > 0);
    let lines: BTreeMap<&NodeName, _> = lines.map(|one| (one.0, own(one))).collect();
    let of = |name: &NodeName| {
        let way = mesh.node(name).into_iter().chain(mesh.ancestors(name));
        let mut on_the_way = way.filter_map(|node| lines.get(&node.name));
        on_the_way.try_fold(now, |latest, done| Some(latest.max((*done)?)))
    };
    lacking.keys().map(|name| (name.clone(), of(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::profile::{Limits, Profile};
    use crate::node::tree::tests::chain;

    #[test]
    fn nobody_has_it_before_those_above() {
        let name = |text: &str| text.parse::<NodeName>().expect("a name");
        let down = |rate: &str| Profile {
            down: Limits { default: rate.parse().expect("a rate"), rules: Vec::new() },
            ..Profile::default()
        };
        let mut mesh = chain();
        mesh.links.insert(name("n01"), down("8Mbit/s"));
        mesh.links.insert(name("n02"), down("80Mbit/s"));
        let now = Timestamp::UNIX_EPOCH;
        let second = |second| Timestamp::from_second(second).ok();
        // An hour of one megabyte a second above, six minutes of ten below.
        let mut lacking = BTreeMap::from([(name("n02"), 3_600_000_000)]);
        let of = |lacking: &BTreeMap<_, _>, text| {
            // Whoever lacks nothing has it when those above have.
            let mut lacking = lacking.clone();
            lacking.entry(name(text)).or_insert(0);
            arrivals(&mesh, &lacking, now)[&name(text)]
        };
        assert_eq!(of(&lacking, "n02"), second(360));
        lacking.insert(name("n01"), 3_600_000_000);
        assert_eq!(of(&lacking, "n02"), second(3600));
        assert_eq!(of(&lacking, "n04"), second(3600), "it waits for the one above alone");
        assert_eq!(of(&lacking, "n00"), Some(now));
        lacking.insert(name("n03"), 1);
        assert_eq!(of(&lacking, "n03"), None, "its line has no limit");
    }
}
