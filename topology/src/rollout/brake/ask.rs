//! Headquarters asks sites to end their brakes.
//!
//! Nothing follows from it but that the site sees it: who asks, why, and since
//! when. The site decides.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::{Brake, MAX_REASON};
use crate::name::{NodeName, Site};

/// The most sites and nodes that are asked at a time.
pub const MAX_ASKS: usize = 256;

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// A node.
    Node(NodeName),
    /// The nodes of a site and below it.
    Site(Site),
}

/// What is asked: to end the brakes that were pulled before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Why.
    pub reason: String,
    /// Who asks.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// All that is asked.
pub type Asks = BTreeMap<Whom, Ask>;

/// Why somebody is not asked, or an ask not withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody would know why.
    #[error("say why, with --reason, in at most {MAX_REASON} bytes")]
    Reason,
    /// Nothing is asked of them.
    #[error("nothing is asked of {0}")]
    Unknown(Whom),
    /// More than a mesh can have.
    #[error("{MAX_ASKS} sites and nodes are asked already; withdraw some first")]
    TooMany,
}

/// Asks, in place of what was asked before.
///
/// # Errors
/// See [`Refused`].
pub fn ask(asks: &mut Asks, whom: Whom, ask: Ask) -> Result<(), Refused> {
    if ask.reason.trim().is_empty() || ask.reason.len() > MAX_REASON {
        return Err(Refused::Reason);
    }
    if !asks.contains_key(&whom) && asks.len() >= MAX_ASKS {
        return Err(Refused::TooMany);
    }
    asks.insert(whom, ask);
    Ok(())
}

/// Asks no more.
///
/// # Errors
/// Nothing was asked.
pub fn withdraw(asks: &mut Asks, whom: &Whom) -> Result<(), Refused> {
    asks.remove(whom).map(|_| ()).ok_or_else(|| Refused::Unknown(whom.clone()))
}

/// The newest ask to end a brake of a node: of those made since it was pulled.
#[must_use]
pub fn asked<'a>(asks: &'a Asks, brake: &Brake, node: &NodeName, site: &Site) -> Option<&'a Ask> {
    let is_meant = |whom: &Whom| match whom {
        Whom::Node(name) => name == node,
        Whom::Site(place) => site.is_within(place),
    };
    let theirs = asks.iter().filter(|(whom, ask)| is_meant(whom) && ask.at >= brake.since);
    theirs.map(|(_, ask)| ask).max_by_key(|ask| ask.at)
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node {name}"),
            Self::Site(site) => write!(f, "site {site}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Subject;
    use super::*;

    #[test]
    fn who_is_meant_sees_it_and_a_later_brake_is_not() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let brake = |since| Brake {
            subject: Subject::All,
            reason: "stocktaking".to_owned(),
            by: "bea".to_owned(),
            since: at(since),
            until: at(1_000),
        };
        let one = |reason: &str, second| Ask {
            reason: reason.to_owned(),
            by: "ada".to_owned(),
            at: at(second),
        };
        let (lyon, tokyo) = ("lyon".parse().expect("a name"), "tokyo".parse().expect("a name"));
        let site = |text: &str| text.parse::<Site>().expect("a site");
        let mut asks = Asks::new();
        let lyon: &NodeName = &lyon;
        let (emea, node) = (Whom::Site(site("emea")), Whom::Node(lyon.clone()));
        ask(&mut asks, emea, one("it is exploited", 10)).expect("asked");
        let reason = |asks: &Asks, brake: &Brake, node: &NodeName, place: &str| {
            asked(asks, brake, node, &site(place)).map(|ask| ask.reason.clone())
        };
        let said = Some("it is exploited".to_owned());
        assert_eq!(reason(&asks, &brake(5), lyon, "emea/fr/lyon"), said);
        assert_eq!(reason(&asks, &brake(11), lyon, "emea/fr/lyon"), None, "pulled after");
        assert_eq!(reason(&asks, &brake(5), &tokyo, "apac/jp"), None);
        // The newest word counts.
        ask(&mut asks, node.clone(), one("at once", 20)).expect("asked");
        assert_eq!(reason(&asks, &brake(5), lyon, "emea/fr/lyon"), Some("at once".to_owned()));
        withdraw(&mut asks, &node).expect("withdrawn");
        assert_eq!(reason(&asks, &brake(5), lyon, "emea/fr/lyon"), said);
        assert_eq!(withdraw(&mut asks, &node), Err(Refused::Unknown(node.clone())));
        assert_eq!(ask(&mut asks, node, one(" ", 20)), Err(Refused::Reason));
    }
}
