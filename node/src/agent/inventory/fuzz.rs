//! What stands in a machine's own files, which whoever owns the machine writes.

use std::fs;

use super::{Listing, MAX_PACKAGES, gather, stated};
use crate::fuzz::{Form, Target, word};

/// Where the parts of an input go, which a byte of zero parts.
const FILES: [&str; 3] =
    ["var/lib/dpkg/status", "etc/patchmesh/facts.d/a.toml", "usr/lib/os-release"];

const SEEDS: [&str; 2] = [
    "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.22~rc1-9+b1\n\n\
     Package: half\nStatus: hold reinstreq half-configured\nArchitecture: all\nVersion: 2\n more\n\
     \0exposure = \"internet\"\nproducts = [\"till\", \"kiosk\"]\n\
     \0ID=debian\nVERSION_ID=\"12\"\n",
    "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\0\0ID='a\n",
];

const WORDS: &[&str] = &[
    "\n\n",
    "Package: ",
    "Status: ",
    "install ok installed",
    "Architecture: all",
    "Version: ",
    "products = [",
    "\"",
    "a = \"b\"\n",
    "ID=",
    "\0",
];

/// A machine is described or not; the same files always say the same.
#[test]
fn inventories() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in FILES {
        let parent = folder.path().join(file).parent().map(ToOwned::to_owned).expect("a folder");
        fs::create_dir_all(parent).expect("made");
    }
    let read = |input: &[u8]| {
        let mut parts = input.splitn(FILES.len(), |byte| *byte == 0);
        for file in FILES {
            fs::write(folder.path().join(file), parts.next().unwrap_or_default()).expect("written");
        }
        let outcome = gather(folder.path(), []);
        if let Ok(found) = &outcome {
            assert!(found.package_count() <= MAX_PACKAGES);
            assert!(found.facts.len() + found.products.len() <= stated::MAX_FACTS);
            let again = gather(folder.path(), []).expect("gathered once more");
            assert_eq!(Listing::from(found).digest(), Listing::from(&again).digest());
        }
        word(&outcome)
    };
    Target::new("inventories", Form::Bytes).with_words(WORDS).run(SEEDS, read);
}
