//! When a node will have what it lacks, by the schedules of the lines above it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Class;
use super::profile::{Way, forecast};
use super::rate::Rate;
use crate::name::NodeName;
use crate::node::Mesh;

/// When a node will have all it lacks of normal content, from `lacking`: the
/// bytes that nodes lack. It has nothing before those above it have. `None` where
/// nothing can be said: a line on the way has no limit, or it would take years.
#[must_use]
pub fn arrival(
    mesh: &Mesh,
    lacking: &BTreeMap<NodeName, u64>,
    name: &NodeName,
    now: Timestamp,
) -> Option<Timestamp> {
    let above = mesh.ancestors(name);
    let way = mesh.node(name).into_iter().chain(above);
    let mut latest = now;
    for node in way {
        let Some(bytes) = lacking.get(&node.name).filter(|bytes| **bytes > 0) else { continue };
        let line = mesh.link(&node.name);
        let done = forecast(&line, Way::Down, Class::Normal, *bytes, now, None, Rate::UNLIMITED)?;
        latest = latest.max(done);
    }
    Some(latest)
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
        let of = |lacking: &BTreeMap<_, _>, text| arrival(&mesh, lacking, &name(text), now);
        assert_eq!(of(&lacking, "n02"), second(360));
        lacking.insert(name("n01"), 3_600_000_000);
        assert_eq!(of(&lacking, "n02"), second(3600));
        assert_eq!(of(&lacking, "n04"), second(3600), "it waits for the one above alone");
        assert_eq!(of(&lacking, "n00"), Some(now));
        lacking.insert(name("n03"), 1);
        assert_eq!(of(&lacking, "n03"), None, "its line has no limit");
    }
}
