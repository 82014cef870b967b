//! How transfers stand towards the budget, for people: what holds them back, and
//! when they will be done.

use jiff::Timestamp;
use patchmesh_topology::link::Class;
use patchmesh_topology::link::profile::{Measured, Profile, Way, forecast};
use patchmesh_topology::link::queue::Hold;
use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::name::NodeName;

use super::{Budget, Direction};

/// How what comes from a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// This node, where it knows its name.
    pub own: String,
    /// What holds it back here; nothing: the line itself, or the other side.
    pub hold: Option<Hold>,
    /// The limit that it is under here.
    pub limit: Rate,
    /// While it is closed: when its hours begin.
    pub opens: Option<Timestamp>,
    /// When it will have come, given the schedule of the line.
    pub done: Option<Timestamp>,
}

impl Budget {
    /// Of `left` bytes of a class from the node `from`, which come with the rate
    /// `rate` now.
    #[must_use]
    pub fn standing(&self, from: &str, class: Class, left: u64, rate: Option<Rate>) -> Standing {
        let (now, clock) = (self.inner.now(), Timestamp::now());
        let mut state = self.inner.state();
        let lines = state.lines.clone();
        // Several sources at once are above: then it is this node's own line.
        let peer = from.parse::<NodeName>().ok();
        let (line, is_local) = match (&lines, peer) {
            (Some(lines), Some(peer)) => lines.to(&peer),
            (Some(lines), None) => (lines.own().clone(), false),
            (None, Some(peer)) => (peer, false),
            (None, None) => return Standing::unknown(),
        };
        let profile = match &lines {
            Some(lines) if !is_local => lines.profile(&line),
            _ => Profile::default(),
        };
        let way = lines.as_ref().map_or(Way::Down, |lines| lines.way(&line, Direction::In));
        let queue = &state.lane(Direction::In).queue;
        let cap = if is_local { Rate::UNLIMITED } else { queue.node_limit() };
        let measured =
            rate.map(|own| Measured { own, line: queue.rate_of(&line, now).unwrap_or(own) });
        let opens = profile.opens(class, clock).filter(|opens| *opens > clock);
        Standing {
            own: lines.as_ref().map(|lines| lines.own().to_string()).unwrap_or_default(),
            hold: queue.held_on(&line, class, now),
            limit: queue.limit_of(&line),
            opens,
            done: forecast(&profile, way, class, left, clock, measured, cap),
        }
    }
}

impl Standing {
    fn unknown() -> Self {
        let own = String::new();
        Self { own, hold: None, limit: Rate::UNLIMITED, opens: None, done: None }
    }
}
