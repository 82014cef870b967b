//! What a signed `Release` says, and whether it may be believed now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use patchmesh_topology::digest::Sha256;

use super::config::{Config, Suite};
use super::stanza::{Fault, Stanza};
use super::{Error, SyncState};
use crate::openpgp::CLOCK_SKEW;
use crate::source::http::Expected;

/// A parsed `Release`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) origin: String,
    pub(super) label: String,
    pub(super) suite: String,
    pub(super) codename: String,
    pub(super) version: String,
    pub(super) date: Timestamp,
    pub(super) valid_until: Option<Timestamp>,
    pub(super) by_hash: bool,
    components: Vec<String>,
    architectures: Vec<String>,
    /// Whether `all` packages stand in each architecture's own index too.
    all_in_each: bool,
    files: BTreeMap<String, Expected>,
}

/// How an index is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Packing {
    Xz,
    Zstd,
    Gzip,
    Plain,
}

impl Packing {
    const ALL: [Self; 4] = [Self::Xz, Self::Zstd, Self::Gzip, Self::Plain];

    fn suffix(self) -> &'static str {
        match self {
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::Plain => "",
        }
    }
}

/// One file that an index is offered as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// Below the suite's directory.
    pub(super) path: String,
    pub(super) packing: Packing,
    pub(super) expected: Expected,
}

/// One index that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    /// The component it belongs to; empty in a flat repository.
    pub(super) component: String,
    /// What it unpacks to, where that is stated.
    pub(super) unpacked: Option<u64>,
    /// The forms it is offered in, best first; never empty.
    pub(super) offers: Vec<Offer>,
}

impl Release {
    /// Reads signed text. `url` names it in errors.
    pub(super) fn parse(text: &str, url: &str) -> Result<Self, Error> {
        let malformed = |Fault { line, what }| Error::Malformed {
            file: url.to_owned(),
            paragraph: 1,
            line,
            what,
        };
        let text = text.trim_end();
        if let Some(line) = text.lines().position(str::is_empty) {
            let what = "a Release has one paragraph only".to_owned();
            return Err(malformed(Fault { line: line as u64 + 1, what }));
        }
        let stanza = Stanza { text: format!("{text}\n"), line: 1, number: 1 };
        let mut fields = BTreeMap::new();
        let mut files = BTreeMap::new();
        for field in stanza.fields() {
            let field = field.map_err(malformed)?;
            if field.name.eq_ignore_ascii_case("SHA256") {
                files = hashes(field.raw, field.line).map_err(malformed)?;
            }
            if fields.insert(field.name.to_ascii_lowercase(), field.value).is_some() {
                let what = format!("field {} stands here a second time", field.name);
                return Err(malformed(Fault { line: field.line, what }));
            }
        }
        let text = |name: &str| fields.get(name).map_or("", |value| value);
        let words =
            |name: &str| text(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let time = |name: &'static str| match fields.get(name) {
            None => Ok(None),
            Some(value) => date(value).map(Some).ok_or_else(|| Error::Field {
                url: url.to_owned(),
                field: name,
                what: format!("{value:?} is no date"),
            }),
        };
        let missing =
            |field, what: &str| Error::Field { url: url.to_owned(), field, what: what.to_owned() };
        if !fields.contains_key("sha256") {
            return Err(missing("sha256", "it is missing, so no index could be verified"));
        }
        Ok(Self {
            origin: text("origin").to_owned(),
            label: text("label").to_owned(),
            suite: text("suite").to_owned(),
            codename: text("codename").to_owned(),
            version: text("version").to_owned(),
            date: time("date")?.ok_or_else(|| {
                missing("date", "it is missing, so an old Release could not be told")
            })?,
            valid_until: time("valid-until")?,
            by_hash: text("acquire-by-hash").eq_ignore_ascii_case("yes"),
            components: words("components"),
            architectures: words("architectures"),
            all_in_each: text("no-support-for-architecture-all").eq_ignore_ascii_case("packages"),
            files,
        })
    }

    /// Whether it is the wanted suite, fresh, and not older than what was
    /// accepted before.
    pub(super) fn check(
        &self,
        config: &Config,
        state: &SyncState,
        url: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.check_name(config, url)?;
        if self.date > now + CLOCK_SKEW {
            return Err(Error::Future { url: url.to_owned(), date: self.date });
        }
        if let Some(at) = self.valid_until.filter(|&at| at < now) {
            return Err(Error::Expired { url: url.to_owned(), at });
        }
        match state.release_date {
            Some(accepted) if self.date < accepted => {
                Err(Error::Rollback { url: url.to_owned(), date: self.date, accepted })
            }
            _ => Ok(()),
        }
    }

    /// A vendor signs all suites with one key, so the name has to fit, or a
    /// mirror could serve another suite in this one's place.
    fn check_name(&self, config: &Config, url: &str) -> Result<(), Error> {
        let expected = match (&config.release_name, &config.suite) {
            (Some(name), _) => name,
            (None, Suite::Named(name)) => name,
            (None, Suite::Flat(_)) => return Ok(()),
        };
        let own: Vec<&str> = [&self.suite, &self.codename]
            .map(String::as_str)
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect();
        // Some vendors call `bookworm/updates` just `bookworm`.
        let fits = |name: &&str| {
            *name == expected
                || config.release_name.is_none() && expected.split('/').any(|step| step == *name)
        };
        if own.is_empty() && config.release_name.is_none() || own.iter().any(fits) {
            return Ok(());
        }
        Err(Error::OtherSuite {
            url: url.to_owned(),
            expected: expected.clone(),
            found: own.join(" or "),
        })
    }

    /// The indices that a source needs.
    pub(super) fn indices(&self, config: &Config, url: &str) -> Result<Vec<Index>, Error> {
        if let Suite::Flat(_) = config.suite {
            return Ok(vec![self.index("Packages", "").ok_or_else(|| no_index(url, "Packages"))?]);
        }
        let offered = |kind, wanted: &String, offered: &[String]| {
            // Old suites write `updates/main` for `main`.
            let fits = |own: &String| own == wanted || own.ends_with(&format!("/{wanted}"));
            if offered.is_empty() || offered.iter().any(fits) {
                return Ok(());
            }
            let offered = offered.join(", ");
            Err(Error::NotOffered { url: url.to_owned(), kind, wanted: wanted.clone(), offered })
        };
        let mut indices = Vec::new();
        for component in &config.components {
            offered("component", component, &self.components)?;
            for architecture in &config.architectures {
                if architecture != "all" {
                    offered("architecture", architecture, &self.architectures)?;
                }
                let path = format!("{component}/binary-{architecture}/Packages");
                match self.index(&path, component) {
                    Some(index) => indices.push(index),
                    None if architecture == "all" => {}
                    None => return Err(no_index(url, &path)),
                }
            }
            let apart = self.architectures.iter().any(|name| name == "all") && !self.all_in_each;
            if apart && !config.architectures.iter().any(|name| name == "all") {
                indices.extend(self.index(&format!("{component}/binary-all/Packages"), component));
            }
        }
        Ok(indices)
    }

    fn index(&self, path: &str, component: &str) -> Option<Index> {
        let mut offers: Vec<Offer> = Packing::ALL
            .into_iter()
            .filter_map(|packing| {
                let path = format!("{path}{}", packing.suffix());
                let expected = *self.files.get(&path)?;
                Some(Offer { path, packing, expected })
            })
            .collect();
        // Most vendors list the plain form without serving it, so it comes last.
        offers.sort_by_key(|offer| (offer.packing == Packing::Plain, offer.expected.length));
        let unpacked = self.files.get(path).map(|expected| expected.length);
        (!offers.is_empty()).then(|| Index { component: component.to_owned(), unpacked, offers })
    }
}

fn no_index(url: &str, path: &str) -> Error {
    Error::NoIndex { url: url.to_owned(), path: path.to_owned() }
}

/// Reads the lines `HASH LENGTH PATH` of a `SHA256` field.
fn hashes(raw: &str, line: u64) -> Result<BTreeMap<String, Expected>, Fault> {
    let mut files = BTreeMap::new();
    for (offset, text) in raw.lines().enumerate().skip(1) {
        let fault = |what: &str| Fault { line: line + offset as u64, what: what.to_owned() };
        let mut words = text.split_whitespace();
        let (Some(hash), Some(length), Some(path), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(fault("this is not HASH LENGTH PATH"));
        };
        let sha256 = hash.parse::<Sha256>().map_err(|error| fault(&error.to_string()))?;
        let length = length.parse().map_err(|_| fault("the length is no number"))?;
        // Flat repositories made by hand write `./Packages`.
        let path = path.strip_prefix("./").unwrap_or(path);
        if files
            .insert(path.to_owned(), Expected { length, sha256 })
            .is_some_and(|other| other.sha256 != sha256)
        {
            return Err(fault("this file has two different hashes"));
        }
    }
    Ok(files)
}

/// Reads dates such as `Sat, 10 Feb 2024 11:07:25 UTC`.
fn date(text: &str) -> Option<Timestamp> {
    // The day's name is often wrong in dates made by hand and says nothing more.
    let text = text.split_once(',').map_or(text, |(_, rest)| rest).trim();
    let text = match text.rsplit_once(' ') {
        Some((rest, "UTC" | "Z" | "GMT" | "UT")) => format!("{rest} +0000"),
        _ => text.to_owned(),
    };
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<Release, Error> {
        Release::parse(text, "http://x/InRelease")
    }

    #[test]
    fn reads_dates_as_vendors_write_them() {
        let expected = "2024-02-03T11:07:25Z".parse().ok();
        for text in [
            "Sat, 03 Feb 2024 11:07:25 UTC",
            "Sat,  3 Feb 2024 11:07:25 UTC",
            "Mon, 3 Feb 2024 12:07:25 +0100",
            "3 Feb 2024 11:07:25 GMT",
        ] {
            assert_eq!(date(text), expected, "{text}");
        }
        assert_eq!(date("yesterday"), None);
    }

    #[test]
    fn reads_a_release() {
        let text = format!(
            "Suite: stable\nCodename: bookworm\nDate: Sat, 03 Feb 2024 11:07:25 UTC\n\
             Acquire-By-Hash: yes\nArchitectures: all amd64\nComponents: main contrib\n\
             SHA256:\n {HASH}  90 main/binary-amd64/Packages\n {HASH} 30 main/binary-amd64/Packages.gz\n \
             {HASH} 20 main/binary-amd64/Packages.xz\n {HASH} 0 main/binary-all/Packages\n"
        );
        let release = parse(&text).expect("a Release");
        assert!(release.by_hash);
        let index = release.index("main/binary-amd64/Packages", "main").expect("an index");
        assert_eq!(index.unpacked, Some(90));
        let packings: Vec<_> = index.offers.iter().map(|offer| offer.packing).collect();
        assert_eq!(packings, [Packing::Xz, Packing::Gzip, Packing::Plain]);
    }

    #[test]
    fn names_what_is_wrong() {
        let base = "Date: Sat, 03 Feb 2024 11:07:25 UTC\n";
        assert!(matches!(parse(base), Err(Error::Field { field: "sha256", .. })));
        assert!(matches!(parse("SHA256:\n"), Err(Error::Field { field: "date", .. })));
        assert!(matches!(parse("Date: x\nSHA256:\n"), Err(Error::Field { field: "date", .. })));
        let line = |text: &str| match parse(&format!("{base}{text}")) {
            Err(Error::Malformed { line, .. }) => line,
            other => panic!("{text:?} gave {other:?}"),
        };
        assert_eq!(line("SHA256:\n abc 1 x\n"), 3);
        assert_eq!(line(&format!("SHA256:\n {HASH} one x\n")), 3);
        assert_eq!(line(&format!("SHA256:\n {HASH} 1\n")), 3);
        assert_eq!(line("SHA256:\nSHA256:\n"), 3);
        assert_eq!(line("SHA256:\n\nSuite: other\n"), 3);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(?s)((Date|SHA256|Suite|Valid-Until):)?.{0,40}\n?.{0,40}") {
            let _ = parse(&text);
            let _ = date(&text);
        }
    }
}
