//! The administrator's way in on the node's own host: a unix socket in the
//! data folder. Who may open the file may ask; besides, only root and the user
//! that runs the node are served.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use axum::Router;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Guest, Protocol};
use super::{Error, Listener, Options, Remote, rest_after, serve_all};
use crate::identity::peer::Peer;

/// The longest path that Linux binds (`sun_path`, without its final zero).
const MAX_PATH: usize = 107;

/// Local administrators at a time; each command makes one connection.
const MAX_LOCAL: usize = 64;

/// Makes the socket, with mode 0600. One left behind by a process that is gone
/// is replaced.
///
/// # Errors
/// Where another process listens on it, something else is in its place, or the
/// path is too long.
pub fn bind_unix(path: &Path) -> Result<UnixListener, Error> {
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_PATH {
        return Err(Error::LongPath { path: path.to_owned(), length, max: MAX_PATH });
    }
    let wrong = |source| Error::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NoSocket(path.to_owned()));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(Error::InUse(path.to_owned())),
            Err(_) => fs::remove_file(path).map_err(wrong)?,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error)),
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    // Until this line others may connect; they are refused by who they are.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    Ok(listener)
}

/// Serves `app` on the socket until `shutdown`, as [`Peer::LocalUser`], and
/// removes the socket.
pub async fn serve_unix(
    listener: UnixListener,
    app: Router,
    options: Options,
    shutdown: CancellationToken,
) {
    let path = listener.local_addr().ok().and_then(|own| own.as_pathname().map(Path::to_owned));
    let connection = Connection {
        app,
        guest: Guest::Known(Peer::LocalUser),
        remote: Remote(Ipv4Addr::LOCALHOST.into()),
        protocol: Protocol::Http2,
        options,
        shutdown: shutdown.clone(),
    };
    serve_all(listener, MAX_LOCAL, shutdown, |unix| connection.clone().serve(unix)).await;
    if let Some(path) = path {
        // Whoever starts next replaces it anyway.
        let _ = fs::remove_file(path);
    }
}

impl Listener for UnixListener {
    type Io = UnixStream;

    /// The next connection of root or of this process's own user.
    async fn next(&self) -> UnixStream {
        let own = rustix::process::geteuid().as_raw();
        loop {
            let unix = match self.accept().await {
                Ok((unix, _)) => unix,
                Err(error) => {
                    rest_after(&error).await;
                    continue;
                }
            };
            match unix.peer_cred().map(|peer| peer.uid()) {
                Ok(uid) if uid == 0 || uid == own => return unix,
                Ok(uid) => tracing::warn!(uid, "local user refused: neither root nor the node's"),
                Err(error) => tracing::warn!(%error, "cannot tell who uses the local socket"),
            }
        }
    }
}
