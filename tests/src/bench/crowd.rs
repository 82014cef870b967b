//! Many machines that are connected and listen, each with a key, a certificate and a
//! connection of its own. All of them are in this process.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use patchmesh_proto::report::reports_client::ReportsClient;
use patchmesh_proto::report::{WatchRequest, WatchResponse};
use rcgen::KeyPair;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::peer::Peer;
use crate::authority::Authority;
use crate::cluster::{Cluster, PRIMARY};
use crate::machine::open_token;
use crate::tls::{self, Certificate};
use crate::wait::PATIENCE;

/// Connections that are made at the same time.
const AT_ONCE: usize = 32;

const GROUP: &str = "workstations";

/// Makes machines of a mesh: certified by its CA, known to no node beforehand.
pub(super) struct Maker(Authority);

impl Maker {
    /// For the machines of a mesh that a node lets in.
    pub(super) async fn of(cluster: &Cluster, via: &str) -> Result<Self> {
        let arguments = ["machine", "token", GROUP, "--via", via];
        let made = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
        let token = open_token(made["token"].as_str().context("a token")?)?;
        Ok(Self(Authority::of(cluster, &token.mesh_id)?))
    }

    fn certificate(&self, number: usize) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let days = (today - 1.day(), today + 30.days());
        let made = self.0.certify(&format!("pc-{number:05}"), GROUP, &key, days)?;
        Ok(Certificate::new(made, key.serialize_der()))
    }

    /// Machines of these numbers, connected to a node. Each has had its first word.
    pub(super) async fn listeners(&self, url: &str, of: Range<usize>) -> Result<Vec<Listener>> {
        let listener = |number| async move {
            let certificate = self.certificate(number)?;
            Listener::connect(url, &certificate).await.with_context(|| format!("machine {number}"))
        };
        stream::iter(of).map(listener).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Connections of such machines to nginx, which answered each of them once.
    pub(super) async fn visitors(&self, nginx: &Peer, of: Range<usize>) -> Result<Vec<Visitor>> {
        let visitor = |number| async move {
            let certificate = self.certificate(number)?;
            Visitor::connect(nginx, &certificate).await.with_context(|| format!("visitor {number}"))
        };
        stream::iter(of).map(visitor).buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// One machine with an open stream of words.
pub(super) struct Listener {
    words: Streaming<WatchResponse>,
    // The connection lives as long as one that uses it.
    _client: ReportsClient<Channel>,
}

impl Listener {
    async fn connect(url: &str, certificate: &Certificate) -> Result<Self> {
        let connect = tls::with_certificate(url, certificate);
        let mut client = ReportsClient::new(timeout(PATIENCE, connect).await??);
        let mut words = timeout(PATIENCE, client.watch(WatchRequest {})).await??.into_inner();
        timeout(PATIENCE, words.message()).await??.context("no word came")?;
        Ok(Self { words, _client: client })
    }

    /// The next word.
    pub(super) async fn word(&mut self) -> Result<WatchResponse> {
        self.words.message().await?.context("the stream ended")
    }

    /// Whether the stream is open and nothing came.
    pub(super) fn is_idle(&mut self) -> bool {
        self.words.message().now_or_never().is_none()
    }
}

/// One connection over HTTP/1.1 that is kept.
pub(super) struct Visitor(TlsStream<TcpStream>);

impl Visitor {
    async fn connect(nginx: &Peer, certificate: &Certificate) -> Result<Self> {
        let address = nginx.address();
        let connector = TlsConnector::from(Arc::new(tls::client(certificate)?));
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::from(address.ip());
        let mut stream = timeout(PATIENCE, connector.connect(name, tcp)).await??;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: node\r\n\r\n").await?;
        stream.flush().await?;
        let mut answer = [0; 1024];
        let count = timeout(PATIENCE, stream.read(&mut answer)).await??;
        let answer = String::from_utf8_lossy(&answer[..count]).to_ascii_lowercase();
        ensure!(answer.starts_with("http/1.1 204"), "nginx said {answer:?}");
        ensure!(answer.ends_with("\r\n\r\n"), "nginx said no more than {answer:?}");
        Ok(Self(stream))
    }

    /// Whether the connection is open and nothing came.
    pub(super) fn is_idle(&mut self) -> bool {
        self.0.read(&mut [0]).now_or_never().is_none()
    }
}
