//! Rows of `make bench`: each measures Patchmesh, and its peers in the same run.
//!
//! A row has an id of a topic and a number, which never changes its meaning, and
//! yields one measurement for each peer or percentile. Rows run one after the
//! other on an otherwise idle machine.

mod import;
mod machine;
mod path;
mod peer;
mod report;
mod statistics;

use std::pin::Pin;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

pub use machine::Machine;
pub use report::{markdown, table};

/// One line of the table and one object of `results.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Topic and number.
    pub id: String,
    /// What was measured.
    pub measure: String,
    /// What Patchmesh reached.
    pub ours: f64,
    /// The unit of both values.
    pub unit: String,
    /// What it was measured beside.
    pub peer: Option<String>,
    /// What that reached.
    pub peer_value: Option<f64>,
    /// Ours divided by the peer's.
    pub ratio: Option<f64>,
    /// The bar, in the unit, such as `< 1`.
    pub required: Option<String>,
    /// Whether the bar was reached; absent without a bar.
    pub pass: Option<bool>,
}

impl Measurement {
    fn new(id: &str, measure: &str, ours: f64, unit: &str) -> Self {
        Self {
            id: id.to_owned(),
            measure: measure.to_owned(),
            ours,
            unit: unit.to_owned(),
            peer: None,
            peer_value: None,
            ratio: None,
            required: None,
            pass: None,
        }
    }

    fn beside(mut self, peer: &str, value: f64) -> Self {
        self.peer = Some(peer.to_owned());
        self.peer_value = Some(value);
        self.ratio = Some(self.ours / value);
        self
    }

    fn required_below(mut self, bar: f64) -> Self {
        self.required = Some(format!("< {bar}"));
        self.pass = Some(self.ours < bar);
        self
    }
}

type Run = fn() -> Pin<Box<dyn Future<Output = Result<Vec<Measurement>>>>>;

/// A row that can be measured.
#[derive(Clone, Copy)]
pub struct Row {
    /// Topic and number.
    pub id: &'static str,
    /// What it measures.
    pub about: &'static str,
    run: Run,
}

impl Row {
    /// Measures.
    ///
    /// # Errors
    /// When a process does not start or does not do its work.
    pub async fn measure(&self) -> Result<Vec<Measurement>> {
        (self.run)().await.with_context(|| format!("row {}", self.id))
    }
}

/// Every row, in the order of the table.
const ROWS: &[Row] = &[
    Row {
        id: "path.1",
        about: "from `approve` until the deepest of four levels serves the set",
        run: || Box::pin(path::decision_to_deepest()),
    },
    Row {
        id: "path.2",
        about: "the rate of a 1 GiB blob over one hop",
        run: || Box::pin(path::blob_over_one_hop()),
    },
    Row {
        id: "path.3",
        about: "the import of 60,000 packages",
        run: || Box::pin(import::import_of_a_release()),
    },
    Row {
        id: "path.4",
        about: "1,000 revisions approved at once, four levels deep",
        run: || Box::pin(import::a_thousand_decisions()),
    },
];

/// The rows that a selection names: ids or topics, separated by commas; all of
/// them when nothing is named.
///
/// # Errors
/// When a name fits no row.
pub fn select(names: Option<&str>) -> Result<Vec<Row>> {
    let Some(names) = names else { return Ok(ROWS.to_vec()) };
    let mut selected = Vec::new();
    for name in names.split(',').map(str::trim) {
        let fits = |row: &&Row| row.id == name || row.id.split('.').next() == Some(name);
        let before = selected.len();
        selected.extend(ROWS.iter().filter(fits));
        let known: Vec<&str> = ROWS.iter().map(|row| row.id).collect();
        ensure!(selected.len() > before, "no row {name:?}; there are {}", known.join(", "));
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_by_id_or_topic() {
        let ids = |names| {
            let rows: Vec<&str> = select(names).unwrap().iter().map(|row| row.id).collect();
            rows
        };
        assert_eq!(ids(Some("path.2")), ["path.2"]);
        assert_eq!(ids(Some("path")), ["path.1", "path.2", "path.3", "path.4"]);
        assert_eq!(ids(None).len(), ROWS.len());
        assert!(select(Some("pat")).is_err());
    }

    #[test]
    fn a_bar_is_reached_or_not() {
        assert_eq!(Measurement::new("x.1", "", 0.5, "s").required_below(1.0).pass, Some(true));
        assert_eq!(Measurement::new("x.1", "", 1.0, "s").required_below(1.0).pass, Some(false));
        assert_eq!(Measurement::new("x.1", "", 1.0, "s").beside("y", 2.0).ratio, Some(0.5));
    }
}
