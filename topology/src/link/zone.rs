//! A site's time zone, by its IANA name.
//!
//! The rules of all zones are part of this program, so that every node of a
//! version says the same, also on hosts without a zone database.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The longest name that is looked at; those there are have half of it.
const MAX_NAME: usize = 64;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone that is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    zone: TimeZone,
}

/// A name that no zone has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a time zone; use an IANA name, such as Europe/Paris, America/Sao_Paulo or UTC"
)]
pub struct UnknownZone(pub String);

impl Zone {
    /// Its IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// What the clock on the wall shows.
    #[must_use]
    pub fn wall(&self, at: Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }

    /// When the clocks are moved next after an instant.
    pub(super) fn transition_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.zone.following(at).next().map(|transition| transition.timestamp())
    }

    /// The instants at which the clock may show this time: two where it shows
    /// it twice, the ones around the gap where it leaves it out.
    pub(super) fn instants(&self, wall: DateTime) -> impl Iterator<Item = Timestamp> {
        let ambiguous = || self.zone.to_ambiguous_timestamp(wall);
        [ambiguous().earlier(), ambiguous().later()].into_iter().filter_map(Result::ok)
    }

    /// The first instant at which the clock shows this time, or would.
    #[must_use]
    pub fn instant(&self, wall: DateTime) -> Option<Timestamp> {
        self.instants(wall).next()
    }

    /// The day on which an instant is here.
    pub(super) fn date(&self, at: Timestamp) -> Date {
        self.wall(at).date()
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { zone: TimeZone::UTC }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({self})")
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone(name.chars().take(MAX_NAME).collect());
        if name.len() > MAX_NAME {
            return Err(unknown());
        }
        if name == "UTC" {
            return Ok(Self::default());
        }
        let zone = ZONES.get(name).map_err(|_| unknown())?;
        // The database takes any spelling and knows a zone that means "unknown".
        let is_named = zone.iana_name().is_some_and(|known| known == name);
        if is_named && !zone.is_unknown() { Ok(Self { zone }) } else { Err(unknown()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Zone;

    #[test]
    fn only_zones_that_are_known_are_taken() {
        for name in ["UTC", "Europe/Paris", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Tokyo"]
        {
            let zone: Zone = name.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(zone.to_string(), name);
        }
        let long = "x".repeat(1000);
        for name in ["", "Paris", "europe/paris", "Etc/Unknown", "../etc/passwd", "+02:00", &long] {
            let error = name.parse::<Zone>().expect_err(name);
            assert!(error.to_string().contains("IANA"), "{error}");
        }
    }
}
