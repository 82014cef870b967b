//! `Release`: what a dist has, from when until when.

use std::collections::BTreeSet;
use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::node::Stage;

/// How long clients believe a view. The primary has to sign anew long before.
pub const VALID_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How old a view may get before the primary signs it anew, unchanged.
pub const RESIGN_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How far a view's time may run ahead of the clock. apt refuses a date more
/// than 10 seconds ahead (`Acquire::Max-FutureTime`).
pub const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(5);

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The time that a view built now states.
///
/// It never goes backwards, since apt refuses that. Clients ask "modified
/// since" in whole seconds, so views built within one second are dated a second
/// apart, as far as apt's tolerance for the future goes.
pub(super) fn signing_time(now: Timestamp, previous: Option<Timestamp>) -> Timestamp {
    let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
    let now = whole(now);
    let Some(previous) = previous.map(whole) else { return now };
    match previous.checked_add(SECOND) {
        Ok(next) if next <= now => now,
        Ok(next) if next.duration_since(now) <= MAX_AHEAD => next,
        _ => previous,
    }
}

/// What a `Release` file states.
pub(super) struct Release<'a> {
    pub(super) mesh: &'a str,
    pub(super) stage: Stage,
    pub(super) dist: &'a str,
    pub(super) date: Timestamp,
    pub(super) architectures: &'a BTreeSet<String>,
    pub(super) components: &'a [&'a str],
    /// Hash, length and path below the dist.
    pub(super) files: &'a [(Sha256, u64, String)],
}

impl Release<'_> {
    /// The file's text.
    pub(super) fn text(&self) -> String {
        let mesh = one_line(self.mesh);
        let valid_until = self.date.checked_add(VALID_FOR).unwrap_or(Timestamp::MAX);
        let architectures: Vec<&str> = self.architectures.iter().map(String::as_str).collect();
        let mut text = format!(
            "Origin: Patchmesh\n\
             Label: {mesh}\n\
             Suite: {dist}\n\
             Codename: {dist}\n\
             Date: {date}\n\
             Valid-Until: {valid_until}\n\
             Acquire-By-Hash: yes\n\
             No-Support-for-Architecture-all: Packages\n\
             Architectures: {architectures}\n\
             Components: {components}\n\
             Description: What {mesh} opened for {stage}\n\
             SHA256:\n",
            dist = self.dist,
            date = date(self.date),
            valid_until = date(valid_until),
            architectures = architectures.join(" "),
            components = self.components.join(" "),
            stage = self.stage,
        );
        if self.architectures.contains("all") {
            text = text.replace("No-Support-for-Architecture-all: Packages\n", "");
        }
        for (sha256, length, path) in self.files {
            // Writing to a String cannot fail.
            let _ = writeln!(text, " {sha256} {length:>8} {path}");
        }
        text
    }
}

/// RFC 1123 with `UTC`, as Debian's repository format has it.
fn date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

/// A name that a person chose, without what would begin another field.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match plain.trim() {
        "" => "mesh".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn time_never_goes_back_and_runs_ahead_only_a_little() {
        let now = at("2026-11-23T10:00:00.75Z");
        let sign = |previous: &str| signing_time(now, Some(at(previous))).to_string();
        assert_eq!(signing_time(now, None).to_string(), "2026-11-23T10:00:00Z");
        assert_eq!(sign("2026-11-23T09:00:00Z"), "2026-11-23T10:00:00Z");
        assert_eq!(sign("2026-11-23T10:00:00Z"), "2026-11-23T10:00:01Z");
        assert_eq!(sign("2026-11-23T10:00:04Z"), "2026-11-23T10:00:05Z");
        assert_eq!(sign("2026-11-23T10:00:05Z"), "2026-11-23T10:00:05Z");
        assert_eq!(sign("2026-12-01T00:00:00Z"), "2026-12-01T00:00:00Z");
    }

    #[test]
    fn states_what_apt_asks_for() {
        let files = [(Sha256::from_bytes([1; 32]), 20, "settled/binary-amd64/Packages".to_owned())];
        let mut release = Release {
            mesh: "acme\nOrigin: Debian",
            stage: Stage::Production,
            dist: "bookworm",
            date: at("2026-11-03T05:06:07Z"),
            architectures: &BTreeSet::from(["amd64".to_owned(), "arm64".to_owned()]),
            components: &["settled", "opening"],
            files: &files,
        };
        let text = release.text();
        assert!(text.contains("\nLabel: acme Origin: Debian\n"));
        assert!(text.contains("\nDate: Tue, 03 Nov 2026 05:06:07 UTC\n"));
        assert!(text.contains("\nValid-Until: Thu, 03 Dec 2026 05:06:07 UTC\n"));
        assert!(text.contains("\nArchitectures: amd64 arm64\n"));
        assert!(text.contains("\nNo-Support-for-Architecture-all: Packages\n"));
        assert!(text.ends_with(&format!(
            "\n {}       20 settled/binary-amd64/Packages\n",
            "01".repeat(32)
        )));
        let all = BTreeSet::from(["all".to_owned()]);
        release.architectures = &all;
        assert!(!release.text().contains("No-Support"));
    }
}
