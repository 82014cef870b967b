//! The table, for a terminal and as `docs/benchmarks.md`.

use std::collections::BTreeSet;

use super::{Machine, Measurement};

const HEADER: [&str; 11] =
    ["id", "measure", "ours", "peer", "peer's", "ratio", "required", "pass", "turns", "at", "note"];

/// The table for a terminal.
#[must_use]
pub fn table(measurements: &[Measurement]) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(measurements.iter().map(cells));
    let mut widths = [0; HEADER.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines = rows.iter().map(|row| {
        let padded: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// The page of the documentation.
#[must_use]
pub fn markdown(
    machine: &Machine,
    measurements: &[Measurement],
    commands: &BTreeSet<String>,
) -> String {
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `make bench`; [testing.md](testing.md) says how to read it. Peers ran on the same \
         machine in the same run, in turns with Patchmesh (ours, peer, ours, peer …); values are medians \
         of the turns. Everything went over loopback. A ratio is ours divided by the peer's. `at` (UTC) tells \
         which run a row is of.\n\n\
         | | |\n|---|---|\n\
         | last run | {} |\n| processor | {}, {} cores |\n| memory | {} GiB |\n| kernel | {} |\n\
         | file system | {} |\n| software | {} |\n\n",
        machine.date,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.file_system,
        machine.software
    );
    text.push_str(&format!("| {} |\n|{}\n", HEADER.join(" | "), "---|".repeat(HEADER.len())));
    for measurement in measurements {
        text.push_str(&format!("| {} |\n", cells(measurement).join(" | ")));
    }
    if !commands.is_empty() {
        text.push_str("\n## What the peers ran\n\n```sh\n");
        for command in commands {
            text.push_str(command);
            text.push('\n');
        }
        text.push_str("```\n");
    }
    text
}

fn cells(measurement: &Measurement) -> [String; 11] {
    let unit = &measurement.unit;
    let dash = || "–".to_owned();
    [
        measurement.id.clone(),
        measurement.measure.clone(),
        measurement.ours.map_or_else(dash, |value| format!("{} {unit}", number(value))),
        measurement.peer.clone().unwrap_or_else(dash),
        measurement.peer_value.map_or_else(dash, |value| format!("{} {unit}", number(value))),
        measurement.ratio.map_or_else(dash, |ratio| format!("{ratio:.2}")),
        measurement.required.as_ref().map_or_else(dash, |bar| {
            if bar.starts_with("ratio") { bar.clone() } else { format!("{bar} {unit}") }
        }),
        match measurement.pass {
            Some(true) => "yes".to_owned(),
            Some(false) => "NO".to_owned(),
            None => dash(),
        },
        measurement.turns.map_or_else(dash, |turns| turns.to_string()),
        measurement.at.clone(),
        measurement.note.as_deref().map_or_else(dash, |note| note.replace('|', "/")),
    ]
}

/// Three significant digits are more than a run repeats.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let measurement = Measurement::new("path.1", "time", 0.1234, "s").required_below(1.0);
        let text = table(std::slice::from_ref(&measurement));
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.contains("0.123 s") && text.contains("< 1 s") && text.contains("yes"),
            "{text}"
        );
        assert_eq!(cells(&measurement)[4], "–");
    }
}
