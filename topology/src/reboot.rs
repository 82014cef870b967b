//! When a machine restarts that has to.

pub mod slots;

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time};

/// How long after its time a restart may still come: a machine that was asleep
/// then does not restart in the middle of the day.
const HOUR: i64 = 60 * 60;

/// Seconds of a day.
const DAY: i64 = 24 * HOUR;

/// Who decides when a machine restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Nobody here: it restarts when it is switched off and on.
    #[default]
    Leave,
    /// Somebody at the machine, who is asked.
    Ask,
    /// The machine, when nobody is logged on.
    Unattended,
    /// The clock: within an hour from this local time on, every day.
    At(Time),
}

/// What a restart waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Somebody's own time.
    Left,
    /// Somebody's word.
    Asked,
    /// So many people to log off.
    People(usize),
    /// That it can be told who is logged on.
    Unknown,
    /// This time of the day.
    Until(Time),
}

/// Not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of leave, ask, unattended and a time such as 03:30")]
pub struct NoPolicy(String);

impl Policy {
    /// What a restart that is due waits for, at this local time with so many
    /// people logged on; `None`: nothing, it is to come now. How many there are
    /// need not be known.
    #[must_use]
    pub fn wait(self, people: Option<usize>, now: DateTime) -> Option<Wait> {
        match (self, people) {
            (Self::Leave, _) => Some(Wait::Left),
            (Self::Ask, _) => Some(Wait::Asked),
            (Self::Unattended, None) => Some(Wait::Unknown),
            (Self::Unattended, Some(0)) => None,
            (Self::Unattended, Some(people)) => Some(Wait::People(people)),
            (Self::At(at), _) => {
                let past = (second(now.time()) - second(at)).rem_euclid(DAY);
                (past >= HOUR).then_some(Wait::Until(at))
            }
        }
    }
}

fn second(time: Time) -> i64 {
    i64::from(time.hour()) * HOUR + i64::from(time.minute()) * 60 + i64::from(time.second())
}

impl FromStr for Policy {
    type Err = NoPolicy;

    fn from_str(text: &str) -> Result<Self, NoPolicy> {
        match text {
            "leave" => Ok(Self::Leave),
            "ask" => Ok(Self::Ask),
            "unattended" => Ok(Self::Unattended),
            _ => text.parse().map(Self::At).map_err(|_| NoPolicy(text.to_owned())),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leave => f.pad("leave"),
            Self::Ask => f.pad("ask"),
            Self::Unattended => f.pad("unattended"),
            Self::At(at) => f.pad(&clock(*at)),
        }
    }
}

/// As [`Policy::from_str`] reads it; seconds are shown where there are some.
fn clock(at: Time) -> String {
    match at.second() {
        0 => format!("{:02}:{:02}", at.hour(), at.minute()),
        second => format!("{:02}:{:02}:{second:02}", at.hour(), at.minute()),
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("it is left to whoever switches the machine off"),
            Self::Asked => f.write_str("`patchmesh agent reboot` makes it"),
            Self::People(1) => f.write_str("somebody is logged on"),
            Self::People(people) => write!(f, "{people} people are logged on"),
            Self::Unknown => f.write_str("nobody can tell whether somebody is logged on"),
            Self::Until(at) => write!(f, "it comes at {}", clock(*at)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wait(policy: &str, people: Option<usize>, now: &str) -> Option<String> {
        let policy: Policy = policy.parse().unwrap();
        policy.wait(people, format!("2026-11-28T{now}").parse().unwrap()).map(|one| one.to_string())
    }

    #[test]
    fn nobody_is_cut_off_who_works() {
        assert_eq!(wait("unattended", Some(0), "10:00"), None);
        assert_eq!(wait("unattended", Some(1), "10:00").unwrap(), "somebody is logged on");
        assert_eq!(wait("unattended", Some(3), "10:00").unwrap(), "3 people are logged on");
        assert!(wait("unattended", None, "10:00").unwrap().starts_with("nobody can tell"));
    }

    #[test]
    fn a_time_is_an_hour_long_also_over_midnight() {
        for (at, now, is_due) in [
            ("03:30", "03:29:59", false),
            ("03:30", "03:30:00", true),
            ("03:30", "04:29:59", true),
            ("03:30", "04:30:00", false),
            ("23:30", "00:10:00", true),
            ("23:30", "00:30:00", false),
        ] {
            assert_eq!(wait(at, Some(2), now).is_none(), is_due, "{at} {now}");
        }
        assert_eq!(wait("03:30", None, "10:00").unwrap(), "it comes at 03:30");
    }

    #[test]
    fn what_is_left_or_asked_never_comes_by_itself() {
        assert!(wait("leave", Some(0), "03:30").is_some());
        assert!(wait("ask", Some(0), "03:30").is_some());
        assert_eq!(Policy::default(), Policy::Leave);
        for text in ["leave", "ask", "unattended", "03:30", "23:59:30"] {
            assert_eq!(text.parse::<Policy>().unwrap().to_string(), text);
        }
        for wrong in ["", "now", "25:00", "3"] {
            assert!(wrong.parse::<Policy>().is_err(), "{wrong}");
        }
    }
}
