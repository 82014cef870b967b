//! One line of the table: what was measured, beside whom, and the bar.

use serde::{Deserialize, Serialize};

/// One line of the table and one object of `results.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// Topic and number.
    pub id: String,
    /// What was measured.
    pub measure: String,
    /// What Patchmesh reached; absent where that could not be measured.
    pub ours: Option<f64>,
    /// The unit of both values.
    pub unit: String,
    /// What it was measured beside.
    pub peer: Option<String>,
    /// What that reached.
    pub peer_value: Option<f64>,
    /// Ours divided by the peer's.
    pub ratio: Option<f64>,
    /// The bar, in the unit, such as `< 1`; or of the ratio, such as `ratio ≥ 1.2`.
    pub required: Option<String>,
    /// Whether the bar was reached; absent without a bar.
    pub pass: Option<bool>,
    /// Turns of each side; the value is their median unless `measure` says otherwise.
    pub turns: Option<usize>,
    /// What else is to be known: why it falls short, why it was not measured.
    pub note: Option<String>,
    /// When it was measured: UTC, to the minute.
    pub at: String,
}

impl Measurement {
    pub(super) fn new(id: &str, measure: &str, ours: f64, unit: &str) -> Self {
        Self {
            id: id.to_owned(),
            measure: measure.to_owned(),
            ours: Some(ours),
            unit: unit.to_owned(),
            peer: None,
            peer_value: None,
            ratio: None,
            required: None,
            pass: None,
            turns: None,
            note: None,
            at: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string(),
        }
    }

    /// A row that stays in the table although nothing could be measured.
    pub(super) fn missing(id: &str, measure: &str, note: &str) -> Self {
        let mut row = Self::new(id, measure, f64::NAN, "");
        row.ours = None;
        row.note = Some(note.to_owned());
        row
    }

    /// The same for a row that failed; counts as a bar that was not reached.
    pub(super) fn failed(id: &str, measure: &str, note: &str) -> Self {
        Self { pass: Some(false), ..Self::missing(id, measure, note) }
    }

    pub(super) fn beside(mut self, peer: &str, value: f64) -> Self {
        self.peer = Some(peer.to_owned());
        self.peer_value = Some(value);
        self.ratio = self.ours.map(|ours| ours / value);
        self
    }

    pub(super) fn turns(mut self, turns: usize) -> Self {
        self.turns = Some(turns);
        self
    }

    pub(super) fn note(mut self, note: &str) -> Self {
        self.note = Some(match self.note.take() {
            Some(before) => format!("{before}; {note}"),
            None => note.to_owned(),
        });
        self
    }

    pub(super) fn required_below(mut self, bar: f64) -> Self {
        self.required = Some(format!("< {bar}"));
        self.pass = Some(self.ours.is_some_and(|ours| ours < bar));
        self
    }

    pub(super) fn required_at_most(mut self, bar: f64) -> Self {
        self.required = Some(format!("≤ {bar}"));
        self.pass = Some(self.ours.is_some_and(|ours| ours <= bar));
        self
    }

    pub(super) fn required_at_least(mut self, bar: f64) -> Self {
        self.required = Some(format!("≥ {bar}"));
        self.pass = Some(self.ours.is_some_and(|ours| ours >= bar));
        self
    }

    /// The bar is a share of the peer's value.
    pub(super) fn ratio_at_least(mut self, bar: f64) -> Self {
        self.required = Some(format!("ratio ≥ {bar}"));
        self.pass = Some(self.ratio.is_some_and(|ratio| ratio >= bar));
        self
    }

    /// The same where less is better.
    pub(super) fn ratio_at_most(mut self, bar: f64) -> Self {
        self.required = Some(format!("ratio ≤ {bar}"));
        self.pass = Some(self.ratio.is_some_and(|ratio| ratio <= bar));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_reached_or_not() {
        let seconds = |value| Measurement::new("x.1", "", value, "s");
        assert_eq!(seconds(0.5).required_below(1.0).pass, Some(true));
        assert_eq!(seconds(1.0).required_below(1.0).pass, Some(false));
        assert_eq!(seconds(1.0).required_at_most(1.0).pass, Some(true));
        assert_eq!(seconds(1.0).required_at_least(1.1).pass, Some(false));
        assert_eq!(seconds(f64::NAN).required_at_least(0.0).pass, Some(false));
        assert_eq!(seconds(1.0).beside("y", 2.0).ratio, Some(0.5));
        assert_eq!(seconds(1.0).beside("y", 2.0).ratio_at_least(0.5).pass, Some(true));
        assert_eq!(seconds(1.0).beside("y", 2.0).ratio_at_most(0.4).pass, Some(false));
        assert_eq!(seconds(1.0).ratio_at_least(0.0).pass, Some(false), "beside nobody");
    }

    #[test]
    fn a_row_that_could_not_be_measured_stays() {
        assert_eq!(Measurement::missing("x.1", "", "not root").pass, None);
        let failed = Measurement::failed("x.1", "", "it broke");
        assert_eq!((failed.pass, failed.ours), (Some(false), None));
        assert_eq!(failed.note("so what").note.as_deref(), Some("it broke; so what"));
    }
}
