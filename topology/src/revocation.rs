//! Machines that were shut out, as every node has to know them.
//!
//! A certificate is good until it ends, and machines are too many for the mesh document.
//! So nodes are told of those that were shut out: what was issued to one until that moment
//! counts no more. An entry is needed until the last such certificate has ended by itself;
//! a machine that joins again has a certificate from later.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::name::MachineName;

/// When each machine was shut out, to the second or finer.
pub type Revocations = BTreeMap<MachineName, Timestamp>;

/// When the machine was shut out whose certificate was issued at `issued_at`; nothing where
/// that certificate counts.
#[must_use]
pub fn voids(
    revocations: &Revocations,
    machine: &MachineName,
    issued_at: Timestamp,
) -> Option<Timestamp> {
    revocations.get(machine).copied().filter(|at| issued_at <= *at)
}

/// What is to be told at `now`: what was `told` before and who was shut out since, without
/// those all of whose certificates, good for `life`, have ended.
#[must_use]
pub fn next(
    told: &Revocations,
    shut_out: impl IntoIterator<Item = (MachineName, Timestamp)>,
    life: SignedDuration,
    now: Timestamp,
) -> Revocations {
    let mut next = told.clone();
    for (machine, at) in shut_out {
        let entry = next.entry(machine).or_insert(at);
        *entry = at.max(*entry);
    }
    next.retain(|_, at| now.duration_since(*at) <= life);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MachineName {
        text.parse().expect("a name")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn certificates_from_before_count_no_more_and_those_from_after_do() {
        let revocations = Revocations::from([(name("pc-1"), at(100))]);
        assert_eq!(voids(&revocations, &name("pc-1"), at(99)), Some(at(100)));
        assert_eq!(voids(&revocations, &name("pc-1"), at(100)), Some(at(100)));
        assert_eq!(voids(&revocations, &name("pc-1"), at(101)), None);
        assert_eq!(voids(&revocations, &name("pc-2"), at(1)), None);
    }

    #[test]
    fn the_latest_counts_and_what_has_ended_by_itself_is_forgotten() {
        let life = SignedDuration::from_secs(50);
        let told =
            Revocations::from([(name("a"), at(10)), (name("b"), at(90)), (name("c"), at(70))]);
        let shut_out = [(name("b"), at(80)), (name("c"), at(95)), (name("d"), at(100))];
        let next = next(&told, shut_out, life, at(100));
        let left: Vec<_> = next.iter().map(|(one, at)| (one.as_str(), at.as_second())).collect();
        assert_eq!(left, [("b", 90), ("c", 95), ("d", 100)]);
    }
}
