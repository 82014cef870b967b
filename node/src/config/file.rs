//! The configuration file that `init` and `join` leave in a new data folder.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::Error;

/// Writes `DATA/patchmesh.toml` with the address given to `init` or `join`, so
/// that `serve --data DATA` alone is enough afterwards. A file that is there
/// already is left as it is.
pub fn write_first(data: &Path, listen: SocketAddr) -> Result<(), Error> {
    let path = super::file_for(data);
    let error = |source| Error::Io { action: "write", path: path.clone(), source };
    let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(problem) if problem.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(problem) => return Err(error(problem)),
    };
    let text = format!(
        "# Settings of this node; `patchmesh config show` lists every key.\n\
         # More files may lie in patchmesh.d/*.toml.\n\
         \n\
         listen = \"{listen}\"\n"
    );
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(error)
}
