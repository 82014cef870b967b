//! The mark of a data folder that was put together from an earlier state of
//! its node: until it is taken away, other nodes know better.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::tuf::paper::Paper;

/// Its name in the data folder.
pub const FILE: &str = "restored.json";

/// Longest such file.
const MAX_LENGTH: u64 = 4 << 20;

/// Where the state came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The number of the backup; 0 for a copy that was no backup.
    pub backup: u64,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was restored.
    pub restored_at: Timestamp,
    /// The generation it is of.
    pub generation: u64,
    /// Where the node is reached from now on; as before when absent.
    pub url: Option<String>,
    /// Set where this node is to take the place of another one.
    #[serde(default)]
    pub promotion: Option<Promotion>,
}

/// How a node takes the primary's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// The root and targets that give the roles new keys, signed.
    pub papers: Vec<Paper>,
}

/// Why the mark cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not what was written.
    #[error("{} cannot be read; restore the backup again, into a new folder", .0.display())]
    Damaged(PathBuf),
}

impl Mark {
    /// The mark of a data folder, if it has one.
    ///
    /// # Errors
    /// A mark that cannot be read: never taken for none.
    pub fn read(data: &Path) -> Result<Option<Self>, Error> {
        let path = data.join(FILE);
        let failed = |source| Error::Io { operation: "read", path: path.clone(), source };
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(found) if found.len() > MAX_LENGTH => return Err(Error::Damaged(path)),
            Ok(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        serde_json::from_str(&text).map(Some).map_err(|_| Error::Damaged(path))
    }

    /// Marks a data folder, durably.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn write(&self, data: &Path) -> Result<(), Error> {
        let path = data.join(FILE);
        let attempt = || -> std::io::Result<()> {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            durable::replace(&path, &text, durable::SECRET)
        };
        attempt().map_err(|source| Error::Io { operation: "write", path, source })
    }

    /// Takes the mark away, durably.
    ///
    /// # Errors
    /// A failing disk.
    pub fn remove(data: &Path) -> Result<(), Error> {
        let path = data.join(FILE);
        durable::remove(&path).map_err(|source| Error::Io { operation: "remove", path, source })
    }
}
