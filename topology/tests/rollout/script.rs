//! The words of a scenario's first part: sites, machines, approvals and plans.
//!
//! ```text
//! site emea/fr/paris Europe/Paris
//! machine pc-7 workstations emea/fr/paris
//! approve deb:stable/openssl@2 workstations spring
//! rollout spring
//!   offline | urgent | remove | cycle second Tuesday + 3 days
//!   wave pilot emea/fr apac @big-plants
//!     groups workstations
//!     share 5 %
//!     not_before 2026-11-02T09:00Z
//!     windows 22:00-06:00 / Sat 00:00-24:00
//!     blackouts Fri 00:00-24:00
//!     min_reached 90 % of 20
//!     min_success 95 % of 20
//!     max_failed 2 % of 50
//!     max_failures 10
//!     soak 24h
//!     unreachable ignore 72h | fail 72h | block
//!     on_breach pause | halt | withdraw
//!     operator
//!     skip_empty
//!     max_sites 2 | max_machines 100      at once
//! ```

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::link::hours::Hours;
use patchmesh_topology::node::Stage;
use patchmesh_topology::rollout::gate::{AtLeast, AtMost, Unreachable};
use patchmesh_topology::rollout::{
    Action, Control, Geographies, OnEmpty, Priority, Rollout, Share, Wave,
};

/// What is wrong with a line.
pub(crate) type Fault = String;

/// Reads one word.
pub(crate) fn word<T: FromStr>(text: Option<&str>, what: &str) -> Result<T, Fault>
where
    T::Err: std::fmt::Display,
{
    let text = text.ok_or_else(|| format!("{what} is missing"))?;
    text.parse().map_err(|error| format!("{what}: {error}"))
}

/// All words that are left.
pub(crate) fn all<'a, T: FromStr>(
    words: impl Iterator<Item = &'a str>,
    what: &str,
) -> Result<Vec<T>, Fault>
where
    T::Err: std::fmt::Display,
{
    words.map(|text| word(Some(text), what)).collect()
}

/// `24h`.
pub(crate) fn hours(text: Option<&str>) -> Result<SignedDuration, Fault> {
    let number = text.and_then(|text| text.strip_suffix('h'));
    Ok(SignedDuration::from_hours(word(number, "hours such as 24h")?))
}

/// A plan without waves, not started.
pub(crate) fn rollout(name: &str) -> Result<Rollout, Fault> {
    let name = word(Some(name), "a rollout")?;
    let mut rollout = Rollout::running(name, Stage::Production, Vec::new());
    rollout.control = Control::planned("ada", Timestamp::UNIX_EPOCH);
    Ok(rollout)
}

/// Takes a line of a plan.
pub(crate) fn detail(rollout: &mut Rollout, line: &str) -> Result<(), Fault> {
    let (key, value) = line.split_once(' ').unwrap_or((line, ""));
    let value = value.trim();
    let mut words = value.split_whitespace();
    match key {
        "offline" => rollout.offline = true,
        "urgent" => rollout.priority = Priority::Urgent,
        "remove" => rollout.action = Action::Remove,
        "cycle" => rollout.cycle = Some(word(Some(value), "a cycle")?),
        "wave" => {
            let name = words.next().ok_or("a wave has a name")?;
            let (groups, sites): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with('@'));
            let groups = groups.iter().map(|word| &word[1..]);
            let groups: Vec<_> = all(groups, "a group of sites")?;
            let sites = all(sites.into_iter(), "a geography")?;
            let mut wave = Wave::plain(name, Vec::new());
            wave.geographies = Geographies::new(sites, groups.into_iter().collect());
            rollout.waves.push(wave);
        }
        _ => {
            let wave = rollout.waves.last_mut().ok_or_else(|| format!("no wave for {key}"))?;
            of_wave(wave, key, value)?;
        }
    }
    Ok(())
}

fn of_wave(wave: &mut Wave, key: &str, value: &str) -> Result<(), Fault> {
    let gate = &mut wave.gate;
    let mut words = value.split_whitespace();
    match key {
        "groups" => wave.groups = all(words, "a group")?.into_iter().collect(),
        "share" => wave.share = word(Some(value), "a share")?,
        "not_before" => wave.not_before = Some(word(Some(value), "a time")?),
        "windows" => wave.windows = many_hours(value)?,
        "blackouts" => wave.blackouts = many_hours(value)?,
        "min_reached" => gate.min_reached = Some(at_least(value)?),
        "min_success" => gate.min_success = Some(at_least(value)?),
        "max_failed" => {
            let AtLeast { share, min_sample } = at_least(value)?;
            let count = gate.max_failed.and_then(|limit| limit.count);
            gate.max_failed = Some(AtMost { share: Some(share), count, min_sample });
        }
        "max_failures" => {
            let count = Some(word(Some(value), "a number")?);
            let known = gate.max_failed.unwrap_or(AtMost { share: None, count, min_sample: 0 });
            gate.max_failed = Some(AtMost { count, ..known });
        }
        "soak" => gate.soak = hours(Some(value))?,
        "unreachable" => {
            gate.unreachable = match words.next() {
                Some("ignore") => Unreachable::Ignore(hours(words.next())?),
                Some("fail") => Unreachable::Fail(hours(words.next())?),
                _ => Unreachable::Block,
            }
        }
        "on_breach" => gate.on_breach = word(Some(value), "an action")?,
        "operator" => gate.operator = true,
        "max_sites" => wave.limit.sites = Some(word(Some(value), "a number")?),
        "max_machines" => wave.limit.machines = Some(word(Some(value), "a number")?),
        "skip_empty" => wave.on_empty = OnEmpty::Skip,
        _ => return Err(format!("nobody knows {key}")),
    }
    Ok(())
}

fn many_hours(text: &str) -> Result<Vec<Hours>, Fault> {
    all(text.split('/').map(str::trim), "hours")
}

/// `90 % of 20`: a share, and how many machines it is judged on.
fn at_least(text: &str) -> Result<AtLeast, Fault> {
    let (share, sample) = text.split_once(" of ").ok_or("a share has a sample: 90 % of 20")?;
    let share: Share = word(Some(share), "a share")?;
    Ok(AtLeast { share, min_sample: word(Some(sample), "a sample")? })
}
