use jiff::Timestamp;
use patchmesh_proto::{document, wire};
use patchmesh_topology::assessment::Rank;
use patchmesh_topology::revision::{Facts, Revision, Severity};

use super::*;
use crate::assess::import::{Collector, Kind};
use crate::assess::samples;
use crate::primary::testing::TestPrimary;
use crate::primary::tokens;

fn id(text: &str) -> RevisionId {
    text.parse().unwrap()
}

fn cve(text: &str) -> CveId {
    text.parse().unwrap()
}

const OPENSSL: &str = "debian:bookworm-security/openssl@3.0.15-1~deb12u1";
const WINDOWS: &str = "windows:2024/KB5034763@1";
const TREE: &str = "debian:bookworm/tree@2.1.0-1";

/// A primary whose catalogue has three revisions.
async fn primary() -> (TestPrimary, Book) {
    let primary = TestPrimary::start().await;
    let facts = Facts {
        severity: Some(Severity::Important),
        articles: vec!["KB5034763".to_owned()],
        ..Facts::default()
    };
    enter(&primary, OPENSSL, Facts::default()).await;
    enter(&primary, WINDOWS, facts).await;
    enter(&primary, TREE, Facts::default()).await;
    let book = Book::new(primary.store.clone(), primary.publisher.clone());
    (primary, book)
}

async fn enter(primary: &TestPrimary, revision: &str, facts: Facts) {
    let revision = Revision {
        id: id(revision),
        title: String::new(),
        description: String::new(),
        architectures: Vec::new(),
        payloads: Vec::new(),
        facts,
    };
    let change = move |draft: &mut Draft| {
        let document = draft.add_document(document::encode(&wire::Revision::from(&revision)));
        let entry = CatalogueEntry {
            document,
            entered_at: draft.now,
            ordinal: 0,
            fingerprint: revision.fingerprint(),
        };
        Arc::make_mut(&mut draft.catalogue).insert(revision.id, entry);
        Ok::<_, tokens::Refusal>(())
    };
    primary.publisher.publish(change).await.unwrap();
}

fn read(kind: Kind, text: &str) -> Content {
    let mut collector = Collector::new(kind);
    collector.add("test", text.as_bytes()).unwrap();
    collector.finish().unwrap()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, publisher::Error<Refusal>>) -> Refusal {
    match result {
        Err(publisher::Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_become_assessments_of_what_they_concern() {
    let (primary, book) = primary().await;
    book.import(read(Kind::Kev, samples::KEV), false).await.unwrap();
    book.import(read(Kind::Epss, samples::EPSS), false).await.unwrap();
    let outcome = book.import(read(Kind::Csaf, samples::CSAF), false).await.unwrap();
    // Both the article and the package that the advisory names.
    assert_eq!((outcome.entries, outcome.changed), (1, 2));
    let outcome = book.import(read(Kind::Osv, samples::OSV), false).await.unwrap();
    assert_eq!((outcome.entries, outcome.changed), (1, 1));

    let generation = primary.current.get();
    assert_eq!(generation.number, outcome.generation);
    let windows = &generation.assessments[&id(WINDOWS)];
    let one = &windows.vulnerabilities[&cve("CVE-2024-21338")];
    assert!(one.exploited.as_ref().unwrap().what.ransomware);
    assert_eq!(one.epss.as_ref().unwrap().what.score.millionths(), 943_210);
    let danger = windows.danger(&BTreeSet::new(), Timestamp::UNIX_EPOCH);
    assert!(danger.exploited && danger.rank == Rank::Rated(Severity::Important));
    let openssl = &generation.assessments[&id(OPENSSL)];
    let names: Vec<_> = openssl.vulnerabilities.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["CVE-2024-4741", "CVE-2024-5535"]);
    assert!(!generation.assessments.contains_key(&id(TREE)), "nothing is known of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_again_changes_nothing() {
    let (primary, book) = primary().await;
    for _ in 0..2 {
        book.import(read(Kind::Osv, samples::OSV), false).await.unwrap();
    }
    let before = primary.current.get();
    let outcome = book.import(read(Kind::Osv, samples::OSV), false).await.unwrap();
    assert_eq!((outcome.changed, outcome.generation), (0, before.number));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_enters_later_is_assessed_then() {
    let (primary, book) = primary().await;
    book.import(read(Kind::Osv, samples::OSV), false).await.unwrap();
    let later = "debian:bookworm-security/openssl@3.0.16-1~deb12u1";
    enter(&primary, later, Facts::default()).await;
    assert!(!primary.current.get().assessments.contains_key(&id(later)));
    assert_eq!(book.assess_anew().await.unwrap(), 1);
    let generation = primary.current.get();
    assert_eq!(generation.assessments[&id(later)].vulnerabilities.len(), 2);
    assert_eq!(book.assess_anew().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_of_an_advisory_is_left_alone() {
    let (primary, book) = primary().await;
    book.import(read(Kind::Osv, samples::OSV), false).await.unwrap();
    let before = primary.current.get();
    let older = samples::OSV.replace("2024-06-01", "2024-05-01").replace("3.0.15", "9.9.9");
    let outcome = book.import(read(Kind::Osv, &older), false).await.unwrap();
    assert_eq!((outcome.older, outcome.changed), (1, 0));
    assert_eq!(primary.current.get().number, before.number);
    let newer = samples::OSV.replace("2024-06-01", "2024-07-01").replace("3.0.15", "9.9.9");
    let outcome = book.import(read(Kind::Osv, &newer), false).await.unwrap();
    assert_eq!(outcome.changed, 1, "the revision does not mend it after all");
    assert!(!primary.current.get().assessments.contains_key(&id(OPENSSL)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_shrank_is_taken_for_one_that_was_cut() {
    let (_primary, book) = primary().await;
    book.import(read(Kind::Epss, samples::EPSS), false).await.unwrap();
    let half: String = samples::EPSS.lines().take(4).map(|line| format!("{line}\n")).collect();
    let refused = refusal(book.import(read(Kind::Epss, &half), false).await);
    assert!(matches!(refused, Refusal::Smaller { known: 3, found: 2 }), "{refused:?}");
    let known = |book: &Book| book.vulnerability(cve("CVE-2024-5535")).unwrap();
    assert!(known(&book).is_some(), "what was known is still known");
    book.import(read(Kind::Epss, &half), true).await.unwrap();
    assert!(known(&book).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judgement_stays_whatever_feeds_say() {
    let (primary, book) = primary().await;
    let asked = |note: &str, judgement: bool| Asked {
        revision: id(OPENSSL),
        judgement: judgement.then(|| (Risk::Low, Some(Exposure::Machines(3)), note.to_owned())),
        by: "ada".to_owned(),
    };
    assert!(matches!(refusal(book.judge(asked(" ", true)).await), Refusal::Note));
    book.judge(asked("behind a proxy", true)).await.unwrap();
    book.import(read(Kind::Osv, samples::OSV), false).await.unwrap();
    let generation = primary.current.get();
    let openssl = &generation.assessments[&id(OPENSSL)];
    assert_eq!(openssl.judgement.as_ref().unwrap().by, "ada");
    assert_eq!(openssl.vulnerabilities.len(), 2);
    assert_eq!(openssl.severity().unwrap().0, Some(Severity::Low));
    book.judge(asked("", false)).await.unwrap();
    assert_eq!(primary.current.get().assessments[&id(OPENSSL)].judgement, None);
    let unknown = Asked { revision: id("v:s/none@1"), ..asked("x", true) };
    assert!(matches!(refusal(book.judge(unknown).await), Refusal::UnknownRevision(_)));
}
