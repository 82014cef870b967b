//! A command-line TUF client on the code that nodes use: any TUF repository, one folder of trusted metadata.
//!
//! Its interface is the one of the public conformance suite (`CLIENT-CLI.md` there; `docs/tuf-conformance.md` here). All
//! that is done here is parsing arguments, requests over HTTP and moving files.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use patchmesh::tuf::{
    Client, Fetch, FolderStorage, Limits, RoleName, Storage, TargetPath, TrustedMetadata,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::StatusCode;
use url::Url;

/// A server that says nothing for this long is given up on.
const SILENCE: Duration = Duration::from_secs(30);

/// What a target path may not bring into a URL. A path is a relative URL already, so `%` stays as it is.
const URL_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\');

/// Follows a TUF repository and downloads verified files from it.
///
/// Example: tuf-client --metadata-dir trusted --metadata-url https://branch/tuf/metadata refresh
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder of trusted metadata.
    #[arg(long, value_name = "FOLDER")]
    metadata_dir: PathBuf,
    /// Where the repository serves metadata.
    #[arg(long, value_name = "URL")]
    metadata_url: Option<Url>,
    /// A target to download; may be given more than once.
    #[arg(long = "target-name", value_name = "PATH")]
    target_names: Vec<String>,
    /// Where the repository serves targets.
    #[arg(long, value_name = "URL")]
    target_base_url: Option<Url>,
    /// Folder for downloaded targets.
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start to trust a root.
    Init {
        /// The root metadata file, from a trusted place.
        trusted_root: PathBuf,
    },
    /// Bring trusted metadata up to date.
    Refresh,
    /// Bring trusted metadata up to date and download targets.
    Download,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Init { trusted_root } => init(&arguments.metadata_dir, trusted_root),
        Command::Refresh => {
            client(&arguments)?.refresh(Timestamp::now()).await?;
            Ok(())
        }
        Command::Download => download(&arguments).await,
    }
}

fn init(metadata_dir: &Path, trusted_root: &Path) -> anyhow::Result<()> {
    let root = fs::read(trusted_root).with_context(|| format!("{trusted_root:?} can't be read"))?;
    let trusted = TrustedMetadata::bootstrap(&root, Timestamp::now())
        .with_context(|| format!("{trusted_root:?} can't be the trusted root"))?;
    let version = trusted.root().header.version();
    FolderStorage::new(metadata_dir.to_owned())
        .persist(&RoleName::ROOT, version, &root)
        .with_context(|| format!("the root can't be stored in {metadata_dir:?}"))
}

async fn download(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = arguments.target_dir.as_ref().context("--target-dir is missing")?;
    anyhow::ensure!(!arguments.target_names.is_empty(), "--target-name is missing");
    let mut client = client(arguments)?;
    client.refresh(Timestamp::now()).await?;
    for name in &arguments.target_names {
        let path = TargetPath::new(name.as_str())?;
        let info = client
            .targetinfo(&path)
            .await?
            .with_context(|| format!("no role of the repository names target {path}"))?;
        let file = folder.join(path.file_stem());
        if fs::read(&file).is_ok_and(|stored| info.verify(&stored).is_ok()) {
            continue;
        }
        let bytes = client.download(&path, &info).await?;
        replace(&file, &bytes).with_context(|| format!("{file:?} can't be written"))?;
    }
    Ok(())
}

fn client(arguments: &Arguments) -> anyhow::Result<Client<HttpRepository, FolderStorage>> {
    let metadata = arguments.metadata_url.clone().context("--metadata-url is missing")?;
    let targets = arguments.target_base_url.clone();
    let http = reqwest::Client::builder().connect_timeout(SILENCE).read_timeout(SILENCE).build()?;
    let repository = HttpRepository { http, metadata, targets };
    Ok(Client::new(
        repository,
        FolderStorage::new(arguments.metadata_dir.clone()),
        Limits::default(),
    ))
}

/// Writes a file so that it is either the old one or the new one, whatever happens.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A repository on a web server.
struct HttpRepository {
    http: reqwest::Client,
    metadata: Url,
    targets: Option<Url>,
}

/// Why a request gave no file.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("the request failed")]
    Request(#[from] reqwest::Error),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("the server sends more than {0} bytes")]
    TooLong(u64),
    #[error("no URL can be made of {0}")]
    Url(String),
}

impl Fetch for HttpRepository {
    type Error = HttpError;

    async fn fetch(&self, file: &str, max_length: u64) -> Result<Option<Vec<u8>>, HttpError> {
        self.get(&self.metadata, file, max_length).await
    }

    async fn fetch_target(
        &self,
        path: &str,
        max_length: u64,
    ) -> Result<Option<Vec<u8>>, HttpError> {
        let base = self
            .targets
            .as_ref()
            .ok_or_else(|| HttpError::Url("targets, as --target-base-url is missing".into()))?;
        let path = utf8_percent_encode(path, URL_PATH).to_string();
        self.get(base, &path, max_length).await
    }
}

impl HttpRepository {
    async fn get(
        &self,
        base: &Url,
        path: &str,
        max_length: u64,
    ) -> Result<Option<Vec<u8>>, HttpError> {
        let base = base.as_str().trim_end_matches('/');
        let url =
            Url::parse(&format!("{base}/{path}")).map_err(|_| HttpError::Url(path.to_owned()))?;
        let mut response = self.http.get(url).send().await?;
        match response.status() {
            StatusCode::OK => {}
            // Stores such as S3 say "forbidden" for files that are not there.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
            status => return Err(HttpError::Status(status)),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if bytes.len() as u64 + chunk.len() as u64 > max_length {
                return Err(HttpError::TooLong(max_length));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }
}
