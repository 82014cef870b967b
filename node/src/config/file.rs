//! The configuration file that `init` and `join` leave in a new data folder.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use super::Error;
use crate::durable;

/// Writes `DATA/patchmesh.toml` with the address given to `init` or `join`, so
/// that `serve --data DATA` alone is enough afterwards. A file that is there
/// already is left as it is.
pub fn write_first(data: &Path, listen: SocketAddr) -> Result<(), Error> {
    let path = super::file_for(data);
    let text = format!(
        "# Settings of this node; `patchmesh config show` lists every key.\n\
         # More files may lie in patchmesh.d/*.toml.\n\
         \n\
         listen = \"{listen}\"\n"
    );
    match durable::write_new(&path, text.as_bytes(), durable::PUBLIC) {
        Err(problem) if problem.kind() == ErrorKind::AlreadyExists => Ok(()),
        written => written.map_err(|source| Error::Io { action: "write", path, source }),
    }
}
