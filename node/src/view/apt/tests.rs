//! The builder as its callers see it.

use super::packages::tests::revision;
use super::*;
use crate::openpgp::SigningKey;
use crate::view::dists;

const NOW: &str = "2026-11-23T10:00:00Z";

fn key() -> SigningKey {
    SigningKey::generate("Patchmesh tests", at("2026-01-01T00:00:00Z")).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

static NOTHING: BTreeSet<(String, Sha256)> = BTreeSet::new();

fn input<'a>(settled: &'a [&'a Revision], keep: &'a Dists) -> Input<'a> {
    Input {
        mesh: "acme",
        stage: Stage::Production,
        settled,
        opening: &[],
        keep,
        hidden: &NOTHING,
        now: at(NOW),
        opens: at(NOW),
        previous: None,
    }
}

fn text(built: &Built, path: &str) -> String {
    let blob = built.files[path];
    String::from_utf8(built.blobs[&blob.digest].to_vec()).unwrap()
}

/// What is listed under `SHA256:`, by path below the dist.
fn listed(release: &str) -> BTreeMap<String, (String, u64)> {
    let list = release.split_once("SHA256:\n").unwrap().1;
    list.lines()
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let (hash, length) = (words.next().unwrap(), words.next().unwrap());
            (words.next().unwrap(), (hash, length.parse().unwrap()))
        })
        .collect()
}

#[test]
fn a_dist_has_everything_that_its_release_lists() {
    let (a, b) =
        (revision("s:bookworm/a@1", &["amd64", "all"]), revision("s:trixie/b@2", &["arm64"]));
    let built = Builder::new().build(&input(&[&a, &b], &Dists::new()), &key()).unwrap();
    for (dist, architecture) in [("bookworm", "amd64"), ("trixie", "arm64")] {
        let release = text(&built, &format!("dists/{dist}/Release"));
        let files = listed(&release);
        assert_eq!(files.len(), 6);
        for (path, (hash, length)) in files {
            let file = built.files[format!("dists/{dist}/{path}").as_str()];
            assert_eq!(file.length, length);
            let folder = path.rsplit_once('/').unwrap().0;
            let by_hash = format!("dists/{dist}/{folder}/by-hash/SHA256/{hash}");
            assert_eq!(built.files[by_hash.as_str()], file);
        }
        assert!(release.contains(&format!("\nArchitectures: {architecture}\n")));
        let clear = text(&built, &format!("dists/{dist}/InRelease"));
        assert!(
            clear.starts_with("-----BEGIN PGP SIGNED MESSAGE-----\n") && clear.contains(&release)
        );
        let detached = text(&built, &format!("dists/{dist}/Release.gpg"));
        assert!(detached.starts_with("-----BEGIN PGP SIGNATURE-----\n"));
    }
    assert_eq!(
        text(&built, "dists/bookworm/settled/binary-amd64/Packages")
            .matches("Package: a\n")
            .count(),
        2
    );
    assert_eq!(text(&built, "dists/bookworm/opening/binary-amd64/Packages"), "");
    assert_eq!(built.pools.settled.len(), 3);
    assert!(built.left_out.is_empty());
    // What is built is what a child takes for a view.
    let (view, documents) = built.finish(BTreeMap::new());
    let wire = patchmesh_proto::wire::View::from(&view);
    assert_eq!(View::try_from(wire).unwrap(), view);
    let documents: BTreeMap<DocumentRef, Bytes> = documents.into_iter().collect();
    let index = &documents[&view.pools.settled];
    let pool = patchmesh_proto::set::read_pool(index, |one| documents.get(one).cloned());
    assert_eq!(pool.unwrap().len(), 3);
}

#[test]
fn equal_sets_give_equal_indices() {
    let (a, b) =
        (revision("s:bookworm/a@1", &["amd64"]), revision("t:bookworm/b@2", &["amd64", "i386"]));
    let keep = Dists::new();
    let mut builder = Builder::new();
    let first = builder.build(&input(&[&a, &b], &keep), &key()).unwrap();
    let other_order = [&b, &a];
    let later = Input { now: at("2026-12-01T00:00:00Z"), ..input(&other_order, &keep) };
    let second = Builder::new().build(&later, &key()).unwrap();
    let indices = |built: &Built| {
        let files = built.files.iter().filter(|(path, _)| path.contains("Packages"));
        files.map(|(path, blob)| (path.clone(), *blob)).collect::<Vec<_>>()
    };
    assert_eq!(indices(&first), indices(&second));
    assert_eq!(first.pools, second.pools);
}

#[test]
fn what_was_once_there_stays_and_reads_empty() {
    let a = revision("s:bookworm/a@1", &["amd64"]);
    let mut builder = Builder::new();
    let first = builder.build(&input(&[&a], &Dists::new()), &key()).unwrap();
    let keep = dists(first.files.keys());
    let next = Input { previous: Some(first.signed_at), ..input(&[], &keep) };
    let second = builder.build(&next, &key()).unwrap();
    assert_eq!(second.signed_at, at("2026-11-23T10:00:01Z"));
    assert!(second.pools.settled.is_empty());
    assert_eq!(text(&second, "dists/bookworm/settled/binary-amd64/Packages"), "");
    assert_eq!(dists(second.files.keys()), keep);
    assert!(text(&second, "dists/bookworm/Release").contains("\nArchitectures: amd64\n"));
}

#[test]
fn opening_stands_beside_settled() {
    let (a, b) = (revision("s:bookworm/a@1", &["amd64"]), revision("s:bookworm/a@2", &["amd64"]));
    let keep = Dists::new();
    let settled = [&a];
    let both = Input { opening: &[&b], ..input(&settled, &keep) };
    let built = Builder::new().build(&both, &key()).unwrap();
    let packages = |component: &str| {
        text(&built, &format!("dists/bookworm/{component}/binary-amd64/Packages"))
    };
    assert!(
        packages("settled").contains("Version: 1\n")
            && packages("opening").contains("Version: 2\n")
    );
    assert_eq!((built.pools.settled.len(), built.pools.opening.len()), (1, 1));
}

/// Prints what a rebuild costs: `cargo test -- --nocapture rebuilding`.
#[test]
fn rebuilding_with_one_more_takes_little() {
    let revisions: Vec<Revision> = (0..800)
        .map(|number| {
            let mut revision = revision(&format!("s:bookworm/package-{number}@1"), &["amd64"]);
            for line in 0..12 {
                let digest = Digest::of(format!("{number} {line}").as_bytes());
                revision.payloads[0].control.push_str(&format!("X-Field-{line}: {digest}\n"));
            }
            revision
        })
        .collect();
    let open: Vec<&Revision> = revisions.iter().collect();
    let (keep, key, mut builder) = (Dists::new(), key(), Builder::new());
    let start = std::time::Instant::now();
    builder.build(&input(&open[1..], &keep), &key).unwrap();
    let fresh = start.elapsed();
    let start = std::time::Instant::now();
    builder.build(&input(&open, &keep), &key).unwrap();
    println!("800 packages: {fresh:?} from nothing, {:?} with one more", start.elapsed());
}
