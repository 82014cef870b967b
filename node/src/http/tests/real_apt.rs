//! An unmodified apt, in a root folder of its own, against a built view.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{Facts, Payload, Revision, RevisionId};

use super::fake::{Fake, Server};
use crate::openpgp::SigningKey;
use crate::view::apt::{Builder, Built, Input};
use crate::view::{Dists, dists};

/// A package of the vendor's, and the file name that the vendor gave it.
struct Package {
    update: &'static str,
    version: &'static str,
    architecture: &'static str,
    file: &'static str,
    fields: &'static str,
}

const PACKAGES: [Package; 7] = [
    Package {
        update: "vendor:bookworm/hello",
        version: "1.0-1",
        architecture: "amd64",
        file: "hello_1.0-1_amd64.deb",
        fields: "Depends: hello-data (>= 1.0), libgreet1 (>= 2:1.5~)\n",
    },
    Package {
        update: "vendor:bookworm/hello-data",
        version: "1.0-1",
        architecture: "all",
        file: "hello-data_1.0-1_all.deb",
        fields: "Multi-Arch: foreign\n",
    },
    Package {
        update: "vendor:bookworm/libgreet1",
        version: "2:1.5~rc1+b1",
        architecture: "amd64",
        file: "libgreet1_2%3a1.5~rc1+b1_amd64.deb",
        fields: "Multi-Arch: same\n",
    },
    Package {
        update: "vendor:bookworm/libgreet1",
        version: "2:1.5~rc1+b1",
        architecture: "i386",
        file: "libgreet1_1.5~rc1+b1_i386.deb",
        fields: "Multi-Arch: same\n",
    },
    Package {
        update: "vendor:bookworm/g++-greet",
        version: "3:0~a",
        architecture: "all",
        file: "g++-greet_3:0~a_all.deb",
        fields: "",
    },
    Package {
        update: "other:trixie/updates/hello",
        version: "2.0-1",
        architecture: "amd64",
        file: "hello_2.0-1_amd64.deb",
        fields: "Depends: hello-data\n",
    },
    Package {
        update: "flat:.//only-all",
        version: "1",
        architecture: "all",
        file: "only-all_1_all.deb",
        fields: "",
    },
];

/// The vendor's packages as revisions, and a node that has their content.
struct World {
    fake: Fake,
    revisions: Vec<Revision>,
    hashes: BTreeMap<&'static str, Sha256>,
    key: SigningKey,
    builder: Builder,
    previous: Option<Timestamp>,
}

impl World {
    fn new(folder: &Path) -> Self {
        let mut fake = Fake::default();
        let mut hashes = BTreeMap::new();
        let mut revisions: BTreeMap<RevisionId, Revision> = BTreeMap::new();
        for package in &PACKAGES {
            let payload = payload(folder, package, &mut fake);
            hashes.insert(package.file, payload.sha256);
            let id: RevisionId = format!("{}@{}", package.update, package.version).parse().unwrap();
            let revision = revisions.entry(id.clone()).or_insert_with(|| Revision {
                id,
                title: String::new(),
                description: String::new(),
                architectures: Vec::new(),
                payloads: Vec::new(),
                facts: Facts::default(),
            });
            revision.architectures.push(package.architecture.to_owned());
            revision.payloads.push(payload);
        }
        let key =
            SigningKey::generate("Patchmesh tests", now() - SignedDuration::from_hours(1)).unwrap();
        fake.key = Some(key.public_armored().unwrap().into());
        let revisions = revisions.into_values().collect();
        Self { fake, revisions, hashes, key, builder: Builder::new(), previous: None }
    }

    /// Builds the view in which only revisions stand that `open` takes.
    fn build(&mut self, keep: &Dists, open: impl Fn(&str) -> bool) -> Built {
        let settled: Vec<&Revision> =
            self.revisions.iter().filter(|revision| open(&revision.id.to_string())).collect();
        let input = Input {
            mesh: "acme",
            stage: Stage::Production,
            settled: &settled,
            opening: &[],
            keep,
            hidden: &BTreeSet::new(),
            now: now(),
            opens: now(),
            previous: self.previous,
        };
        let built = self.builder.build(&input, &self.key).unwrap();
        assert!(built.left_out.is_empty(), "{:?}", built.left_out);
        self.previous = Some(built.signed_at);
        built
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}

/// Builds a real `.deb` and what a source would have written of it.
fn payload(folder: &Path, package: &Package, fake: &mut Fake) -> Payload {
    let name = package.update.rsplit('/').next().unwrap();
    let control = format!(
        "Package: {name}\nVersion: {}\nArchitecture: {}\nMaintainer: T <t@example.org>\n{}\
         Description: says hello\n In several words.\n .\n And one more.\n",
        package.version, package.architecture, package.fields
    );
    let tree = folder.join(format!("tree-{}", package.file.replace('%', "_")));
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::write(tree.join("DEBIAN/control"), &control).unwrap();
    let share = tree.join("usr/share").join(name);
    fs::create_dir_all(&share).unwrap();
    // Does not compress, so that half a package is many bytes.
    let noise: Vec<u8> =
        (0..2000u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    fs::write(share.join(package.architecture), noise).unwrap();
    let deb = folder.join("built.deb");
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zxz", "-z1", "-b"])
        .args([&tree, &deb])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let bytes = fs::read(&deb).unwrap();
    Payload {
        package: name.to_owned(),
        version: package.version.to_owned(),
        architecture: package.architecture.to_owned(),
        component: "main".to_owned(),
        filename: format!("pool/main/{}", package.file),
        length: bytes.len() as u64,
        sha256: fake.bind(bytes),
        control,
        language: String::new(),
        place: None,
    }
}

/// apt's root folder.
struct Root {
    folder: PathBuf,
}

impl Root {
    fn new(folder: &Path, server: &Server, key: &SigningKey) -> Self {
        let root = Self { folder: folder.join("root") };
        for path in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg",
            "var/log/apt",
            "downloads",
        ] {
            fs::create_dir_all(root.folder.join(path)).unwrap();
        }
        root.write("etc/apt/key.asc", &key.public_armored().unwrap());
        root.write("var/lib/dpkg/status", "");
        let (keyring, url) = (root.path("etc/apt/key.asc"), server.address);
        let lines = ["bookworm", "trixie_updates", "flat"].map(|dist| {
            format!(
                "deb [signed-by={}] http://{url}/apt/production/servers {dist} settled opening\n",
                keyring.display()
            )
        });
        root.write("etc/apt/sources.list", &lines.concat());
        let config = format!(
            "Dir \"{}\";\nDir::State::status \"{}\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; \"i386\"; }};\n\
             APT::Sandbox::User \"root\";\nAPT::Get::Assume-Yes \"true\";\n\
             Acquire::Check-Date \"true\";\nAcquire::Check-Valid-Until \"true\";\n\
             Acquire::Retries \"0\";\nAcquire::http::Proxy \"DIRECT\";\n",
            root.folder.display(),
            root.path("var/lib/dpkg/status").display()
        );
        root.write("apt.conf", &config);
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// Runs apt; the server works on other threads meanwhile.
    async fn try_run(&self, program: &'static str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.path("downloads"))
            .env("APT_CONFIG", self.path("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// Runs apt, which must succeed and have nothing to complain of.
    async fn run(&self, program: &'static str, args: &[&str]) -> String {
        match self.try_run(program, args).await {
            Ok(text) => {
                let complains =
                    |line: &str| ["W: ", "E: ", "N: "].iter().any(|sign| line.starts_with(sign));
                assert!(!text.lines().any(complains), "{program} {args:?}:\n{text}");
                text
            }
            Err(text) => panic!("{program} {args:?}:\n{text}"),
        }
    }

    /// The SHA-256 of every downloaded package, by what precedes its first `_`.
    fn archives(&self, folder: &str) -> BTreeMap<String, Sha256> {
        let files = fs::read_dir(self.path(folder)).unwrap().map(|file| file.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .map(|path| {
                let bytes = fs::read(&path).unwrap();
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, Sha256::try_from(hash.as_ref()).unwrap())
            })
            .collect()
    }
}

fn apt_is_here() -> bool {
    let here = ["apt-get", "dpkg-deb"].into_iter().all(|program| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    if !here {
        eprintln!("skipped: this test needs apt-get and dpkg-deb, which this system does not have");
    }
    here
}

const ARCHIVES: &str = "var/cache/apt/archives";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apt_updates_installs_and_upgrades() {
    if !apt_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    let all = world.build(&Dists::new(), |_| true);
    world.fake.publish("servers", all);
    let server = world.fake.clone().listen().await;
    let root = Root::new(folder.path(), &server, &world.key);

    root.run("apt-get", &["update"]).await;
    let log = server.take_log();
    assert!(log.iter().any(|line| line.contains("/by-hash/")), "{log:?}");
    assert!(log.iter().all(|line| line.starts_with("200 ")), "{log:?}");

    // Nothing has changed, so nothing but three InRelease files is asked for.
    let text = root.run("apt-get", &["update"]).await;
    assert_eq!(text.matches("Hit:").count(), 3, "{text}");
    let log = server.take_log();
    assert!(log.len() == 3 && log.iter().all(|line| line.starts_with("304 ")), "{log:?}");

    let install =
        ["install", "--download-only", "hello=1.0-1", "libgreet1:i386", "g++-greet", "only-all"];
    root.run("apt-get", &install).await;
    let archives = root.archives(ARCHIVES);
    for (name, file) in [
        ("hello_1.0-1_amd64.deb", "hello_1.0-1_amd64.deb"),
        ("hello-data_1.0-1_all.deb", "hello-data_1.0-1_all.deb"),
        ("libgreet1_2%3a1.5~rc1+b1_amd64.deb", "libgreet1_2%3a1.5~rc1+b1_amd64.deb"),
        ("libgreet1_2%3a1.5~rc1+b1_i386.deb", "libgreet1_1.5~rc1+b1_i386.deb"),
        ("g++-greet_3%3a0~a_all.deb", "g++-greet_3:0~a_all.deb"),
        ("only-all_1_all.deb", "only-all_1_all.deb"),
    ] {
        assert_eq!(archives.get(name), Some(&world.hashes[file]), "{name}: {archives:?}");
    }

    root.run("apt-get", &["download", "hello=2.0-1"]).await;
    let downloads = root.archives("downloads");
    assert_eq!(downloads["hello_2.0-1_amd64.deb"], world.hashes["hello_2.0-1_amd64.deb"]);

    root.write(
        "var/lib/dpkg/status",
        "Package: hello-data\nStatus: install ok installed\nVersion: 0.9\nArchitecture: all\n\
         Multi-Arch: foreign\nMaintainer: T <t@example.org>\nDescription: x\n\n",
    );
    let text = root.run("apt-get", &["-s", "upgrade"]).await;
    assert!(text.contains("Inst hello-data [0.9] (1.0-1 acme:bookworm [all])"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apt_survives_switches_and_resumes() {
    if !apt_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    let all = world.build(&Dists::new(), |_| true);
    let keep = dists(all.files.keys());
    world.fake.publish("servers", all);
    let server = world.fake.clone().listen().await;
    let root = Root::new(folder.path(), &server, &world.key);
    root.run("apt-get", &["update"]).await;

    // Half of a package is there from a download that broke off.
    let (file, hash) = ("g++-greet_3%3a0~a_all.deb", world.hashes["g++-greet_3:0~a_all.deb"]);
    root.run("apt-get", &["install", "--download-only", "g++-greet"]).await;
    let whole = root.path(ARCHIVES).join(file);
    let bytes = fs::read(&whole).unwrap();
    let modified = fs::metadata(&whole).unwrap().modified().unwrap();
    fs::remove_file(&whole).unwrap();
    let partial = root.path(ARCHIVES).join("partial").join(file);
    fs::write(&partial, &bytes[..bytes.len() / 2]).unwrap();
    fs::File::options().write(true).open(&partial).unwrap().set_modified(modified).unwrap();

    // The generation switches and shuts out everything; what apt has read of still comes.
    let none = world.build(&keep, |_| false);
    assert_eq!(dists(none.files.keys()), keep);
    server.change(|fake| fake.publish("servers", none));
    server.take_log();
    root.run("apt-get", &["install", "--download-only", "g++-greet", "hello=1.0-1"]).await;
    let log = server.take_log();
    assert!(
        log.iter().any(|line| line.starts_with("206 ") && line.ends_with(" ranged")),
        "{log:?}"
    );
    assert_eq!(root.archives(ARCHIVES)[file], hash);

    // Dists with nothing in them are still whole, and nothing can be installed any more.
    root.run("apt-get", &["update"]).await;
    let refused = root.try_run("apt-get", &["install", "--download-only", "hello"]).await;
    assert!(refused.is_err_and(|text| text.contains("Unable to locate package hello")));

    let one = world.build(&keep, |id| id.contains("trixie"));
    server.change(|fake| fake.publish("servers", one));
    root.run("apt-get", &["update"]).await;
    let text = root.run("apt-cache", &["policy", "hello"]).await;
    assert!(text.contains("Candidate: 2.0-1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apt_without_inrelease_or_by_hash_updates_too() {
    if !apt_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    let mut all = world.build(&Dists::new(), |_| true);
    // A client that knows no InRelease takes Release and Release.gpg.
    all.files.retain(|path, _| !path.ends_with("/InRelease"));
    world.fake.publish("servers", all);
    let server = world.fake.clone().listen().await;
    let root = Root::new(folder.path(), &server, &world.key);
    for order in ["gz", "xz"] {
        let order = format!("Acquire::CompressionTypes::Order::={order}");
        let update = ["-o", &order, "-o", "Acquire::By-Hash=no", "update"];
        let text = root.try_run("apt-get", &update).await.unwrap();
        assert!(
            !text.lines().any(|line| line.starts_with("W: ") || line.starts_with("E: ")),
            "{text}"
        );
        fs::remove_dir_all(root.path("var/lib/apt/lists")).unwrap();
        fs::create_dir_all(root.path("var/lib/apt/lists/partial")).unwrap();
    }
    let log = server.take_log();
    for suffix in ["/Packages.gz", "/Packages.xz"] {
        assert!(log.iter().any(|line| line.ends_with(suffix)), "{suffix}: {log:?}");
    }
}
