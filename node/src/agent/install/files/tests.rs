use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

use patchmesh_topology::revision::Place;
use tempfile::TempDir;

use super::*;

/// A machine's root, an agent's folder and downloads, all in one folder.
struct Machine {
    folder: TempDir,
}

/// What is below a folder: modes, and what files have.
type Tree = BTreeMap<String, (u32, Option<String>)>;

impl Machine {
    /// With a file that only its owner reads, and one for all.
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().expect("a folder") };
        for folder in ["root/etc/app", "downloads"] {
            fs::create_dir_all(machine.folder.path().join(folder)).expect("a folder");
        }
        machine.write("/etc/app/key", "old key", 0o600);
        machine.write("/etc/app/conf", "old conf", 0o644);
        machine
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn state(&self) -> State {
        State::new(self.folder.path().join("state"))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, content: &str, mode: u32) {
        fs::write(self.at(path), content).expect("written");
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).expect("set");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).expect("a file")
    }

    fn tree(&self) -> Tree {
        let (mut tree, mut waiting) = (Tree::new(), vec![self.root()]);
        while let Some(at) = waiting.pop() {
            for entry in fs::read_dir(&at).expect("a folder") {
                let path = entry.expect("an entry").path();
                let data = path.symlink_metadata().expect("data");
                let content = data.is_file().then(|| fs::read_to_string(&path).expect("a text"));
                let name = path.strip_prefix(self.root()).expect("inside").display().to_string();
                tree.insert(name, (data.mode() & 0o7777, content));
                if data.is_dir() {
                    waiting.push(path);
                }
            }
        }
        tree
    }

    fn files(&self) -> Files {
        Files::open(self.state(), &self.root()).expect("opened")
    }

    /// Without putting anything back, and with a plug that is pulled after so many steps.
    fn with_fuse(&self, fuse: usize) -> Files {
        let records = self.state().placed().expect("records");
        Files { state: self.state(), root: self.root(), records, fuse: Some(fuse) }
    }

    /// Files of a revision, each with its content, as they were downloaded.
    fn parts(&self, files: &[(&str, &str)]) -> Vec<(Payload, PathBuf)> {
        let part = |(path, content): &(&str, &str)| {
            let sha256 = crate::identity::sha256(content.as_bytes());
            let file = self.folder.path().join("downloads").join(sha256.to_string());
            fs::write(&file, content).expect("written");
            (payload(path, sha256, content.len() as u64), file)
        };
        files.iter().map(part).collect()
    }

    fn install(&self, id: &str, files: &[(&str, &str)]) -> Result<(), Error> {
        install(&mut self.files(), id, &self.parts(files))
    }

    fn remove(&self, id: &str) -> Result<(), Error> {
        self.files().remove(&revision(id))
    }

    /// The copies that are kept.
    fn copies(&self) -> usize {
        let kept = self.state().folder().join(KEPT);
        fs::read_dir(kept).map_or(0, Iterator::count)
    }
}

fn payload(path: &str, sha256: patchmesh_topology::digest::Sha256, length: u64) -> Payload {
    Payload {
        package: "app".to_owned(),
        version: "1".to_owned(),
        architecture: "all".to_owned(),
        component: String::new(),
        filename: "app.bin".to_owned(),
        length,
        sha256,
        control: String::new(),
        language: String::new(),
        place: Some(Box::new(Place::at(path))),
    }
}

fn revision(id: &str) -> RevisionId {
    format!("vendor:stable/{id}").parse().expect("a revision")
}

fn install(files: &mut Files, id: &str, parts: &[(Payload, PathBuf)]) -> Result<(), Error> {
    let parts: Vec<(&Payload, PathBuf)> =
        parts.iter().map(|(payload, file)| (payload, file.clone())).collect();
    files.install(&revision(id), &parts)
}

const FIRST: [(&str, &str); 4] = [
    ("/etc/app/conf", "conf 1"),
    ("/etc/app/key", "key 1"),
    ("/opt/app/bin/tool", "tool 1"),
    ("/opt/app/note", "note 1"),
];
const SECOND: [(&str, &str); 3] =
    [("/etc/app/conf", "conf 2"), ("/opt/app/note", "note 2"), ("/var/app", "more 2")];

#[test]
fn files_come_in_place_as_they_were_owned_and_go_as_if_they_had_never_been() {
    let machine = Machine::new();
    let before = machine.tree();
    machine.install("app@1", &FIRST).expect("installed");
    let after = machine.tree();
    let is = |path: &str, mode: u32, content: &str| {
        assert_eq!(after[path], (mode, Some(content.to_owned())), "{path}");
    };
    is("etc/app/key", 0o600, "key 1");
    is("etc/app/conf", 0o644, "conf 1");
    is("opt/app/bin/tool", 0o644, "tool 1");
    assert_eq!(after["opt/app/bin"], (0o755, None));
    assert_eq!(after.len(), before.len() + 5, "nothing is left beside them: {after:?}");
    assert_eq!(machine.copies(), 2);
    machine.remove("app@1").expect("removed");
    assert_eq!((machine.tree(), machine.copies()), (before, 0));
    assert_eq!(machine.state().placed().expect("records"), Records::default());
    // Once more there is nothing to do.
    machine.remove("app@1").expect("nothing");
}

#[test]
fn a_later_revision_goes_back_to_the_one_before_it_and_that_to_what_was_there_first() {
    let machine = Machine::new();
    let first = machine.tree();
    let versions: Vec<Tree> = (1..=4)
        .map(|number| {
            let content = format!("conf {number}");
            let id = format!("app@{number}");
            machine.install(&id, &[("/etc/app/conf", &content)]).expect("installed");
            assert!(machine.copies() <= 2, "what lies between is forgotten");
            machine.tree()
        })
        .collect();
    // One that is replaced is not there, so there is nothing to go back from.
    machine.remove("app@2").expect("nothing to do");
    assert_eq!(machine.tree(), versions[3]);
    machine.remove("app@4").expect("removed");
    assert_eq!(machine.tree(), versions[2]);
    machine.remove("app@3").expect("removed");
    assert_eq!((machine.tree(), machine.copies()), (first, 0));
}

#[test]
fn going_back_by_installing_the_earlier_one_again_forgets_the_later() {
    let machine = Machine::new();
    let before = machine.tree();
    machine.install("app@1", &FIRST).expect("installed");
    machine.install("app@2", &SECOND).expect("installed");
    machine.install("app@1", &FIRST).expect("installed again");
    assert_eq!(machine.read("/etc/app/conf"), "conf 1");
    machine.remove("app@2").expect("what it alone has");
    machine.remove("app@1").expect("removed");
    assert_eq!((machine.tree(), machine.copies()), (before, 0));
}

#[test]
fn what_somebody_changed_is_left_until_it_is_deleted() {
    let machine = Machine::new();
    let before = machine.tree();
    machine.install("app@1", &FIRST).expect("installed");
    machine.write("/etc/app/conf", "mine", 0o644);
    let mine = machine.tree();
    let error = machine.remove("app@1").expect_err("left");
    let said = error.outcome();
    assert!(said.starts_with("changed nothing: /etc/app/conf was changed since"), "{said}");
    assert_eq!(machine.tree(), mine, "all of it is left");
    fs::remove_file(machine.at("/etc/app/conf")).expect("deleted");
    machine.remove("app@1").expect("removed");
    assert_eq!(machine.tree(), before);
    // Where it is put right instead what was there first is kept.
    machine.install("app@1", &FIRST).expect("installed");
    machine.write("/etc/app/conf", "mine", 0o644);
    machine.install("app@1", &FIRST).expect("put right");
    machine.remove("app@1").expect("removed");
    assert_eq!((machine.tree(), machine.copies()), (before, 0));
}

#[test]
fn only_plain_files_inside_the_root_are_replaced() {
    let machine = Machine::new();
    let outside = machine.folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("file"), "theirs").expect("written");
    symlink(&outside, machine.at("/out")).expect("a link");
    symlink("../../outside", machine.at("/up")).expect("a link");
    symlink(outside.join("file"), machine.at("/etc/app/link")).expect("a link");
    symlink("/etc/app", machine.at("/inside")).expect("a link");
    fs::create_dir(machine.at("/etc/app/folder")).expect("a folder");
    let before = machine.tree();
    for (path, what) in [
        ("/etc/app/link", "/etc/app/link is a link, and only plain files"),
        ("/etc/app/folder", "/etc/app/folder is a folder, and only plain files"),
        ("/etc/app/conf/x", "cannot open the folder of /etc/app/conf/x"),
        // Its target is looked for inside of the root, where there is none.
        ("/out/file", "cannot make the folder /out"),
        ("/up/file", "cannot make the folder /up"),
    ] {
        let files = [("/etc/app/conf", "new"), (path, "new")];
        let said = machine.install("app@1", &files).expect_err("refused").outcome();
        assert!(said.starts_with(&format!("changed nothing: {what}")), "{said}");
        assert_eq!(machine.tree(), before, "{path}");
    }
    assert_eq!(fs::read_to_string(outside.join("file")).expect("a file"), "theirs");
    assert_eq!((fs::read_dir(&outside).expect("a folder").count(), machine.copies()), (1, 0));
    machine.install("app@1", &[("/inside/conf", "new")]).expect("installed");
    assert_eq!(machine.read("/etc/app/conf"), "new");
}

#[test]
fn links_of_others_lead_to_folders_of_theirs_alone() {
    const OTHER: u32 = 12_345;
    if !geteuid().is_root() {
        // Nobody else can give a file away.
        return;
    }
    let machine = Machine::new();
    for folder in ["/etc/more", "/srv/app", "/srv/app/theirs", "/srv/app/conf"] {
        fs::create_dir_all(machine.at(folder)).expect("a folder");
    }
    for (link, to) in [("own", "/etc/more"), ("up", "../../etc/more"), ("theirs-too", "theirs")] {
        let link = machine.at("/srv/app").join(link);
        symlink(to, &link).expect("a link");
        lchown(&link, Some(OTHER), None).expect("given");
    }
    for folder in ["/srv/app", "/srv/app/theirs", "/srv/app/conf"] {
        chown(machine.at(folder), Some(OTHER), None).expect("given");
    }
    for link in ["own", "up"] {
        let refused = machine.install("app@1", &[(&format!("/srv/app/{link}/file"), "new")]);
        let said = refused.expect_err("refused").outcome();
        let why = format!("the link {link} of user {OTHER} leads to a folder of user 0");
        assert!(said.starts_with("changed nothing: ") && said.contains(&why), "{said}");
    }
    machine.install("app@1", &[("/srv/app/theirs-too/file", "new")]).expect("installed");
    assert_eq!(machine.read("/srv/app/theirs/file"), "new");

    // What was theirs is not put back somewhere else.
    machine.write("/srv/app/conf/file", "theirs", 0o644);
    machine.install("more@1", &[("/srv/app/conf/file", "new")]).expect("installed");
    fs::remove_dir_all(machine.at("/srv/app/conf")).expect("removed");
    symlink("/etc/more", machine.at("/srv/app/conf")).expect("a link");
    lchown(machine.at("/srv/app/conf"), Some(OTHER), None).expect("given");
    let said = machine.remove("more@1").expect_err("refused").outcome();
    assert!(said.contains("the link conf of user 12345"), "{said}");
    assert_eq!(fs::read_dir(machine.at("/etc/more")).expect("a folder").count(), 0);
}

#[test]
fn what_cannot_be_done_whole_changes_nothing() {
    let machine = Machine::new();
    let before = machine.tree();
    let refused = |parts: &[(Payload, PathBuf)]| {
        let said = install(&mut machine.files(), "app@1", parts).expect_err("refused").outcome();
        assert_eq!((machine.tree(), machine.copies()), (before.clone(), 0), "{said}");
        said
    };
    // Not what its vendor states, by then.
    let mut parts = machine.parts(&FIRST);
    fs::write(&parts[3].1, "something else").expect("written");
    assert!(refused(&parts).contains("/opt/app/note is not what its vendor states"));
    parts[3].1 = machine.folder.path().join("absent");
    assert!(refused(&parts).contains("cannot use the copy"));
    let mut parts = machine.parts(&FIRST);
    parts[0].0.place.as_mut().expect("a place").owner = "nobody-such".to_owned();
    assert!(refused(&parts).contains("no owner \"nobody-such\" is in etc/passwd"));
    parts[0].0.place = parts[1].0.place.clone();
    assert!(refused(&parts).contains("two of its files go to /etc/app/key"));
    parts[0].0.place = None;
    assert!(refused(&parts).contains("app.bin states no path"));
    // A full disk, or one that takes no copies.
    let kept = machine.state().folder().join(KEPT);
    fs::remove_dir(&kept).expect("removed");
    fs::write(&kept, "").expect("written");
    let parts = machine.parts(&FIRST);
    let said = install(&mut machine.files(), "app@1", &parts).expect_err("refused").outcome();
    assert!(said.starts_with("changed nothing: cannot"), "{said}");
    assert_eq!(machine.tree(), before);
    fs::remove_file(&kept).expect("removed");
    machine.install("app@1", &FIRST).expect("then it goes");
}

#[test]
fn modes_and_owners_are_those_that_are_stated() {
    let machine = Machine::new();
    fs::write(machine.at("/etc/passwd"), "root:x:0:0::/:\nweb:x:1234:5678::/:\n").expect("written");
    fs::write(machine.at("/etc/group"), "root:x:0:\nweb:x:5678:\n").expect("written");
    let mut parts = machine.parts(&FIRST);
    let place = parts[1].0.place.as_mut().expect("a place");
    place.mode = Some(0o4750);
    let is_root = geteuid().is_root();
    if is_root {
        (place.owner, place.group) = ("web".to_owned(), "web".to_owned());
        parts[2].0.place.as_mut().expect("a place").owner = "77".to_owned();
    }
    install(&mut machine.files(), "app@1", &parts).expect("installed");
    let data = |path: &str| fs::metadata(machine.at(path)).expect("data");
    assert_eq!(data("/etc/app/key").mode() & 0o7777, 0o4750);
    if is_root {
        assert_eq!((data("/etc/app/key").uid(), data("/etc/app/key").gid()), (1234, 5678));
        assert_eq!(data("/opt/app/bin/tool").uid(), 77);
    }
    machine.remove("app@1").expect("removed");
    let key = data("/etc/app/key");
    assert_eq!((key.mode() & 0o7777, key.uid()), (0o600, geteuid().as_raw()));
}

/// Does something with the plug pulled after each step in turn, and again while that is
/// put back: everything is as before or as after.
fn with_power_cuts(begin: impl Fn(&Machine), work: impl Fn(&mut Files) -> Result<(), Error>) {
    let (before, after) = {
        let machine = Machine::new();
        begin(&machine);
        let before = machine.tree();
        work(&mut machine.files()).expect("done");
        (before, machine.tree())
    };
    assert_ne!(before, after);
    let (mut cuts, mut whole) = (0, 0);
    for cut in 0_usize.. {
        let mut put_back = 0_usize..;
        loop {
            let machine = Machine::new();
            begin(&machine);
            let ended = work(&mut machine.with_fuse(cut));
            if ended.is_ok() {
                assert_eq!(machine.tree(), after);
                assert!(cuts > 10, "only {cuts} steps were cut");
                assert!(whole > 0, "once it is written down it stays");
                return;
            }
            assert!(matches!(ended, Err(Error::Power)), "{ended:?}");
            // And again, later each time.
            let again = put_back.next().unwrap_or_default();
            let ended = machine.with_fuse(again).recover();
            assert!(matches!(ended, Ok(()) | Err(Error::Power)), "{ended:?}");
            let files = machine.files();
            assert_eq!(files.records.underway, None);
            let now = machine.tree();
            assert!(now == before || now == after, "cut at {cut}, then {again}: {now:?}");
            assert_eq!(machine.copies(), files.records.backups().count());
            cuts += 1;
            whole += usize::from(now == after);
            // Cutting all of both takes long.
            if ended.is_ok() || cut % 3 != 0 {
                break;
            }
        }
    }
}

fn parts_of(files: &Files, all: &[(&str, &str)]) -> Vec<(Payload, PathBuf)> {
    let downloads = files.root.parent().expect("a folder").join("downloads");
    let part = |(path, content): &(&str, &str)| {
        let sha256 = crate::identity::sha256(content.as_bytes());
        let file = downloads.join(sha256.to_string());
        fs::write(&file, content).expect("written");
        (payload(path, sha256, content.len() as u64), file)
    };
    all.iter().map(part).collect()
}

#[test]
fn a_first_installation_is_whole_or_none_wherever_the_power_fails() {
    with_power_cuts(
        |_| {},
        |files| {
            let parts = parts_of(files, &FIRST);
            install(files, "app@1", &parts)
        },
    );
}

#[test]
fn an_upgrade_is_whole_or_none_wherever_the_power_fails() {
    with_power_cuts(
        |machine| machine.install("app@1", &FIRST).expect("installed"),
        |files| {
            let parts = parts_of(files, &SECOND);
            install(files, "app@2", &parts)
        },
    );
}

#[test]
fn a_removal_is_whole_or_none_wherever_the_power_fails() {
    with_power_cuts(
        |machine| {
            machine.install("app@1", &FIRST).expect("installed");
            machine.install("app@2", &SECOND).expect("installed");
        },
        |files| files.remove(&revision("app@2")),
    );
    with_power_cuts(
        |machine| machine.install("app@1", &FIRST).expect("installed"),
        |files| files.remove(&revision("app@1")),
    );
}

#[test]
fn what_somebody_changed_after_the_power_failed_is_theirs() {
    let machine = Machine::new();
    let parts = machine.parts(&FIRST);
    // The first cut after which a file is in its place.
    let is_cut = |cut: &usize| {
        let machine = Machine::new();
        let parts = machine.parts(&FIRST);
        let ended = install(&mut machine.with_fuse(*cut), "app@1", &parts);
        ended.is_err() && machine.read("/etc/app/conf") == "conf 1"
    };
    let cut = (0..100).find(is_cut).expect("such a cut");
    install(&mut machine.with_fuse(cut), "app@1", &parts).expect_err("cut");
    assert_eq!(machine.read("/etc/app/conf"), "conf 1");
    machine.write("/etc/app/conf", "mine", 0o644);
    // With another root nothing is touched, as long as that one is there.
    let other = tempfile::tempdir().expect("a folder");
    let refused = Files::open(machine.state(), other.path());
    assert!(matches!(refused, Err(Error::OtherRoot { .. })), "{refused:?}");
    machine.files();
    assert_eq!(machine.read("/etc/app/conf"), "mine");
    assert_eq!(machine.read("/etc/app/key"), "old key");
    assert!(!machine.at("/opt").exists(), "{:?}", machine.tree());
}

#[test]
fn a_folder_that_is_none_any_more_after_the_power_failed_stops_nothing() {
    for is_loop in [true, false] {
        for cut in 0..100 {
            let machine = Machine::new();
            let parts = machine.parts(&FIRST);
            if install(&mut machine.with_fuse(cut), "app@1", &parts).is_ok() {
                assert!(cut > 10, "{cut} steps");
                break;
            }
            let is_underway = || machine.state().placed().expect("records").underway.is_some();
            let was_underway = is_underway();
            fs::remove_dir_all(machine.at("/etc/app")).expect("removed");
            match is_loop {
                true => symlink("app", machine.at("/etc/app")).expect("a link"),
                false => fs::write(machine.at("/etc/app"), "a file").expect("written"),
            }
            machine.files();
            // The rest of what was not done to its end is put back.
            assert!(!was_underway || !machine.at("/opt").exists(), "{:?}", machine.tree());
            assert!(!is_underway());
        }
    }
}
