//! Slots: how many machines of a group restart at once. A machine takes one before
//! it restarts and gives it back when it works again.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use jiff::Timestamp;

use crate::name::{GroupName, MachineName};

/// The most slots that one node gives, over all groups.
pub const MAX_SLOTS: usize = 16_384;

/// A slot that a machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The machine's group.
    pub group: GroupName,
    /// Since when it has it.
    pub since: Timestamp,
}

/// The slots that are taken, by machine: each has one at most.
pub type Slots = BTreeMap<MachineName, Slot>;

/// Why a machine gets no slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many of the group restart as may.
    #[error(
        "{taken} of {limit} slots of group {group} are taken, the longest since {since:.0} by {by}"
    )]
    Full {
        /// The group.
        group: GroupName,
        /// How many are taken; more than there are where the limit was lowered.
        taken: usize,
        /// How many there are.
        limit: NonZeroU16,
        /// Who has the one that was taken first.
        by: MachineName,
        /// Since when.
        since: Timestamp,
    },
    /// The node gives no more.
    #[error("{MAX_SLOTS} slots are taken at this node, which is as many as it gives")]
    TooMany,
}

/// What is to be kept so that `machine` may restart now; nothing where it has a slot
/// of its group already, or the group has no limit. A slot that it had in another
/// group goes.
///
/// # Errors
/// Why it may not.
pub fn take(
    slots: &Slots,
    machine: &MachineName,
    group: &GroupName,
    limit: Option<NonZeroU16>,
    now: Timestamp,
) -> Result<Option<Slot>, Refused> {
    let has_one = slots.get(machine).is_some_and(|slot| slot.group == *group);
    let Some(limit) = limit.filter(|_| !has_one) else { return Ok(None) };
    let taken: Vec<_> = slots.iter().filter(|(_, slot)| slot.group == *group).collect();
    if taken.len() >= usize::from(limit.get())
        && let Some((by, first)) = taken.iter().min_by_key(|(_, slot)| slot.since)
    {
        return Err(Refused::Full {
            group: group.clone(),
            taken: taken.len(),
            limit,
            by: (*by).clone(),
            since: first.since,
        });
    }
    if slots.len() >= MAX_SLOTS && !slots.contains_key(machine) {
        return Err(Refused::TooMany);
    }
    Ok(Some(Slot { group: group.clone(), since: now }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Takes a slot and keeps it.
    fn takes(
        slots: &mut Slots,
        machine: &str,
        group: &str,
        limit: u16,
        now: i64,
    ) -> Result<bool, Refused> {
        let machine: MachineName = machine.parse().unwrap();
        let taken =
            take(slots, &machine, &group.parse().unwrap(), NonZeroU16::new(limit), at(now))?;
        Ok(taken.map(|slot| slots.insert(machine, slot)).is_some())
    }

    #[test]
    fn so_many_of_a_group_have_one_and_no_more() {
        let mut slots = Slots::new();
        assert_eq!(takes(&mut slots, "b", "tills", 2, 20), Ok(true));
        assert_eq!(takes(&mut slots, "a", "tills", 2, 30), Ok(true));
        let full = takes(&mut slots, "c", "tills", 2, 40).unwrap_err();
        assert_eq!(
            full.to_string(),
            "2 of 2 slots of group tills are taken, the longest since 1970-01-01T00:00:20Z by b"
        );
        assert_eq!(takes(&mut slots, "c", "desks", 1, 40), Ok(true), "groups are apart");
        assert_eq!(takes(&mut slots, "a", "tills", 2, 50), Ok(false), "it has one");
        assert_eq!(slots[&"a".parse::<MachineName>().unwrap()].since, at(30));
        slots.remove(&"b".parse::<MachineName>().unwrap());
        assert_eq!(takes(&mut slots, "d", "tills", 2, 60), Ok(true));
    }

    #[test]
    fn a_limit_may_be_lowered_and_raised_and_go() {
        let mut slots = Slots::new();
        for machine in ["a", "b", "c"] {
            assert_eq!(takes(&mut slots, machine, "tills", 3, 1), Ok(true));
        }
        let full = takes(&mut slots, "d", "tills", 1, 2).unwrap_err();
        assert!(full.to_string().starts_with("3 of 1 slots"), "{full}");
        assert_eq!(takes(&mut slots, "c", "tills", 1, 2), Ok(false), "it goes on");
        assert_eq!(takes(&mut slots, "d", "tills", 4, 2), Ok(true));
        assert_eq!(takes(&mut slots, "e", "tills", 0, 2), Ok(false), "no limit, no slot");
    }

    #[test]
    fn a_machine_has_one_slot_also_when_it_comes_to_another_group() {
        let mut slots = Slots::new();
        assert_eq!(takes(&mut slots, "a", "tills", 1, 1), Ok(true));
        assert_eq!(takes(&mut slots, "a", "desks", 1, 2), Ok(true));
        assert_eq!(slots.len(), 1);
        assert_eq!(takes(&mut slots, "b", "tills", 1, 3), Ok(true));
        let full = takes(&mut slots, "c", "desks", 1, 3).unwrap_err();
        assert!(matches!(full, Refused::Full { since, .. } if since == at(2)), "{full}");
    }

    #[test]
    fn a_node_gives_only_so_many() {
        let mut slots = Slots::new();
        for number in 0..MAX_SLOTS {
            assert_eq!(takes(&mut slots, &format!("m{number}"), "old", u16::MAX, 1), Ok(true));
        }
        assert_eq!(takes(&mut slots, "x", "tills", 1, 2), Err(Refused::TooMany));
        assert_eq!(takes(&mut slots, "m7", "tills", 1, 2), Ok(true), "instead of its other one");
    }
}
