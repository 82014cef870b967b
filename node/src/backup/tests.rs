use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use patchmesh_topology::digest::Digest;
use tempfile::TempDir;

use super::*;
use crate::store::{Mode, NODE, Store};
use crate::succession::mark::Mark;

/// A data folder with a key, a large blob and a small one.
struct Bench {
    folder: TempDir,
    store: Store,
    large: Digest,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let store = Store::open(&data, Mode::Create).unwrap();
        let large = store.put_blob(&Bytes::from(vec![7; 300_000])).unwrap();
        store.put_blob(&Bytes::from_static(b"small")).unwrap();
        store.put(&NODE, "test", &Bytes::from_static(b"first")).unwrap();
        fs::create_dir(data.join("keys")).unwrap();
        fs::write(data.join("keys/root.pem"), "secret").unwrap();
        fs::create_dir(data.join("sources")).unwrap();
        fs::write(data.join("sources/index"), "comes again").unwrap();
        Self { folder, store, large }
    }

    fn backups(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    fn source(&self) -> Source {
        Source {
            store: self.store.clone(),
            mesh_id: "m".into(),
            mesh_name: "Company".into(),
            node: "hq".into(),
            url: "https://hq".into(),
            roles: BTreeMap::new(),
            payloads: HashSet::from([self.large]),
        }
    }

    fn create(&self, change: impl FnOnce(&mut Options)) -> Result<Made, Error> {
        let mut options = Options { folder: self.backups(), keep: None, without_content: false };
        change(&mut options);
        create(&self.source(), &options, &mut |_| true)
    }

    fn restore(&self, id: Option<u64>, name: &str) -> Result<PathBuf, Error> {
        let data = self.folder.path().join(name);
        let target = Target { data: data.clone(), url: Some("https://new".into()), listen: None };
        restore(&self.backups(), id, &target, &mut |_| true).map(|_| data)
    }
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let shards = folder::entries(&folder.join("objects")).unwrap();
    shards.iter().flat_map(|shard| folder::entries(shard).unwrap()).collect()
}

#[test]
fn what_is_restored_is_what_was_backed_up() {
    let bench = Bench::new();
    let made = bench.create(|_| {}).unwrap();
    assert_eq!((made.manifest.id, made.manifest.content), (1, true));
    assert!(!bench.store.path().join("checkpoint").exists(), "the checkpoint was left behind");
    // What comes after it is not in it.
    bench.store.put(&NODE, "test", &Bytes::from_static(b"second")).unwrap();

    let data = bench.restore(None, "new").unwrap();
    let store = Store::open(&data, Mode::Existing).unwrap();
    assert_eq!(store.get(&NODE, "test").unwrap().unwrap(), "first");
    assert_eq!(store.get_blob(&bench.large).unwrap().unwrap(), vec![7; 300_000]);
    assert_eq!(store.get_blob(&Digest::of(b"small")).unwrap().unwrap(), "small");
    assert_eq!(fs::read_to_string(data.join("keys/root.pem")).unwrap(), "secret");
    assert!(!data.join("sources").exists());
    let mark = Mark::read(&data).unwrap().unwrap();
    assert_eq!((mark.backup, mark.url.as_deref()), (1, Some("https://new")));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data.join("keys/root.pem")), 0o600);
    assert_eq!(mode(&data), 0o700);
    for object in objects(&bench.backups()) {
        assert_eq!(mode(&object), 0o600);
    }
}

#[test]
fn the_next_one_copies_only_what_is_new() {
    let bench = Bench::new();
    let first = bench.create(|_| {}).unwrap().manifest;
    assert!(first.bytes_added > 300_000);
    bench.store.put_blob(&Bytes::from(vec![8; 100_000])).unwrap();
    let second = bench.create(|_| {}).unwrap().manifest;
    assert_eq!(second.id, 2);
    let added = second.bytes_added;
    assert!((100_000..200_000).contains(&added), "{added} bytes for a blob of 100,000");
    assert!(second.bytes() > 400_000);
}

#[test]
fn old_ones_go_with_what_only_they_need() {
    let bench = Bench::new();
    bench.create(|_| {}).unwrap();
    bench.store.remove_blob(&bench.large).unwrap();
    let object = folder::Folder::open(&bench.backups()).unwrap().object(&bench.large);
    assert!(object.exists());
    let made = bench.create(|options| options.keep = Some(1)).unwrap();
    assert_eq!(made.pruned, 1);
    assert!(!object.exists());
    let ids: Vec<u64> = list(&bench.backups()).unwrap().iter().map(|one| one.id).collect();
    assert_eq!(ids, [2]);
    assert!(verify(&bench.backups(), None, &mut |_| true).unwrap().faults.is_empty());
}

#[test]
fn payloads_may_be_left_out_and_are_not_claimed_afterwards() {
    let bench = Bench::new();
    let made = bench.create(|options| options.without_content = true).unwrap();
    assert!(!made.manifest.content && made.manifest.bytes() < 300_000);
    let data = bench.restore(None, "new").unwrap();
    let store = Store::open(&data, Mode::Existing).unwrap();
    assert_eq!(store.forget_absent().unwrap(), 1);
    assert!(!store.has(&bench.large).unwrap());
    assert!(store.has(&Digest::of(b"small")).unwrap());
}

#[test]
fn a_damaged_file_is_named_before_anything_is_touched() {
    let bench = Bench::new();
    bench.create(|_| {}).unwrap();
    let (mut tried, target) = (0, bench.folder.path().join("new"));
    for object in objects(&bench.backups()) {
        let good = fs::read(&object).unwrap();
        if good.is_empty() {
            continue;
        }
        let mut flipped = good.clone();
        let at = flipped.len() / 2;
        flipped[at] ^= 1;
        let short = good[..good.len() - 1].to_vec();
        for bad in [Some(flipped), Some(short), None] {
            match bad {
                Some(bytes) => fs::write(&object, bytes).unwrap(),
                None => fs::remove_file(&object).unwrap(),
            }
            let report = verify(&bench.backups(), Some(1), &mut |_| true).unwrap();
            assert_eq!(report.faults.len(), 1);
            assert_eq!((&report.faults[0].path, &report.faults[0].backups), (&object, &vec![1]));
            match bench.restore(None, "new") {
                Err(Error::Damaged { path, .. }) => assert_eq!(path, object),
                other => panic!("{other:?}"),
            }
            assert!(!target.exists(), "the target was touched");
            tried += 1;
        }
        fs::write(&object, good).unwrap();
    }
    assert!(tried > 10, "{tried} kinds of damage");
    bench.restore(None, "new").unwrap();
}

#[test]
fn a_damaged_list_is_told_and_never_passed_over() {
    let bench = Bench::new();
    bench.create(|_| {}).unwrap();
    bench.create(|_| {}).unwrap();
    let path = bench.backups().join("backups/00000002.json");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let listed = list(&bench.backups()).unwrap();
    assert!(listed[0].manifest.is_ok() && listed[1].manifest.is_err());
    // The older one is not what was asked for.
    assert!(matches!(bench.restore(None, "new"), Err(Error::Damaged { .. })));
    bench.restore(Some(1), "new").unwrap();
    // And nothing that it may need is removed.
    let before = objects(&bench.backups()).len();
    bench.create(|options| options.keep = Some(2)).unwrap();
    assert!(objects(&bench.backups()).len() >= before);
}

#[test]
fn a_backup_that_was_cut_short_is_none() {
    let bench = Bench::new();
    bench.create(|_| {}).unwrap();
    bench.store.put_blob(&Bytes::from(vec![9; 200_000])).unwrap();
    let options = Options { folder: bench.backups(), keep: None, without_content: false };
    let stopped = create(&bench.source(), &options, &mut |step| step.files_done < 2);
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(list(&bench.backups()).unwrap().len(), 1);
    assert_eq!(bench.create(|_| {}).unwrap().manifest.id, 2);
}

#[test]
fn other_folders_are_left_alone() {
    let bench = Bench::new();
    let inside = bench.store.path().join("backups");
    let refused = bench.create(|options| options.folder = inside.clone());
    assert!(matches!(refused, Err(Error::Inside(_))));
    assert!(!inside.exists());
    let other = bench.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "dear").unwrap();
    let refused = bench.create(|options| options.folder = other.clone());
    assert!(matches!(refused, Err(Error::Foreign { .. })));
    assert!(matches!(list(&other), Err(Error::NoFolder(_))));
    bench.create(|_| {}).unwrap();
    assert!(matches!(bench.restore(None, "other"), Err(Error::Store(_))));
    assert_eq!(fs::read_to_string(other.join("letter")).unwrap(), "dear");
    assert!(matches!(bench.restore(Some(7), "new"), Err(Error::Unknown { id: 7, .. })));
}

#[test]
fn a_blob_that_is_damaged_at_the_node_is_not_saved_as_good() {
    let bench = Bench::new();
    let name = bench.large.to_string();
    let path = bench.store.path().join("blobs").join(&name[..2]).join(&name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(bench.create(|_| {}), Err(Error::SourceDamaged(_))));
}
