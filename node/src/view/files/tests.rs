//! What machines without an agent see.

use patchmesh_topology::view::is_inner_path;
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

fn build(open: &[&Revision], key: &SigningKey) -> (View, BTreeMap<Digest, Bytes>) {
    let mut view = View {
        signed_at: now(),
        files: BTreeMap::new(),
        pool: BTreeMap::new(),
        withheld: BTreeMap::new(),
    };
    let mut blobs = BTreeMap::new();
    let input = Input { mesh: "Example", stage: Stage::Production, open, now: now() };
    add(&input, key, &mut view, &mut blobs).expect("added");
    (view, blobs)
}

fn text(view: &View, blobs: &BTreeMap<Digest, Bytes>, path: &str) -> String {
    let blob = view.files[path];
    String::from_utf8(blobs[&blob.digest].to_vec()).expect("text")
}

#[test]
fn index_sums_and_pool_say_the_same_and_are_signed() {
    let key = SigningKey::generate("repository", now()).expect("a key");
    let both = revision(
        "msp:stable/KB1@1#2",
        vec![payload("fr/KB1.msu", "fr", 1), payload("ja/KB1.msu", "ja", 2)],
    );
    let (view, blobs) = build(&[&both], &key);
    let index = text(&view, &blobs, "files/index.json");
    let json: Value = serde_json::from_str(&index).expect("JSON");
    let entry = &json["revisions"][0];
    assert_eq!(entry["id"], "msp:stable/KB1@1#2");
    assert_eq!((&entry["unsigned"], &entry["classification"]), (&true.into(), &"update".into()));
    let first = "msp/stable/KB1/1+2/KB1.msu";
    assert_eq!(entry["payloads"][0]["path"], first);
    assert_eq!(entry["payloads"][1]["language"], "ja");
    let sums = text(&view, &blobs, "files/SHA256SUMS");
    assert_eq!(sums.lines().count(), 2);
    for file in entry["payloads"].as_array().expect("a list") {
        let (path, sha256) = (file["path"].as_str().expect("a path"), &file["sha256"]);
        let pool = view.pool[&format!("files/{path}")];
        assert_eq!(*sha256, pool.sha256.to_string());
        assert!(sums.contains(&format!("{}  {path}\n", pool.sha256)), "{sums}");
    }
    let ring = Keyring::parse(&key.public_binary().expect("a certificate")).expect("a keyring");
    for name in ["files/index.json", "files/SHA256SUMS"] {
        let signature = text(&view, &blobs, &format!("{name}.asc"));
        let signed = text(&view, &blobs, name);
        ring.verify_detached(signed.as_bytes(), signature.as_bytes(), now()).expect("good");
        assert!(ring.verify_detached(b"other", signature.as_bytes(), now()).is_err());
    }
}

#[test]
fn nothing_open_is_an_empty_index() {
    let key = SigningKey::generate("repository", now()).expect("a key");
    let (view, blobs) = build(&[], &key);
    let json: Value = serde_json::from_str(&text(&view, &blobs, "files/index.json")).expect("JSON");
    assert_eq!(json["revisions"], serde_json::json!([]));
    assert_eq!(text(&view, &blobs, "files/SHA256SUMS"), "");
    assert!(view.pool.is_empty());
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
    let placed = place(&long);
    assert!(is_inner_path(&placed[0].path) && placed[0].path.ends_with(".msu"));
}
