//! HTTP towards vendors: few connections, conditional requests, resumed
//! downloads, and a bound on everything a server could draw out.
//!
//! Owns the client and its limits. What always holds: a download that ends
//! without error has exactly the expected length and SHA-256; no answer is read
//! beyond its limit; every call ends, at the latest when the server has been
//! slower than [`MIN_RATE`] for the whole of it.

mod download;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use patchmesh_topology::digest::Sha256;
use reqwest::redirect;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use url::Url;

pub use download::{Expected, hash_file};

/// The most redirects followed in a row; mirror networks need two.
const MAX_REDIRECTS: usize = 5;

/// The slowest whole transfer that is waited for, in bytes per second.
pub const MIN_RATE: u64 = 1024;

/// What any call may take on top of its bytes.
const PATIENCE: Duration = Duration::from_secs(300);

/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// How long a file has to stand before its time of change is relied on.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// The longest validator kept; longer ones are not asked for again.
const MAX_VALIDATOR: usize = 256;

/// Limits towards one vendor.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests at a time.
    pub connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a server may send nothing.
    pub read_timeout: Duration,
    /// Attempts in a row that bring nothing until a call fails.
    pub attempts: u32,
    /// The wait before the second attempt; doubled each time.
    pub backoff: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 2,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            attempts: 4,
            backoff: Duration::from_millis(500),
        }
    }
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS set-up failed.
    #[error("cannot set up the HTTP client")]
    Client {
        /// What the library said.
        source: reqwest::Error,
    },
    /// No answer, or it broke off.
    #[error("no whole answer from {url} ({received} bytes of it came)")]
    Transfer {
        /// What was asked for.
        url: Box<str>,
        /// How many bytes came.
        received: u64,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// An answer that is none.
    #[error("{url} answers {status}")]
    Status {
        /// What was asked for.
        url: Box<str>,
        /// The answer.
        status: StatusCode,
    },
    /// The answer's part is not the one asked for.
    #[error("{url} answers with another part of the file than asked for")]
    Part {
        /// What was asked for.
        url: Box<str>,
    },
    /// More bytes than allowed.
    #[error("{url} is longer than the {limit} bytes that are allowed for it")]
    Long {
        /// What was asked for.
        url: Box<str>,
        /// The most bytes.
        limit: u64,
    },
    /// Another length than stated by the vendor.
    #[error("{url} has {got} bytes, the vendor's index says {expected}")]
    Length {
        /// What was asked for.
        url: Box<str>,
        /// As stated.
        expected: u64,
        /// As received or announced.
        got: u64,
    },
    /// Another content than stated by the vendor.
    #[error("{url} has SHA-256 {got}, the vendor's index says {expected}")]
    Digest {
        /// What was asked for.
        url: Box<str>,
        /// As stated.
        expected: Sha256,
        /// As received.
        got: Sha256,
    },
    /// Too slow altogether.
    #[error("{url} was not here after {waited:?}")]
    Slow {
        /// What was asked for.
        url: Box<str>,
        /// How long.
        waited: Duration,
    },
    /// What was received could not be written.
    #[error("cannot store what {url} sends")]
    Store {
        /// What was asked for.
        url: Box<str>,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the server says that it does not have this.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Status { status, .. } if is_missing(*status))
    }

    /// Whether the same request may well succeed a moment later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Transfer { source, .. } => !source.is_redirect() && !source.is_builder(),
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            _ => false,
        }
    }
}

/// Some servers answer 403 for what is not there (S3 without listing).
fn is_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN)
}

/// What a server gave to recognise a file by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`, as the server wrote it.
    pub last_modified: Option<String>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= MAX_VALIDATOR).then(|| value.to_owned())
        };
        let last_modified = text(header::LAST_MODIFIED);
        let date = text(header::DATE);
        Self {
            etag: text(header::ETAG),
            last_modified: last_modified.filter(|at| settled(at, date)),
        }
    }

    fn conditions(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name, value: &Option<String>| {
            if let Some(value) =
                value.as_deref().and_then(|value| HeaderValue::from_str(value).ok())
            {
                headers.insert(name, value);
            }
        };
        set(header::IF_NONE_MATCH, &self.etag);
        set(header::IF_MODIFIED_SINCE, &self.last_modified);
        // No cache on the way may answer for the vendor.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=0"));
        headers
    }
}

/// Whether a file was old enough when it was sent that its time in whole seconds
/// tells it from a later one (RFC 9110, section 8.8.2.2).
fn settled(last_modified: &str, date: Option<String>) -> bool {
    let time = |text: &str| httpdate::parse_http_date(text).ok();
    let age = date.and_then(|date| time(&date)?.duration_since(time(last_modified)?).ok());
    age.is_some_and(|age| age >= SETTLED_AFTER)
}

/// An answer to a conditional request.
#[derive(Debug)]
pub enum Answer {
    /// It is what the validators name.
    Unchanged,
    /// The server does not have it.
    Missing,
    /// Its bytes.
    Body {
        /// All of them.
        bytes: Vec<u8>,
        /// To ask again with.
        validators: Validators,
    },
}

/// A client for one vendor. Clones share its connections and limits.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    permits: Arc<Semaphore>,
    options: Arc<Options>,
}

impl Http {
    /// A client; one per source, so that one slow vendor holds up no other.
    pub fn new(options: Options) -> Result<Self, Error> {
        let connections = options.connections.max(1);
        let client = reqwest::Client::builder()
            .user_agent(concat!("patchmesh/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.read_timeout)
            .pool_max_idle_per_host(connections)
            .redirect(redirect::Policy::custom(follow))
            .build()
            .map_err(|source| Error::Client { source })?;
        Ok(Self {
            client,
            permits: Arc::new(Semaphore::new(connections)),
            options: Arc::new(options),
        })
    }

    /// Fetches a small file whole, unless it is what `known` names.
    pub async fn get(&self, url: &Url, limit: u64, known: &Validators) -> Result<Answer, Error> {
        let attempts = async {
            let mut failures = 0;
            loop {
                match self.get_once(url, limit, known).await {
                    Err(error) if error.is_transient() => {
                        self.wait_after(&mut failures, error).await?
                    }
                    answer => return answer,
                }
            }
        };
        within(url, limit, attempts).await
    }

    async fn get_once(&self, url: &Url, limit: u64, known: &Validators) -> Result<Answer, Error> {
        let _permit = self.permits.acquire().await;
        let cut = |received, source: reqwest::Error| Error::Transfer {
            url: shown(url).into(),
            received,
            source: source.without_url(),
        };
        let request = self.client.get(url.clone()).headers(known.conditions());
        let mut response = request.send().await.map_err(|source| cut(0, source))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(Answer::Unchanged),
            status if is_missing(status) => return Ok(Answer::Missing),
            status => return Err(Error::Status { url: shown(url).into(), status }),
        }
        let long = || Error::Long { url: shown(url).into(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(long());
        }
        let validators = Validators::of(response.headers());
        let mut bytes = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|source| cut(bytes.len() as u64, source))?
        {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(long());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Answer::Body { bytes, validators })
    }

    /// Waits before another attempt, or gives `error` back if there is none left.
    async fn wait_after(&self, failures: &mut u32, error: Error) -> Result<(), Error> {
        *failures += 1;
        if *failures >= self.options.attempts {
            return Err(error);
        }
        tracing::debug!(error = &error as &dyn std::error::Error, failures, "trying again");
        let wait = self.options.backoff.saturating_mul(1 << (*failures - 1).min(16));
        tokio::time::sleep(wait.min(MAX_BACKOFF)).await;
        Ok(())
    }
}

/// A URL as people may see it: without the password that may be in it.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have credentials.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

/// The same of a text; empty for what is no URL, since nobody can tell what is
/// in it.
#[must_use]
pub fn shown_text(url: &str) -> String {
    url.parse::<Url>().map_or_else(|_| String::new(), |url| shown(&url))
}

/// Bounds a whole call, retries and all, by what its bytes may take.
async fn within<T>(
    url: &Url,
    bytes: u64,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let patience = PATIENCE.saturating_add(Duration::from_secs(bytes / MIN_RATE));
    match tokio::time::timeout(patience, call).await {
        Ok(result) => result,
        Err(_) => Err(Error::Slow { url: shown(url).into(), waited: patience }),
    }
}

/// Follows a few redirects, never from TLS to plain text.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(Redirected::TooOften);
    }
    let from_tls = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if from_tls && attempt.url().scheme() != "https" {
        return attempt.error(Redirected::Downgraded);
    }
    attempt.follow()
}

/// Why a redirect is not followed.
#[derive(Debug, thiserror::Error)]
enum Redirected {
    #[error("more than {MAX_REDIRECTS} redirects in a row")]
    TooOften,
    #[error("a redirect leads from https to http")]
    Downgraded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let url = Url::parse("https://me:secret@x.example/a").expect("a URL");
        assert_eq!(shown(&url), "https://x.example/a");
    }

    #[test]
    fn a_time_of_change_counts_once_it_has_settled() {
        let kept = |last_modified: &'static str, date: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LAST_MODIFIED, HeaderValue::from_static(last_modified));
            headers.insert(header::DATE, HeaderValue::from_static(date));
            Validators::of(&headers).last_modified.is_some()
        };
        let changed = "Mon, 01 Mar 2027 12:00:00 GMT";
        assert!(kept(changed, "Mon, 01 Mar 2027 12:01:00 GMT"));
        assert!(!kept(changed, "Mon, 01 Mar 2027 12:00:59 GMT"));
        assert!(!kept(changed, "yesterday"));
    }

    #[test]
    fn only_passing_faults_are_tried_again() {
        let status = |status| Error::Status { url: "x".into(), status };
        assert!(status(StatusCode::SERVICE_UNAVAILABLE).is_transient());
        assert!(!status(StatusCode::NOT_FOUND).is_transient());
        assert!(status(StatusCode::FORBIDDEN).is_missing());
    }
}
