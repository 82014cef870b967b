//! Files beside the store that outlive a loss of power: keys, certificates,
//! settings.
//!
//! What always holds once a function here has returned:
//!
//! - The file is there whole, under its name, on the disk: it was written beside
//!   its place, synced, renamed, and the folder was synced.
//! - So is every folder above it that was made here.
//! - A secret was never open to others, not even in between.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

/// Only its owner may read a file or enter a folder.
pub(crate) const SECRET: u32 = 0o600;
/// Everybody may read a file.
pub(crate) const PUBLIC: u32 = 0o644;
/// Only its owner may enter a folder.
const FOLDER: u32 = 0o700;

/// Writes a file whole, in the place of one that is there. Its folder must
/// exist. Blocks.
///
/// # Errors
/// A full or failing disk; the file is as it was then, or as it is to be.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    draft(folder, bytes, mode)?.persist(path)?;
    sync_folder(folder)
}

/// Writes a file that must not be there yet. Its folder must exist. Blocks.
///
/// # Errors
/// `AlreadyExists`, or a full or failing disk.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    draft(folder, bytes, mode)?.persist_noclobber(path)?;
    sync_folder(folder)
}

/// Makes a folder that only its owner can enter, and those above it that lack.
/// Blocks.
///
/// # Errors
/// A full or failing disk, or something else in its place.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = folder_of(path);
    if above != path {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        // Somebody else has made it meanwhile; whether it is durable is not known.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync_folder(above)
}

/// Makes the entries of a folder durable. Blocks.
///
/// # Errors
/// A failing disk.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A synced file without its name yet; it goes unless it is given one.
fn draft(folder: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    // Made with mode 0600, so a secret is never open in between.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// The folder that a path's entry lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// A file of at most `most` bytes, if it is there. Blocks.
///
/// # Errors
/// A longer file, or a failing disk.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;

    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other("it is far longer than it can be"));
    }
    Ok(Some(bytes))
}

/// Removes a file, if it is there, durably. Blocks.
///
/// # Errors
/// A failing disk.
#[cfg(feature = "server")]
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(folder_of(path)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn files_are_replaced_whole_or_made_anew_and_leave_nothing_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write_new(&path, b"one", SECRET).unwrap();
        assert_eq!(mode(&path), 0o600);
        let again = write_new(&path, b"two", SECRET).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"three", PUBLIC).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"three".to_vec(), 0o644));
        assert_eq!(names(folder.path()), ["key.pem"]);
        assert_eq!(read(&path, 5).unwrap(), Some(b"three".to_vec()));
        assert!(read(&path, 4).is_err());
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path, 5).unwrap(), None);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn folders_above_are_made_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        assert_eq!((mode(&deep), mode(&folder.path().join("a"))), (0o700, 0o700));
        fs::write(deep.join("file"), "").unwrap();
        assert!(make_folder(&deep.join("file/d")).is_err());
    }
}
