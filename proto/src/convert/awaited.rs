//! What has not arrived at nodes.

use patchmesh_topology::view::awaited::Awaited;

use super::{Error, time, timestamp_to_wire};
use crate::replication as wire;

/// What a node says that it awaits; an entry that cannot be read says nothing.
#[must_use]
pub fn awaited(entries: &[wire::Awaited]) -> Awaited {
    let read = |entry: &wire::Awaited| Ok::<_, Error>((entry.rollout.parse()?, time(entry.from)?));
    entries.iter().filter_map(|entry| read(entry).ok()).collect()
}

/// For the wire.
#[must_use]
pub fn awaited_to_wire(awaited: &Awaited) -> Vec<wire::Awaited> {
    let entry = |(rollout, from): (&_, _)| wire::Awaited {
        rollout: ToString::to_string(rollout),
        from: Some(timestamp_to_wire(from)),
    };
    awaited.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_is_awaited_comes_back_as_it_went() {
        let from = |second| Timestamp::from_second(second).expect("a time");
        let entry = |name: &str, second| (name.parse().expect("a name"), from(second));
        let awaited_here = Awaited::from_iter([entry("spring", 7), entry("autumn", 3)]);
        let mut wire = awaited_to_wire(&awaited_here);
        assert_eq!(awaited(&wire), awaited_here);
        // What nobody can read holds nothing back.
        wire[0].rollout = "no name".to_owned();
        wire[1].from = None;
        assert!(awaited(&wire).is_empty());
    }
}
