//! What one backup consists of, as a file that proves itself: JSON, then a
//! line with the BLAKE3 digest of all before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use patchmesh_topology::digest::Digest;
use serde::{Deserialize, Serialize};

use super::Error;

/// The format written here.
pub(super) const FORMAT: u32 = 1;
/// Longest such file: room for more than a million files.
const MAX_LENGTH: u64 = 256 << 20;
const SEAL: &str = "\nblake3 ";

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of this file.
    pub format: u32,
    /// Its number; grows by one with every backup of the folder.
    pub id: u64,
    /// When it was begun.
    pub made_at: Timestamp,
    /// The version of the program that made it.
    pub software: String,
    /// The mesh.
    pub mesh_id: String,
    /// The company's name for it.
    pub mesh_name: String,
    /// The node.
    pub node: String,
    /// Where it was reached.
    pub url: String,
    /// The generation that it was in.
    pub generation: u64,
    /// The versions of the signed roles about then.
    pub roles: BTreeMap<String, u64>,
    /// Whether the vendors' payloads are in it.
    pub content: bool,
    /// Bytes that no earlier backup of the folder had.
    pub bytes_added: u64,
    /// Every file.
    pub files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it belongs in the data folder.
    pub path: String,
    /// Bytes.
    pub length: u64,
    /// BLAKE3, in hexadecimal.
    pub blake3: String,
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    /// The file's content.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        let seal = format!("{SEAL}{}\n", blake3::hash(&bytes));
        bytes.extend(seal.into_bytes());
        Ok(bytes)
    }

    /// Reads the file and checks that it is what was written.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let damaged = |why: &str| Error::Damaged { path: path.to_owned(), why: why.to_owned() };
        let length = fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
        if length > MAX_LENGTH {
            return Err(damaged("it is longer than any list of files"));
        }
        let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is no text"))?;
        let (body, seal) = text.rsplit_once(SEAL).ok_or_else(|| damaged("its end is missing"))?;
        if seal != format!("{}\n", blake3::hash(body.as_bytes())) {
            return Err(damaged("its bytes are not those that were written"));
        }
        let format = serde_json::from_str::<Format>(body)
            .map_err(|error| damaged(&format!("it cannot be read ({error})")))?;
        if format.format > FORMAT {
            let path = path.to_owned();
            return Err(Error::Newer { path, found: format.format, known: FORMAT });
        }
        let manifest: Self = serde_json::from_str(body)
            .map_err(|error| damaged(&format!("it cannot be read ({error})")))?;
        for file in &manifest.files {
            file.check().map_err(|why| damaged(&why))?;
        }
        Ok(manifest)
    }
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Entry {
    /// The digest by which the object is named.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.blake3.parse().ok()
    }

    /// Where it belongs below `root`.
    pub(super) fn place(&self, root: &Path) -> PathBuf {
        root.join(&self.path)
    }

    /// Nothing may lead out of the folder that is restored.
    fn check(&self) -> Result<(), String> {
        let path = Path::new(&self.path);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || self.path.is_empty() {
            return Err(format!("it names the path {:?}", self.path));
        }
        match self.digest() {
            Some(_) => Ok(()),
            None => Err(format!("it gives no digest for {:?}", self.path)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn manifest(path: &str) -> Manifest {
        Manifest {
            format: FORMAT,
            id: 3,
            made_at: Timestamp::UNIX_EPOCH,
            software: "1".into(),
            mesh_id: "m".into(),
            mesh_name: "Company".into(),
            node: "hq".into(),
            url: "https://hq".into(),
            generation: 7,
            roles: BTreeMap::from([("root".into(), 1)]),
            content: true,
            bytes_added: 5,
            files: vec![Entry {
                path: path.into(),
                length: 5,
                blake3: blake3::hash(b"hello").to_string(),
            }],
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("3.json");
        let good = manifest("db/CURRENT");
        let bytes = good.encode().unwrap();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), good);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(Manifest::read(&path), Err(Error::Damaged { .. })), "byte {at}");
        }
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(Manifest::read(&path), Err(Error::Damaged { .. })));
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("3.json");
        for wrong in ["../x", "/etc/passwd", "a/../../x", "", "./x/../y"] {
            fs::write(&path, manifest(wrong).encode().unwrap()).unwrap();
            assert!(matches!(Manifest::read(&path), Err(Error::Damaged { .. })), "{wrong:?}");
        }
    }
}
