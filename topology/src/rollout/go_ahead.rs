//! Going ahead from afar: what waits for a person at machines, or for their time to install,
//! goes since headquarters says so, as if somebody had asked for it at the machine.
//!
//! It opens nothing: what no wave has opened, what a brake or a freeze holds and what is
//! outside its window waits as ever. Nor is it about what is opened later.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::exception::{Scope, Subject};
use crate::name::{GroupName, MachineName, Site};
use crate::revision::RevisionId;

/// The most of a mesh.
pub const MAX_GO_AHEADS: usize = 256;

/// The longest that one lasts: machines that were not heard of for so long are asked anew.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Since when and until when something goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoAhead {
    /// Who says so.
    pub by: String,
    /// When it was said: what is opened later is not meant.
    pub at: Timestamp,
    /// Until when machines that hear of it go ahead.
    pub until: Timestamp,
}

/// By machines and what they go ahead with.
pub type GoAheads = BTreeMap<(Scope, Subject), GoAhead>;

/// Why it cannot be said, or taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The mesh has no such group.
    #[error("there is no group {0}; `patchmesh group list` shows those there are")]
    NoGroup(GroupName),
    /// Too short or too long.
    #[error("a go-ahead lasts from now for up to 31 days, not until {0:.0}")]
    Lasts(Timestamp),
    /// More than a mesh can have.
    #[error("the mesh has {MAX_GO_AHEADS} go-aheads that last; withdraw some first")]
    TooMany,
    /// There is none.
    #[error("{0} has no go-ahead for {1}; `patchmesh go-ahead list` shows those there are")]
    Unknown(Scope, Subject),
}

/// Says it, in place of what was said of the same before; what has ended is forgotten.
///
/// # Errors
/// See [`Rejection`].
pub fn give(
    go_aheads: &mut GoAheads,
    (scope, subject): (Scope, Subject),
    one: GoAhead,
) -> Result<(), Rejection> {
    if one.until <= one.at || one.until.duration_since(one.at) > LONGEST {
        return Err(Rejection::Lasts(one.until));
    }
    go_aheads.retain(|_, known| known.until > one.at);
    let key = (scope, subject);
    if !go_aheads.contains_key(&key) && go_aheads.len() >= MAX_GO_AHEADS {
        return Err(Rejection::TooMany);
    }
    go_aheads.insert(key, one);
    Ok(())
}

/// Takes it back, for machines that have not heard of it.
///
/// # Errors
/// There is none.
pub fn withdraw(
    go_aheads: &mut GoAheads,
    (scope, subject): (Scope, Subject),
) -> Result<(), Rejection> {
    let key = (scope, subject);
    match go_aheads.remove(&key) {
        Some(_) => Ok(()),
        None => Err(Rejection::Unknown(key.0, key.1)),
    }
}

/// What one machine goes ahead with at a moment.
#[derive(Debug, Clone)]
pub struct Meant<'a>(Vec<(&'a Subject, Timestamp)>);

impl<'a> Meant<'a> {
    /// Of a machine of a group at a site.
    #[must_use]
    pub fn of(
        go_aheads: &'a GoAheads,
        (machine, group, site): (&MachineName, &GroupName, &Site),
        now: Timestamp,
    ) -> Self {
        let theirs = go_aheads.iter().filter(|((scope, _), one)| {
            now < one.until && scope.covers((Some(machine), group, Some(site)))
        });
        Self(theirs.map(|((_, subject), one)| (subject, one.at)).collect())
    }

    /// Whether a revision is among it that is open to the machine since `opened`.
    #[must_use]
    pub fn goes(&self, revision: &RevisionId, opened: Timestamp) -> bool {
        self.0.iter().any(|(subject, said)| opened <= *said && subject.is_about(revision))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour)
    }

    fn one(from: i64, until: i64) -> GoAhead {
        GoAhead { by: "ada".to_owned(), at: at(from), until: at(until) }
    }

    fn group(name: &str) -> (Scope, Subject) {
        (Scope::Group(name.parse().unwrap()), Subject::All)
    }

    #[test]
    fn what_was_open_goes_for_a_time() {
        let mut all = GoAheads::new();
        give(&mut all, group("servers"), one(10, 34)).unwrap();
        let goes = |group: &str, opened, now| {
            let (machine, site) = ("pc-1".parse().unwrap(), "emea/fr".parse().unwrap());
            let revision = "vendor:stable/app@2".parse().unwrap();
            let group = group.parse().unwrap();
            Meant::of(&all, (&machine, &group, &site), at(now)).goes(&revision, at(opened))
        };
        assert!(goes("servers", 9, 11) && goes("servers", 10, 33));
        assert!(!goes("servers", 11, 12), "opened after it was said");
        assert!(!goes("servers", 9, 34), "over");
        assert!(!goes("kiosks", 9, 11), "others");
    }

    #[test]
    fn it_ends_by_itself_and_is_bounded() {
        let mut all = GoAheads::new();
        assert_eq!(give(&mut all, group("g"), one(5, 5)), Err(Rejection::Lasts(at(5))));
        let long = one(0, 31 * 24 + 1);
        assert!(matches!(give(&mut all, group("g"), long), Err(Rejection::Lasts(_))));
        for number in 0..MAX_GO_AHEADS {
            give(&mut all, group(&format!("g{number}")), one(0, 10)).unwrap();
        }
        assert_eq!(give(&mut all, group("more"), one(5, 20)), Err(Rejection::TooMany));
        give(&mut all, group("g0"), one(5, 20)).unwrap();
        // What has ended makes room.
        give(&mut all, group("more"), one(10, 20)).unwrap();
        assert_eq!(all.len(), 2);
        withdraw(&mut all, group("more")).unwrap();
        let none = withdraw(&mut all, group("more")).unwrap_err().to_string();
        assert!(none.starts_with("group more has no go-ahead for everything"), "{none}");
    }
}
