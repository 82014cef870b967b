//! The demo's folder: data folders, logs, the vendor and the machines.

use std::path::{Path, PathBuf};

use super::{Error, Options};

/// Removed when closed, unless the user wants to keep it.
pub(super) struct Folder {
    path: PathBuf,
    /// Present while the folder is to vanish.
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// Makes the folder; one that is named has to be new or empty, and stays.
    pub(super) fn make(options: &Options) -> Result<Self, Error> {
        let folder = match &options.directory {
            Some(path) => Self { path: named(path)?, temporary: None },
            None => temporary(options.keep)?,
        };
        for part in ["log", "run", "machines"] {
            make_folder(&folder.path.join(part))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The data folder of a node.
    pub(super) fn data(&self, node: &str) -> PathBuf {
        self.path.join(node)
    }

    /// Where a node's standard output and error go.
    pub(super) fn log(&self, node: &str) -> PathBuf {
        self.path.join("log").join(format!("{node}.log"))
    }

    /// Where the process id of a node stands while it runs.
    pub(super) fn pid(&self, node: &str) -> PathBuf {
        self.path.join("run").join(format!("{node}.pid"))
    }

    /// The own root folder of a machine.
    pub(super) fn machine(&self, name: &str) -> PathBuf {
        self.path.join("machines").join(name)
    }

    /// The vendor's repository.
    pub(super) fn vendor(&self) -> PathBuf {
        self.path.join("vendor")
    }

    /// The second vendor's folder of files.
    pub(super) fn files(&self) -> PathBuf {
        self.path.join("files-vendor")
    }

    /// Removes a temporary folder.
    pub(super) fn close(self) {
        if let Some(folder) = self.temporary
            && let Err(error) = folder.close()
        {
            tracing::warn!(folder = %self.path.display(), %error, "cannot remove the demo's folder");
        }
    }
}

fn named(path: &Path) -> Result<PathBuf, Error> {
    let io = |source| Error::Io { action: "use folder", path: path.to_owned(), source };
    let path = std::path::absolute(path).map_err(io)?;
    make_folder(&path)?;
    match std::fs::read_dir(&path).map_err(io)?.next() {
        None => Ok(path),
        Some(_) => Err(Error::Occupied(path)),
    }
}

fn temporary(keep: bool) -> Result<Folder, Error> {
    let io = |source| Error::Io { action: "make a folder in", path: std::env::temp_dir(), source };
    let folder = tempfile::Builder::new().prefix("patchmesh-demo-").tempdir().map_err(io)?;
    if keep {
        return Ok(Folder { path: folder.keep(), temporary: None });
    }
    Ok(Folder { path: folder.path().to_owned(), temporary: Some(folder) })
}

/// Makes a folder with its parents.
pub(super) fn make_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::Io {
        action: "make folder",
        path: path.to_owned(),
        source,
    })
}

/// Writes a file as a whole.
pub(super) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|source| Error::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_and_a_named_one_stays() {
        let folder = Folder::make(&Options { directory: None, keep: false }).expect("a folder");
        let path = folder.path().to_owned();
        assert!(path.join("log").is_dir());
        folder.close();
        assert!(!path.exists());

        let parent = tempfile::tempdir().expect("a folder");
        let options = Options { directory: Some(parent.path().join("demo")), keep: false };
        Folder::make(&options).expect("a folder").close();
        assert!(parent.path().join("demo").is_dir());
        assert!(matches!(Folder::make(&options), Err(Error::Occupied(_))));
    }
}
