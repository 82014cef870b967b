//! Signed metadata as a peer may send it, and as somebody who has stolen every
//! key but the root's may sign it.

use std::fmt::Debug;

use serde_json::{Value, json};

use super::canonical;
use super::envelope::{Envelope, Signature, assemble, sign};
use super::fixture::{Files, Keys, days, now, path};
use super::metadata::{Kind, Root, Snapshot, Targets, Timestamp};
use super::search::{Edge, Search, Step};
use super::signing::SigningKey;
use super::trusted::{Error, TrustedMetadata};
use crate::fuzz::{Form, Target, same, word};

const WORDS: &[&str] = &[
    "root",
    "targets",
    "snapshot.json",
    "targets.json",
    "delegated",
    "keyid",
    "threshold",
    "version",
    "*",
    "a/*",
    "1.0.31",
    "9999-12-31T23:59:59Z",
    "2026-06-01T12:00:00Z",
    "ed25519",
    "succinct_roles",
    "path_hash_prefixes",
    "__proto__",
];

fn envelope<T: Kind + PartialEq + Debug>(input: &[u8]) -> String {
    let outcome = Envelope::<T>::parse(input);
    if let Ok(envelope) = &outcome {
        let written = serde_json::to_vec(envelope.signed()).expect("it was read");
        same(envelope.signed(), serde_json::from_slice::<T>(&written));
        assert!(envelope.version() > 0);
        let _ = envelope.signed().header().is_expired(now());
    }
    word(&outcome)
}

#[test]
fn metadata() {
    let keys = Keys::new();
    let files = Files::new(&keys, 3);
    let delegating = keys.targets(4, &[("a/b", b"x")], &[("delegated", "a/*")]);
    let seeds = [
        keys.sign_root(1, days(300)),
        files.timestamp,
        files.snapshot,
        files.targets,
        sign(&delegating, &[&keys.targets]).expect("signed"),
    ];
    let read = |input: &[u8]| {
        let words = [
            envelope::<Root>(input),
            envelope::<Timestamp>(input),
            envelope::<Snapshot>(input),
            envelope::<Targets>(input),
        ];
        words.concat()
    };
    Target::new("metadata", Form::Json).with_words(WORDS).run(seeds, read);
}

/// The file of what `signed` says, signed by that key.
fn resign(signed: &Value, key: &SigningKey) -> Option<Vec<u8>> {
    let canonical = canonical::to_vec(signed).ok()?;
    assemble(signed, &[Signature::of(key, &canonical)]).ok()
}

/// A whole refresh with one file of a thief's choice.
fn refresh(input: &Value, keys: &Keys, root: &[u8]) -> Result<(), Error> {
    let mut trusted = TrustedMetadata::bootstrap(root, now())?;
    let kind = input["_type"].as_str().unwrap_or_default();
    let theirs = |name: &str, key: &SigningKey, honest: Value| {
        let signed = if kind == name { input } else { &honest };
        resign(signed, key).unwrap_or_default()
    };
    if kind == "root" {
        trusted.update_root(&theirs("root", &keys.root, Value::Null))?;
    }
    let head = |kind: &str| json!({ "_type": kind, "spec_version": "1.0.31", "version": 1, "expires": "2026-07-01T00:00:00Z" });
    // Without lengths and hashes, so that other files than these may follow.
    let with = |kind: &str, meta: Value| {
        let mut value = head(kind);
        value["meta"] = meta;
        value
    };
    let timestamp = with("timestamp", json!({ "snapshot.json": { "version": 1 } }));
    trusted.update_timestamp(&theirs("timestamp", &keys.timestamp, timestamp))?;
    let listed = json!({ "targets.json": { "version": 1 }, "delegated.json": { "version": 1 } });
    let snapshot = with("snapshot", listed);
    trusted.update_snapshot(&theirs("snapshot", &keys.snapshot, snapshot))?;
    let mut targets = head("targets");
    targets["targets"] = json!({});
    let edge = Edge::top();
    let bytes = theirs("targets", &keys.targets, targets);
    trusted.update_targets(&edge.role, &edge.delegator, &bytes)?;
    let mut search = Search::new(path("a/b"), 8);
    for _ in 0..8 {
        match search.step(&trusted)? {
            Step::Load(_) => {}
            _ => break,
        }
    }
    Ok(())
}

#[test]
fn thefts() {
    let keys = Keys::new();
    let root = keys.sign_root(1, days(300));
    let seeds = [
        json!(keys.root(2, days(300))),
        json!({
            "_type": "timestamp", "spec_version": "1.0.31", "version": 1,
            "expires": "2026-07-01T00:00:00Z", "meta": { "snapshot.json": { "version": 1 } },
        }),
        json!(keys.targets(1, &[("a/b", b"x")], &[("delegated", "a/*"), ("other", "*")])),
        json!({
            "_type": "snapshot", "spec_version": "1.0.31", "version": 1,
            "expires": "2026-07-01T00:00:00Z",
            "meta": { "targets.json": { "version": 1 }, "delegated.json": { "version": 2 } },
        }),
    ];
    let seeds = seeds.map(|seed| serde_json::to_vec(&seed).expect("JSON"));
    let read = |input: &[u8]| match serde_json::from_slice(input) {
        Ok(input) => word(&refresh(&input, &keys, &root)),
        Err(error) => word::<(), _>(&Err(error)),
    };
    Target::new("thefts", Form::Json).with_words(WORDS).with_factor(256).run(seeds, read);
}
