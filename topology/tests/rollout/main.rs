//! Golden scenarios of rollouts: events in, rendered plan and explanation out.
//!
//! A scenario is a text in `scenarios/`. It describes a mesh and its plans and
//! then tells what happens, an instant and an event a line; [`script`] has the
//! words. What the planner, the explanation and the offer of a machine say is
//! written behind each event, in lines that begin with `|`. The test plays
//! the events and compares. `PATCHMESH_ACCEPT=1` writes what was said into the
//! files instead; what changed is then for a person to read.
//!
//! Beside that, each event is planned twice, incrementally and in full, and
//! both must come to the same.

mod play;
mod render;
mod script;

use std::fs;
use std::path::{Path, PathBuf};

use play::Play;

/// Scenarios that have to be there: what the planner is known by.
const NAMES: [&str; 17] = [
    "brake_and_exception",
    "clock_is_moved",
    "content_missing",
    "cycle_and_freeze",
    "empty_waves",
    "failures_and_samples",
    "freeze_is_no_failure",
    "halt_in_a_partition",
    "happy_path",
    "laptop_returns",
    "new_revision",
    "primary_killed",
    "shares_and_groups",
    "site_groups",
    "sites_in_turn",
    "unreachable",
    "windows_around_the_world",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rollout/scenarios")
}

/// The scenario as it should be: every event with what is said after it.
fn played(name: &str, text: &str) -> String {
    let mut play = Play::new();
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('|') {
            continue;
        }
        out += line;
        out.push('\n');
        let said = play.line(line).unwrap_or_else(|error| {
            panic!("scenarios/{name}.txt, line {}: {error}\n  {line}", number + 1)
        });
        for line in said {
            out += format!("    | {line}").trim_end();
            out.push('\n');
        }
    }
    out
}

/// Both texts, line by line, with what is only in one of them marked.
fn difference(expected: &str, found: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    // The longest common subsequence from each pair of places on.
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = match a[i] == b[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(format!("  {}", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || i < a.len() && common[i + 1][j] >= common[i][j + 1] {
            out.push(format!("- {}", a[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", b[j]));
            j += 1;
        }
    }
    out.join("\n")
}

#[test]
fn scenarios_play_as_written() {
    let accepts = std::env::var_os("PATCHMESH_ACCEPT").is_some_and(|value| value == "1");
    let mut faults = Vec::new();
    for name in NAMES {
        let path = folder().join(format!("{name}.txt"));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("scenario {} is missing: {error}", path.display()));
        let played = played(name, &text);
        if played == text {
            continue;
        }
        if accepts {
            fs::write(&path, played).expect("the scenario can be written");
        } else {
            let difference = difference(&text, &played);
            faults.push(format!("scenarios/{name}.txt (- written, + said now):\n{difference}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{}\n\nIf that is right, PATCHMESH_ACCEPT=1 writes it down.",
        faults.join("\n\n")
    );
}

#[test]
fn every_scenario_is_played() {
    let mut found: Vec<String> = fs::read_dir(folder())
        .expect("the folder is there")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    found.sort();
    assert_eq!(found, NAMES);
}

#[test]
fn a_difference_shows_what_is_only_on_one_side() {
    assert_eq!(difference("a\nb\nc", "a\nx\nc"), "  a\n- b\n+ x\n  c");
}
