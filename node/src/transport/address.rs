//! Where a node is reached: `https://HOST[:PORT]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls_pki_types::ServerName;
use url::Url;

/// The longest URL that a node may have.
const MAX_URL: usize = 300;

/// The port of an `https` URL that names none.
const HTTPS_PORT: u16 = 443;

/// Why a text is not a node's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a URL.
    #[error("{text:?} is not a URL; write https://HOST:PORT")]
    Form {
        /// The text given.
        text: String,
        /// What is wrong.
        source: url::ParseError,
    },
    /// A URL, but not of this form.
    #[error("{text:?} {problem}; write https://HOST:PORT")]
    Shape {
        /// The text given.
        text: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Too many characters.
    #[error("a node's URL has at most {MAX_URL} characters, this has {0}")]
    Long(usize),
}

/// A host, as a name or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name in ASCII.
    Name(String),
    /// An IP address.
    Ip(IpAddr),
}

/// A node's base URL: `https`, a host, perhaps a port, nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeUrl {
    text: String,
    host: Host,
    server_name: ServerName<'static>,
    port: u16,
}

impl NodeUrl {
    /// The URL without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> Host {
        self.host.clone()
    }

    /// The port, 443 where the URL names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host as TLS asks for it.
    #[must_use]
    pub(crate) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    /// `HOST:PORT`, for messages and for dialling.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.host {
            Host::Name(name) => format!("{name}:{}", self.port),
            Host::Ip(address) => std::net::SocketAddr::new(*address, self.port).to_string(),
        }
    }
}

impl AsRef<str> for NodeUrl {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl FromStr for NodeUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_URL {
            return Err(Error::Long(text.len()));
        }
        let shape = |problem| Error::Shape { text: text.to_owned(), problem };
        let url =
            Url::parse(text).map_err(|source| Error::Form { text: text.to_owned(), source })?;
        if url.scheme() != "https" {
            return Err(shape("does not begin with https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(shape("has a user name or password"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(shape("has something behind its host and port"));
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) => Host::Name(name.to_owned()),
            Some(url::Host::Ipv4(address)) => Host::Ip(address.into()),
            Some(url::Host::Ipv6(address)) => Host::Ip(address.into()),
            None => return Err(shape("names no host")),
        };
        let server_name = match &host {
            Host::Ip(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|_| shape("has a host that is no DNS name"))?,
        };
        let port = url.port().unwrap_or(HTTPS_PORT);
        Ok(Self { text: url.as_str().trim_end_matches('/').to_owned(), host, server_name, port })
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_addresses() {
        let read = |text: &str| text.parse::<NodeUrl>().expect("a URL");
        assert_eq!(read("https://Lyon.example:8443/").as_str(), "https://lyon.example:8443");
        assert_eq!(read("https://lyon.example").authority(), "lyon.example:443");
        assert_eq!(read("https://[::1]:8443").authority(), "[::1]:8443");
        assert_eq!(read("https://127.0.0.1:1").host(), Host::Ip([127, 0, 0, 1].into()));
    }

    #[test]
    fn says_what_is_wrong() {
        for text in [
            "lyon:8443",
            "http://lyon",
            "https://",
            "https://a/b",
            "https://u:p@a",
            "https://a?q",
            "https://a_b..c",
            &format!("https://{}", "a".repeat(400)),
        ] {
            assert!(text.parse::<NodeUrl>().is_err(), "{text}");
        }
    }
}
