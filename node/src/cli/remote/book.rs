//! The user's list of other nodes: `remotes.toml` in the user's configuration
//! folder, or the file that `PATCHMESH_REMOTES` names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cli::exit::Exit;
use crate::durable;
use crate::transport::address::NodeUrl;

/// Every remote by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Book {
    #[serde(default)]
    pub(crate) remotes: BTreeMap<String, Entry>,
}

/// One remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) url: NodeUrl,
    /// A folder with `ca.pem`, `cert.pem` and `key.pem`.
    pub(crate) credentials: PathBuf,
}

impl Book {
    /// The user's book; an empty one where there is none yet.
    pub(crate) fn load() -> anyhow::Result<Self> {
        match location(|name| std::env::var_os(name)) {
            None => Ok(Self::default()),
            Some(path) => Self::read(&path),
        }
    }

    /// Writes the user's book as a whole.
    pub(crate) fn save(&self) -> anyhow::Result<PathBuf> {
        let path = location(|name| std::env::var_os(name)).ok_or_else(|| {
            Exit::Usage
                .error("no place for remotes: set HOME, XDG_CONFIG_HOME or PATCHMESH_REMOTES")
        })?;
        self.write(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        toml::from_str(&text).map_err(|error| {
            Exit::Usage.error(format!("{}: {}", path.display(), error.to_string().trim_end()))
        })
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        durable::make_folder(folder)?;
        Ok(durable::replace(path, toml::to_string_pretty(self)?.as_bytes(), durable::SECRET)?)
    }
}

fn location(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = set("PATCHMESH_REMOTES") {
        return Some(file);
    }
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("patchmesh").join("remotes.toml"))
}

fn as_text<S: serde::Serializer>(url: &NodeUrl, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(url.as_str())
}

fn from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<NodeUrl, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/remotes.toml");
        assert_eq!(Book::read(&path).expect("empty"), Book::default());
        let entry = Entry {
            url: "https://hq.example:8443".parse().expect("a URL"),
            credentials: "/home/ada/hq".into(),
        };
        let book = Book { remotes: BTreeMap::from([("hq".to_owned(), entry)]) };
        book.write(&path).expect("written");
        assert_eq!(Book::read(&path).expect("read"), book);
        std::fs::write(&path, "[remotes.hq]\nurl = 'http://x'\ncredentials = '/'\n")
            .expect("a file");
        let error = Book::read(&path).expect_err("refused").to_string();
        assert!(error.contains("remotes.toml") && error.contains("https://"), "{error}");
    }

    #[test]
    fn the_place_follows_the_environment() {
        let with = |pairs: &'static [(&str, &str)]| {
            location(move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            })
        };
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("HOME", "/h")]), Some("/h/.config/patchmesh/remotes.toml".into()));
        assert_eq!(
            with(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]),
            Some("/x/patchmesh/remotes.toml".into())
        );
        assert_eq!(with(&[("HOME", "/h"), ("PATCHMESH_REMOTES", "/r")]), Some("/r".into()));
    }
}
