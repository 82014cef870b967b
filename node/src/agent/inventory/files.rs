//! Files that rules ask for.

use std::fs::File;
use std::io::Read;

use patchmesh_topology::applicability::Inventory;
use patchmesh_topology::applicability::inventory::FoundFile;
use patchmesh_topology::applicability::rule::{FileTest, Rule, Test};
use patchmesh_topology::digest::Sha256;

use super::rooted::Root;
use crate::hash;
use crate::log::in_one_line;

/// The most files that are looked for.
const MAX_FILES: usize = 10_000;

/// The largest file that is read for its digest.
const MAX_CONTENT: u64 = 1 << 30;

/// Looks for the files of a rule. What cannot be told stays unknown.
pub(super) fn look(root: &Root, rule: &Rule, inventory: &mut Inventory) {
    rule.for_each_test(&mut |test| {
        let Test::File(path, asked) = test else { return };
        let reads = matches!(asked, FileTest::Content(_));
        let is_known = match inventory.files.get(path) {
            Some(FoundFile::Present { sha256, .. }) => sha256.is_some() || !reads,
            Some(_) => true,
            None => inventory.files.len() >= MAX_FILES,
        };
        if !is_known {
            inventory.files.insert(path.clone(), find(root, path, reads));
        }
    });
}

fn find(root: &Root, path: &str, reads: bool) -> FoundFile {
    if !path.starts_with('/') {
        return FoundFile::Unreadable("paths of this system begin with /".to_owned());
    }
    let file = match root.file(path) {
        Ok(Some(file)) => file,
        Ok(None) => return FoundFile::Absent,
        Err(error) => return FoundFile::Unreadable(in_one_line(&error)),
    };
    if !reads {
        // Files of this system state no versions.
        return FoundFile::Present { version: None, sha256: None };
    }
    match content(file) {
        Ok(sha256) => FoundFile::Present { version: None, sha256: Some(sha256) },
        Err(error) => FoundFile::Unreadable(error.to_string()),
    }
}

fn content(file: File) -> std::io::Result<Sha256> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_CONTENT {
        return Err(std::io::Error::other("it is no file of up to 1 GiB"));
    }
    let (_, context) = hash::read(file.take(MAX_CONTENT))?;
    Ok(hash::finish(context))
}
