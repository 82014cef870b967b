//! A vendor on loopback: a repository built and signed here, and a web server
//! whose faults a test can choose.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, Uri, header};
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;

use super::super::{Config, Options, Outcome, SyncState};
use crate::openpgp::SigningKey;
use crate::source::http::{self as source_http, Http};
use crate::source::{FetchPolicy, Progress};

pub(super) fn now() -> Timestamp {
    "2027-03-01T12:00:00Z".parse().expect("a time")
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// One package of the repository.
#[derive(Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: &'static str,
    pub(super) extra: String,
    pub(super) content: Vec<u8>,
}

pub(super) fn package(name: &str, version: &str, architecture: &'static str) -> Package {
    let content = format!("{name} {version} {architecture}").repeat(20_000).into_bytes();
    let extra = format!("Description: about {name}\n more of {name}\n");
    Package { name: name.into(), version: version.into(), architecture, extra, content }
}

impl Package {
    pub(super) fn with(mut self, fields: &str) -> Self {
        self.extra.insert_str(0, fields);
        self
    }

    pub(super) fn filename(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("pool/{}_{version}_{}.deb", self.name, self.architecture)
    }

    fn stanza(&self) -> String {
        let Self { name, version, architecture, extra, content } = self;
        let (filename, size, hash) = (self.filename(), content.len(), sha256(content));
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nFilename: {filename}\n\
             Size: {size}\nSHA256: {hash}\n{extra}\n"
        )
    }
}

/// How the repository is made; change it and call [`Vendor::publish`] again.
#[derive(Clone)]
pub(super) struct Repository {
    pub(super) key: SigningKey,
    pub(super) directory: &'static str,
    pub(super) fields: String,
    pub(super) date: Timestamp,
    pub(super) signed_at: Timestamp,
    pub(super) valid_until: Option<Timestamp>,
    pub(super) architectures: Vec<&'static str>,
    pub(super) packings: Vec<&'static str>,
    pub(super) by_hash: bool,
    pub(super) packages: Vec<Package>,
    /// Takes the place of the text made from `packages`.
    pub(super) index: Option<Vec<u8>>,
    /// Takes the place of every packed index.
    pub(super) packed: Option<Vec<u8>>,
    /// Whether the plain index is listed, as most vendors do without serving it.
    pub(super) plain_listed: bool,
    /// `InRelease`, or `Release` and `Release.gpg`.
    pub(super) clear_signed: bool,
}

impl Default for Repository {
    fn default() -> Self {
        let made = now() - SignedDuration::from_hours(24 * 365);
        Self {
            key: SigningKey::generate("Vendor", made).expect("a key"),
            directory: "dists/stable/",
            fields: "Origin: Vendor\nSuite: stable\nCodename: zoo\nComponents: main\nArchitectures: amd64 arm64\n"
                .into(),
            date: now() - SignedDuration::from_hours(1),
            signed_at: now(),
            valid_until: None,
            architectures: vec!["amd64"],
            packings: vec![".xz"],
            by_hash: false,
            packages: vec![package("hello", "2.10-3", "amd64")],
            index: None,
            packed: None,
            plain_listed: true,
            clear_signed: true,
        }
    }
}

fn rfc2822(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

pub(super) fn pack(suffix: &str, bytes: &[u8]) -> Vec<u8> {
    match suffix {
        ".gz" => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packed")
        }
        ".xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packed")
        }
        ".zst" => zstd::encode_all(bytes, 1).expect("packed"),
        _ => bytes.to_vec(),
    }
}

impl Repository {
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut hashes = String::new();
        for architecture in &self.architectures {
            let own = |package: &&Package| {
                package.architecture == *architecture || package.architecture == "all"
            };
            let made = || {
                self.packages
                    .iter()
                    .filter(own)
                    .map(Package::stanza)
                    .collect::<String>()
                    .into_bytes()
            };
            let text = self.index.clone().unwrap_or_else(made);
            let folder = match self.directory.starts_with("dists/") {
                true => format!("main/binary-{architecture}/"),
                false => String::new(),
            };
            let mut list = |suffix: &str, bytes: &[u8]| {
                let hash = sha256(bytes);
                hashes.push_str(&format!(" {hash} {} {folder}Packages{suffix}\n", bytes.len()));
                hash
            };
            if self.plain_listed && !self.packings.contains(&"") {
                list("", &text);
            }
            for suffix in &self.packings {
                let bytes = self.packed.clone().unwrap_or_else(|| pack(suffix, &text));
                let hash = list(suffix, &bytes);
                if self.by_hash {
                    files.insert(format!("{}{folder}by-hash/SHA256/{hash}", self.directory), bytes);
                } else {
                    files.insert(format!("{}{folder}Packages{suffix}", self.directory), bytes);
                }
            }
        }
        for package in &self.packages {
            files.insert(package.filename(), package.content.clone());
        }
        self.sign(hashes, &mut files);
        files
    }

    fn sign(&self, hashes: String, files: &mut BTreeMap<String, Vec<u8>>) {
        let mut text = format!("{}Date: {}\n", self.fields, rfc2822(self.date));
        if let Some(time) = self.valid_until {
            text.push_str(&format!("Valid-Until: {}\n", rfc2822(time)));
        }
        if self.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
        }
        text.push_str(&format!("SHA256:\n{hashes}"));
        let mut put = |name: &str, bytes: String| {
            files.insert(format!("{}{name}", self.directory), bytes.into_bytes())
        };
        if self.clear_signed {
            put("InRelease", self.key.sign_cleartext(&text, self.signed_at).expect("signed"));
        } else {
            put(
                "Release.gpg",
                self.key.sign_detached(text.as_bytes(), self.signed_at).expect("signed"),
            );
            put("Release", text);
        }
    }
}

/// What the server does wrong.
#[derive(Default)]
pub(super) struct Faults {
    /// Breaks off after so many bytes of an answer, once for each entry.
    pub(super) cuts: BTreeMap<String, Vec<usize>>,
    /// Answers every request with the whole file.
    pub(super) no_ranges: bool,
    /// Sends zeros without end.
    pub(super) endless: Option<String>,
    /// Leads there instead, for every request.
    pub(super) redirect: Option<String>,
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<String, Vec<u8>>,
    requests: Vec<String>,
    faults: Faults,
}

/// The vendor: its repository, its server, and a client's view of both.
pub(super) struct Vendor {
    inner: Arc<Mutex<Inner>>,
    server: JoinHandle<()>,
    pub(super) base: String,
    pub(super) repository: Repository,
    pub(super) cache: tempfile::TempDir,
    pub(super) http: Http,
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Vendor {
    pub(super) async fn new(repository: Repository) -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}/", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serves");
        });
        let options = source_http::Options {
            attempts: 3,
            backoff: std::time::Duration::from_millis(1),
            ..source_http::Options::default()
        };
        let cache = tempfile::tempdir().expect("a folder");
        let http = Http::new(options).expect("a client");
        let vendor = Self { inner, server, base, repository, cache, http };
        vendor.publish();
        vendor
    }

    pub(super) fn publish(&self) {
        self.lock().files = self.repository.files();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("not poisoned")
    }

    pub(super) fn set(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.lock().files.insert(path.into(), bytes.into());
    }

    pub(super) fn file(&self, path: &str) -> Vec<u8> {
        self.lock().files[path].clone()
    }

    pub(super) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// The requests since the last call: path, and what made it special.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().requests)
    }

    pub(super) fn options(&self) -> Options {
        Options {
            name: "vendor".into(),
            url: self.base.clone(),
            suite: "stable".into(),
            components: vec!["main".into()],
            architectures: vec!["amd64".into()],
            keyring: self.repository.key.public_binary().expect("a certificate"),
            packages: Vec::new(),
            release_name: None,
            policy: FetchPolicy::OnDemand,
            max_index_bytes: 0,
        }
    }

    pub(super) fn config(&self) -> Config {
        Config::validate(self.options()).expect("a source")
    }

    pub(super) async fn sync(&self, state: &SyncState) -> Result<Outcome, super::super::Error> {
        self.sync_as(self.options(), state, now()).await
    }

    pub(super) async fn sync_as(
        &self,
        options: Options,
        state: &SyncState,
        now: Timestamp,
    ) -> Result<Outcome, super::super::Error> {
        let config = Config::validate(options).expect("a source");
        super::super::sync(&config, &self.http, state, self.cache.path(), now, &Progress::default())
            .await
    }
}

async fn serve(
    State(inner): State<Arc<Mutex<Inner>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let mut inner = inner.lock().expect("not poisoned");
    let path = percent_encoding::percent_decode_str(uri.path())
        .decode_utf8_lossy()
        .trim_start_matches('/')
        .to_owned();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let range = text(header::RANGE);
    inner.requests.push(format!(
        "{path}{}",
        range.as_deref().map_or(String::new(), |range| format!(" {range}"))
    ));

    let answer = Response::builder();
    if let Some(to) = &inner.faults.redirect {
        return answer
            .status(302)
            .header(header::LOCATION, to)
            .body(Body::empty())
            .expect("an answer");
    }
    if inner.faults.endless.as_ref() == Some(&path) {
        let zeros = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0u8; 1 << 16]));
        return answer.body(Body::from_stream(zeros)).expect("an answer");
    }
    let Some(bytes) = inner.files.get(&path).cloned() else {
        return answer.status(StatusCode::NOT_FOUND).body(Body::from("none")).expect("an answer");
    };
    let etag = format!("\"{}\"", &sha256(&bytes)[..16]);
    if text(header::IF_NONE_MATCH).as_ref() == Some(&etag) {
        inner.requests.push("304".into());
        return answer.status(StatusCode::NOT_MODIFIED).body(Body::empty()).expect("an answer");
    }
    let start: Option<usize> = range
        .filter(|_| !inner.faults.no_ranges)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let total = bytes.len();
    let body = bytes[start.unwrap_or(0)..].to_vec();
    let mut answer = answer.header(header::ETAG, etag).header(header::CONTENT_LENGTH, body.len());
    if let Some(start) = start {
        let range = format!("bytes {start}-{}/{total}", total - 1);
        answer = answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
    }
    let cut = inner.faults.cuts.get_mut(&path).and_then(Vec::pop);
    let body = match cut {
        None => Body::from(body),
        Some(after) => {
            let sent = body[..after.min(body.len())].to_vec();
            // Between the two the server turns to its socket and sends the first.
            let broken = stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(stream::iter([Ok(sent)]).chain(broken))
        }
    };
    answer.body(body).expect("an answer")
}
