//! What an operator says of an apt source, and the checked form of it.

use globset::{Glob, GlobSet, GlobSetBuilder};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::SourceName;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::openpgp::{self, Keyring};
use crate::source::FetchPolicy;
use crate::source::http::shown;

/// The largest decompressed index, unless the operator sets another.
pub const MAX_INDEX: u64 = 1 << 30;

/// The most components, architectures or package patterns of a source; with
/// more, it is several sources.
const MAX_LIST: usize = 256;

/// A source as the operator gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The source's name in the mesh.
    pub name: String,
    /// Where the repository is: what stands behind `deb` in a client's list.
    pub url: String,
    /// The suite, such as `bookworm-security`; for a flat repository a path
    /// that ends in `/`, such as `./`.
    pub suite: String,
    /// Components, such as `main`; none for a flat repository.
    #[serde(default)]
    pub components: Vec<String>,
    /// Architectures, such as `amd64`.
    pub architectures: Vec<String>,
    /// The vendor's OpenPGP certificates, armored or binary.
    pub keyring: Vec<u8>,
    /// Patterns over names of source and binary packages; none: everything.
    #[serde(default)]
    pub packages: Vec<String>,
    /// What `Release` calls itself (`Suite` or `Codename`), where that is not
    /// the suite's name.
    #[serde(default)]
    pub release_name: Option<String>,
    /// When payloads are fetched.
    #[serde(default)]
    pub policy: FetchPolicy,
    /// Cap on one decompressed index in bytes; 0: 1 GiB.
    #[serde(default)]
    pub max_index_bytes: u64,
}

/// Why a source cannot be used as given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is none.
    #[error("the source's name cannot be used")]
    Name {
        /// What is wrong.
        source: patchmesh_topology::name::Error,
    },
    /// The URL is none.
    #[error("{url:?} is not a URL; write https://HOST/PATH, as behind `deb` in a client's list")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        source: url::ParseError,
    },
    /// Not a URL that can be fetched from.
    #[error(
        "{0} cannot be fetched from; use http:// or https:// (serve a local folder by a web server)"
    )]
    Scheme(String),
    /// The URL holds what does not belong there.
    #[error("{0} has a query or a fragment; give the repository's base only")]
    Base(String),
    /// The suite is no suite.
    #[error(
        "suite {0:?} cannot be used; give a name as below dists/, or a path ending in '/' for a flat repository"
    )]
    Suite(String),
    /// A flat repository with components.
    #[error("a flat repository (suite ending in '/') has no components; leave them out")]
    FlatComponents,
    /// A suite without components.
    #[error("give at least one component, such as main")]
    NoComponent,
    /// No architecture.
    #[error("give at least one architecture, such as amd64")]
    NoArchitecture,
    /// Something in a list that cannot be in a path.
    #[error(
        "{kind} {text:?} cannot be used; it has letters, digits, '.', '_', '-', '+' and '~' only"
    )]
    Word {
        /// `component` or `architecture`.
        kind: &'static str,
        /// As given.
        text: String,
    },
    /// Too much in a list.
    #[error("{kind} has {count} entries, more than {MAX_LIST}; make several sources of it")]
    Many {
        /// The list.
        kind: &'static str,
        /// Its length.
        count: usize,
    },
    /// A pattern that is none.
    #[error("package pattern {pattern:?} cannot be read; use *, ?, [abc] and {{a,b}}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong.
        source: globset::Error,
    },
    /// The keyring is none.
    #[error("the source's keyring cannot be used")]
    Keyring {
        /// What is wrong.
        source: openpgp::Error,
    },
}

/// A suite of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suite {
    /// Below `dists/`.
    Named(String),
    /// A folder with everything in it, by its path below the base: empty or
    /// ending in `/`.
    Flat(String),
}

impl Suite {
    /// What it is called in the mesh.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Flat(path) if path.is_empty() => "flat",
            Self::Flat(path) => path.trim_end_matches('/'),
        }
    }

    /// Where its `Release` lies below the base, ending in `/` unless empty.
    #[must_use]
    pub fn directory(&self) -> String {
        match self {
            Self::Named(name) => format!("dists/{name}/"),
            Self::Flat(path) => path.clone(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let steps_fit =
            |path: &str| path.split('/').all(|step| is_word(step) && step != "." && step != "..");
        match text.strip_suffix('/') {
            Some("" | ".") => Some(Self::Flat(String::new())),
            Some(path) => {
                let path = path.strip_prefix("./").unwrap_or(path);
                steps_fit(path).then(|| Self::Flat(format!("{path}/")))
            }
            None => steps_fit(text).then(|| Self::Named(text.to_owned())),
        }
    }
}

/// A checked source.
#[derive(Debug, Clone)]
pub struct Config {
    pub(super) name: SourceName,
    pub(super) base: Url,
    pub(super) suite: Suite,
    pub(super) components: Vec<String>,
    pub(super) architectures: Vec<String>,
    pub(super) keyring: Keyring,
    pub(super) packages: Option<GlobSet>,
    pub(super) release_name: Option<String>,
    pub(super) max_index: u64,
    policy: FetchPolicy,
    digest: Digest,
}

impl Config {
    /// Checks what the operator gave.
    pub fn validate(options: Options) -> Result<Self, Error> {
        let digest = options.digest();
        let name = options.name.parse().map_err(|source| Error::Name { source })?;
        let base = base(&options.url)?;
        let suite =
            Suite::parse(&options.suite).ok_or_else(|| Error::Suite(options.suite.clone()))?;
        match (&suite, options.components.is_empty()) {
            (Suite::Flat(_), false) => return Err(Error::FlatComponents),
            (Suite::Named(_), true) => return Err(Error::NoComponent),
            _ => {}
        }
        if options.architectures.is_empty() {
            return Err(Error::NoArchitecture);
        }
        let components =
            words("component", options.components, |text| text.split('/').all(is_word))?;
        let architectures = words("architecture", options.architectures, is_word)?;
        let keyring =
            Keyring::parse(&options.keyring).map_err(|source| Error::Keyring { source })?;
        Ok(Self {
            name,
            base,
            suite,
            components,
            architectures,
            keyring,
            packages: globs(&options.packages)?,
            release_name: options.release_name,
            max_index: if options.max_index_bytes == 0 {
                MAX_INDEX
            } else {
                options.max_index_bytes
            },
            policy: options.policy,
            digest,
        })
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &SourceName {
        &self.name
    }

    /// When its payloads are fetched.
    #[must_use]
    pub fn policy(&self) -> FetchPolicy {
        self.policy
    }

    /// The repository's base, ending in `/`.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The suite.
    #[must_use]
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// Names everything that bears on what a synchronisation yields: with
    /// another digest, nothing fetched before counts as unchanged.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }
}

impl Options {
    fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(self.name.as_bytes());
        field(self.url.as_bytes());
        field(self.suite.as_bytes());
        field(&self.keyring);
        field(self.release_name.as_deref().unwrap_or_default().as_bytes());
        for list in [&self.components, &self.architectures, &self.packages] {
            field(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|text| field(text.as_bytes()));
        }
        hasher.finalize().into()
    }
}

fn base(text: &str) -> Result<Url, Error> {
    let mut url =
        Url::parse(text.trim()).map_err(|source| Error::Url { url: text.to_owned(), source })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::Scheme(shown(&url)));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::Base(shown(&url)));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Whether a text can be one step of a path and of a URL as it is.
fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte);
    !text.is_empty() && text.bytes().all(plain) && text.bytes().any(|byte| byte != b'.')
}

/// A list without repetitions, each entry checked.
fn words(
    kind: &'static str,
    list: Vec<String>,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Error> {
    if list.len() > MAX_LIST {
        return Err(Error::Many { kind, count: list.len() });
    }
    let mut words: Vec<String> = Vec::new();
    for text in list {
        if !fits(&text) {
            return Err(Error::Word { kind, text });
        }
        if !words.contains(&text) {
            words.push(text);
        }
    }
    Ok(words)
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>, Error> {
    if patterns.len() > MAX_LIST {
        return Err(Error::Many { kind: "package patterns", count: patterns.len() });
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let fault = |source| Error::Pattern { pattern: pattern.clone(), source };
        set.add(Glob::new(pattern).map_err(fault)?);
    }
    let joined = || patterns.join(" ");
    let set = set.build().map_err(|source| Error::Pattern { pattern: joined(), source })?;
    Ok((!patterns.is_empty()).then_some(set))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openpgp::SigningKey;

    fn options() -> Options {
        let key = SigningKey::generate("vendor", jiff::Timestamp::UNIX_EPOCH).expect("a key");
        Options {
            name: "vendor".into(),
            url: "https://deb.example.com/debian".into(),
            suite: "bookworm".into(),
            components: vec!["main".into(), "main".into()],
            architectures: vec!["amd64".into()],
            keyring: key.public_binary().expect("a certificate"),
            packages: vec!["open*".into()],
            release_name: None,
            policy: FetchPolicy::Prefetch,
            max_index_bytes: 0,
        }
    }

    fn refused(change: impl FnOnce(&mut Options)) -> Error {
        let mut options = options();
        change(&mut options);
        Config::validate(options).expect_err("refused")
    }

    #[test]
    fn a_good_source_is_taken() {
        let config = Config::validate(options()).expect("a source");
        assert_eq!(config.base().as_str(), "https://deb.example.com/debian/");
        assert_eq!(config.suite().directory(), "dists/bookworm/");
        assert_eq!(config.components, ["main"]);
        assert_eq!(config.max_index, MAX_INDEX);
        assert_eq!(config.policy(), FetchPolicy::Prefetch);
    }

    #[test]
    fn each_fault_has_its_own_words() {
        assert!(matches!(refused(|o| o.name = "No Name".into()), Error::Name { .. }));
        assert!(matches!(refused(|o| o.url = "deb.example.com".into()), Error::Url { .. }));
        assert!(matches!(refused(|o| o.url = "file:///srv/debian".into()), Error::Scheme(_)));
        assert!(matches!(refused(|o| o.url = "https://x/?a".into()), Error::Base(_)));
        for suite in ["", "..", "../etc/", "/", "a b", "a//b", "-/../x", "http://x"] {
            let fault = refused(|o| o.suite = suite.into());
            // A lone slash means the root, as `./` does, and that has no components.
            assert!(matches!(fault, Error::Suite(_) | Error::FlatComponents), "{suite:?}: {fault}");
        }
        assert!(matches!(refused(|o| o.components.clear()), Error::NoComponent));
        assert!(matches!(refused(|o| o.suite = "./".into()), Error::FlatComponents));
        assert!(matches!(refused(|o| o.architectures.clear()), Error::NoArchitecture));
        assert!(matches!(refused(|o| o.architectures = vec!["a/b".into()]), Error::Word { .. }));
        assert!(matches!(refused(|o| o.components = vec!["../x".into()]), Error::Word { .. }));
        assert!(matches!(refused(|o| o.packages = vec!["[".into()]), Error::Pattern { .. }));
        assert!(matches!(refused(|o| o.packages = vec!["x".into(); 300]), Error::Many { .. }));
        assert!(matches!(refused(|o| o.keyring = b"x".to_vec()), Error::Keyring { .. }));
    }

    #[test]
    fn flat_repositories_have_a_label() {
        assert_eq!(
            Suite::parse("./").map(|suite| suite.label().to_owned()).as_deref(),
            Some("flat")
        );
        let nested = Suite::parse("./x86/stable/").expect("a suite");
        assert_eq!((nested.label(), nested.directory().as_str()), ("x86/stable", "x86/stable/"));
    }
}
