//! The vendor's web server: files of one folder, nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Error;

/// A running server; it ends when dropped.
pub(super) struct Server {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves a folder on a free port of the loopback interface.
    pub(super) async fn start(folder: PathBuf) -> Result<Self, Error> {
        let io = |source| Error::Io { action: "serve", path: folder.clone(), source };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let routes = axum::Router::new().fallback(file).with_state(Arc::new(folder));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::warn!(%error, "the vendor's web server ended");
            }
        });
        Ok(Self { address, task })
    }

    /// Its base URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn file(State(folder): State<Arc<PathBuf>>, request: Request) -> Response {
    let Some(path) = inside(&folder, request.uri().path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match tokio::fs::read(&path).await {
        Ok(bytes) => bytes.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The file that a path of a request means, if it lies inside the folder.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let relative = Path::new(decoded.trim_start_matches('/'));
    relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
        .then(|| folder.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let folder = Path::new("/srv");
        assert_eq!(inside(folder, "/pool/a%7E1.deb"), Some("/srv/pool/a~1.deb".into()));
        for path in ["/../etc/passwd", "/a/%2e%2e/%2e%2e/x", "/%ff"] {
            assert_eq!(inside(folder, path), None, "{path}");
        }
        assert_eq!(inside(folder, "//etc/passwd"), Some("/srv/etc/passwd".into()));
    }
}
