//! Rows of `make bench`: each measures Patchmesh, and its peers in the same run.
//!
//! A row has an id of a topic and a number, which never changes its meaning, and
//! yields one measurement for each peer or percentile. Rows run one after the
//! other on an otherwise idle machine.

mod agent;
mod compliance;
mod crowd;
mod events;
mod halt;
mod idle;
mod import;
mod machine;
mod machines;
mod measurement;
mod path;
mod peer;
mod process;
mod release;
mod report;
mod rollout;
mod statistics;
mod transfer;
mod urgent;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::FutureExt;

pub use machine::Machine;
pub use measurement::Measurement;
pub use peer::used as commands;
pub use report::{markdown, table};

/// The longest that one row may take. A row that hangs must not lose the others.
const ROW_DEADLINE: Duration = Duration::from_secs(1200);

type Running = Pin<Box<dyn Future<Output = Result<Vec<Measurement>>>>>;
type Run = fn(Scale) -> Running;

/// How much is moved and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// What the table says.
    Full,
    /// Little: to check the rows themselves. Its figures mean nothing.
    Quick,
}

impl Scale {
    /// The size of the table, or a small one.
    fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

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
    /// Measures. A row that fails, panics or hangs yields a line that says so.
    pub async fn measure(&self, scale: Scale) -> Vec<Measurement> {
        let run = AssertUnwindSafe((self.run)(scale)).catch_unwind();
        let problem = match tokio::time::timeout(ROW_DEADLINE, run).await {
            Ok(Ok(Ok(measurements))) => return measurements,
            Ok(Ok(Err(error))) => format!("{error:#}"),
            Ok(Err(_)) => "the row panicked".to_owned(),
            Err(_) => format!("it took longer than {ROW_DEADLINE:?}"),
        };
        eprintln!("bench: {} could not be measured: {problem}", self.id);
        let first = problem.lines().next().unwrap_or_default();
        vec![Measurement::failed(self.id, self.about, &format!("not measured: {first}"))]
    }
}

/// Every row, in the order of the table.
const ROWS: &[Row] = &[
    Row {
        id: "path.1",
        about: "from `approve` until the deepest of four levels serves the set",
        run: |_| Box::pin(path::decision_to_deepest()),
    },
    Row {
        id: "path.2",
        about: "the rate of a 1 GiB blob over one hop",
        run: |_| Box::pin(path::blob_over_one_hop()),
    },
    Row {
        id: "path.3",
        about: "the import of 60,000 packages",
        run: |_| Box::pin(import::import_of_a_release()),
    },
    Row {
        id: "path.4",
        about: "1,000 revisions approved at once, four levels deep",
        run: |_| Box::pin(import::a_thousand_decisions()),
    },
    Row {
        id: "transfer.1",
        about: "one 4 GiB blob over one hop, on disk",
        run: |scale| Box::pin(transfer::on_disk(scale)),
    },
    Row {
        id: "transfer.2",
        about: "the same in memory-backed folders",
        run: |scale| Box::pin(transfer::in_memory(scale)),
    },
    Row {
        id: "transfer.3",
        about: "20,000 blobs of 16 KiB over one hop",
        run: |scale| Box::pin(transfer::many_small(scale)),
    },
    Row {
        id: "transfer.4",
        about: "nothing changed among 20,000 revisions",
        run: |scale| Box::pin(transfer::nothing_changed(scale)),
    },
    Row {
        id: "transfer.5",
        about: "one approval more among 20,000 revisions",
        run: |scale| Box::pin(transfer::one_approval(scale)),
    },
    Row {
        id: "transfer.6",
        about: "256 MiB down a chain of four narrow hops",
        run: |scale| Box::pin(transfer::chain(scale)),
    },
    Row {
        id: "transfer.7",
        about: "one parent and 16 branches at one site",
        run: |scale| Box::pin(transfer::one_site(scale)),
    },
    Row {
        id: "transfer.8",
        about: "memory while 32 large blobs move",
        run: |scale| Box::pin(transfer::many_blobs(scale)),
    },
    Row {
        id: "transfer.9",
        about: "1,000 requests for a blob that is still being fetched",
        run: |scale| Box::pin(transfer::a_thousand_requests(scale)),
    },
    Row {
        id: "transfer.10",
        about: "1 Gbit/s with a round trip of 100 ms",
        run: |scale| Box::pin(transfer::long_line(scale)),
    },
    Row {
        id: "transfer.11",
        about: "error of limits of 1, 10 and 100 Mbit/s",
        run: |scale| Box::pin(transfer::limits(scale)),
    },
    Row {
        id: "transfer.12",
        about: "a transfer beside a foreground flow at 20 Mbit/s",
        run: |scale| Box::pin(transfer::politeness(scale)),
    },
    Row {
        id: "rollout.1",
        about: "a month of 5,000 sites and a million machines simulated",
        run: |scale| Box::pin(rollout::simulation(scale)),
    },
    Row {
        id: "rollout.2",
        about: "from a machine's failure until every branch is halted",
        run: |scale| Box::pin(halt::halt(scale)),
    },
    Row {
        id: "rollout.3",
        about: "200 open rollouts at 5,000 sites planned",
        run: |scale| Box::pin(async move { rollout::planner(scale) }),
    },
    Row {
        id: "machines.1",
        about: "machines that are connected to one branch and idle",
        run: |scale| Box::pin(idle::connected(scale)),
    },
    Row {
        id: "machines.2",
        about: "events that one branch takes in durably",
        run: |scale| Box::pin(events::accepted(scale)),
    },
    Row {
        id: "machines.3",
        about: "from a critical approval until 10,000 machines know",
        run: |scale| Box::pin(urgent::known(scale)),
    },
    Row {
        id: "machines.4",
        about: "compliance of a million machines by geography",
        run: |scale| Box::pin(async move { compliance::compliance(scale) }),
    },
    Row {
        id: "machines.5",
        about: "applicability of 20,000 revisions on one machine",
        run: |scale| Box::pin(async move { machines::applicability(scale) }),
    },
    Row {
        id: "machines.6",
        about: "an agent that has nothing to do",
        run: |scale| Box::pin(agent::idle(scale)),
    },
];

/// The whole table in the order of the rows: what was measured now, else what
/// an earlier run measured, else a line that says that nobody did.
#[must_use]
pub fn complete(earlier: &[Measurement], now: &[Measurement]) -> Vec<Measurement> {
    let of = |measured: &[Measurement], row: &Row| -> Vec<Measurement> {
        measured.iter().filter(|one| one.id == row.id).cloned().collect()
    };
    let lines = ROWS.iter().flat_map(|row| {
        let found = [of(now, row), of(earlier, row)].into_iter().find(|lines| !lines.is_empty());
        found.unwrap_or_else(|| vec![Measurement::missing(row.id, row.about, "not measured yet")])
    });
    lines.collect()
}

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
    fn a_run_of_some_rows_keeps_the_others() {
        let line = |id: &str, value| Measurement::new(id, "", value, "s");
        let earlier = [line("path.1", 1.0), line("path.2", 1.0), line("gone.1", 1.0)];
        let table = complete(&earlier, &[line("path.2", 2.0), line("path.2", 3.0)]);
        let values: Vec<_> = table[..4].iter().map(|one| (one.id.as_str(), one.ours)).collect();
        let third = ("path.3", None);
        let second = [("path.2", Some(2.0)), ("path.2", Some(3.0))];
        assert_eq!(values, [("path.1", Some(1.0)), second[0], second[1], third]);
        assert_eq!(table.len(), ROWS.len() + 1);
    }

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
}
