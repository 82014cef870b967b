//! What machines without an agent see.

use patchmesh_topology::view::{Pools, is_inner_path};
use serde_json::Value;

use super::*;
use crate::openpgp::Keyring;

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().expect("a time")
}

fn payload(filename: &str, language: &str, hash: u8) -> Payload {
    Payload {
        package: "KB1".to_owned(),
        version: "1".to_owned(),
        architecture: "x64".to_owned(),
        component: String::new(),
        filename: filename.to_owned(),
        length: 10,
        sha256: Sha256::from_bytes([hash; 32]),
        control: String::new(),
        language: language.to_owned(),
        place: None,
    }
}

fn revision(id: &str, payloads: Vec<Payload>) -> Revision {
    Revision {
        id: id.parse().expect("a revision"),
        title: "A title".to_owned(),
        description: String::new(),
        architectures: vec!["x64".to_owned()],
        payloads,
        facts: Facts { unsigned: true, ..Facts::default() },
    }
}

fn build(settled: &[&Revision], opening: &[&Revision], key: &SigningKey) -> Built {
    let mut built = Built {
        signed_at: now(),
        files: BTreeMap::new(),
        blobs: BTreeMap::new(),
        pools: Pools::default(),
        left_out: Vec::new(),
    };
    let input = Input { mesh: "Example", stage: Stage::Production, settled, opening, now: now() };
    add(&input, key, &mut built).expect("added");
    built
}

fn text(built: &Built, path: &str) -> String {
    let blob = built.files[path];
    String::from_utf8(built.blobs[&blob.digest].to_vec()).expect("text")
}

fn json(built: &Built, path: &str) -> Value {
    serde_json::from_str(&text(built, path)).expect("JSON")
}

#[test]
fn index_sums_and_pool_say_the_same_and_are_signed() {
    let key = SigningKey::generate("repository", now()).expect("a key");
    let both = revision(
        "msp:stable/KB1@1#2",
        vec![payload("fr/KB1.msu", "fr", 1), payload("ja/KB1.msu", "ja", 2)],
    );
    let built = build(&[], &[&both], &key);
    let json = json(&built, "files/index.json");
    let entry = &json["revisions"][0];
    assert_eq!(entry["id"], "msp:stable/KB1@1#2");
    assert_eq!((&entry["unsigned"], &entry["classification"]), (&true.into(), &"update".into()));
    let first = "msp/stable/KB1/1+2/KB1.msu";
    assert_eq!(entry["payloads"][0]["path"], first);
    assert_eq!(entry["payloads"][1]["language"], "ja");
    assert_eq!(json["parts"], serde_json::json!([]));
    let sums = text(&built, "files/SHA256SUMS");
    assert_eq!(sums.lines().count(), 2);
    for file in entry["payloads"].as_array().expect("a list") {
        let (path, sha256) = (file["path"].as_str().expect("a path"), &file["sha256"]);
        let pool = built.pools.opening[&format!("files/{path}")];
        assert_eq!(*sha256, pool.sha256.to_string());
        assert!(sums.contains(&format!("{}  {path}\n", pool.sha256)), "{sums}");
    }
    let ring = Keyring::parse(&key.public_binary().expect("a certificate")).expect("a keyring");
    for name in ["files/index.json", "files/SHA256SUMS"] {
        let signature = text(&built, &format!("{name}.asc"));
        let signed = text(&built, name);
        ring.verify_detached(signed.as_bytes(), signature.as_bytes(), now()).expect("good");
        assert!(ring.verify_detached(b"other", signature.as_bytes(), now()).is_err());
    }
}

#[test]
fn what_has_settled_is_listed_apart_and_named_by_hash() {
    let key = SigningKey::generate("repository", now()).expect("a key");
    let old = revision("msp:stable/KB1@1", vec![payload("KB1.msu", "", 1)]);
    let new = revision("msp:stable/KB2@1", vec![payload("KB2.msu", "", 2)]);
    let (built, before) = (build(&[&old], &[&new], &key), build(&[&old], &[], &key));
    let index = json(&built, "files/index.json");
    assert_eq!(index["revisions"][0]["id"], "msp:stable/KB2@1");
    let part = &index["parts"][0];
    let path = format!("files/{}", part["path"].as_str().expect("a path"));
    let list = text(&built, &path);
    assert_eq!(part["sha256"], sha256(list.as_bytes()).to_string());
    assert_eq!(part["length"], list.len() as u64);
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["revisions"][0]["id"], "msp:stable/KB1@1");
    // The sums lead to the other sums, and both together to every file.
    let sums = text(&built, "files/SHA256SUMS");
    assert_eq!(sums.lines().count(), 3);
    let other = sums.lines().find_map(|line| line.split("  ").find(|it| it.ends_with(".sha256")));
    let other = text(&built, &format!("files/{}", other.expect("other sums")));
    assert!(other.contains("msp/stable/KB1/1/KB1.msu"), "{other}");
    let pools = &built.pools;
    assert_eq!((pools.settled.len(), pools.opening.len()), (1, 1));
    // The change left it as it was.
    assert_eq!(built.files.get(&path), before.files.get(&path));
    assert_eq!(built.pools.settled, before.pools.settled);
}

#[test]
fn nothing_open_is_an_empty_index() {
    let key = SigningKey::generate("repository", now()).expect("a key");
    let built = build(&[], &[], &key);
    let json = json(&built, "files/index.json");
    assert_eq!(json["revisions"], serde_json::json!([]));
    assert_eq!(text(&built, "files/SHA256SUMS"), "");
    assert!(built.pools.opening.is_empty());
}

#[test]
fn no_two_revisions_share_a_path() {
    let ids = [
        "msp:stable/KB1@1",
        "msp:stable/KB1@1#2",
        "msp:stable/KB1@1+2",
        "msp:stable/KB1@1+2#2",
        "msp:stable/KB1@1+2+2",
        "msp:a/b/KB1@1",
        "msp:a_b/KB1@1",
        "msp:stable/KB1@é",
        "msp:stable/KB1@ü",
        "msp:stable/..@..",
    ];
    let folders: std::collections::BTreeSet<String> =
        ids.iter().map(|id| folder(&id.parse().expect("a revision"))).collect();
    assert_eq!(folders.len(), ids.len(), "{folders:?}");
    assert!(folders.iter().all(|folder| is_inner_path(folder)), "{folders:?}");
    let long = "x".repeat(900);
    let long = revision(&format!("msp:s/n@{long}"), vec![payload(&format!("{long}.msu"), "", 1)]);
    let (_, placed) = place(&long);
    assert!(is_inner_path(&placed[0].path) && placed[0].path.ends_with(".msu"));
}
