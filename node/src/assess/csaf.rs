//! Security advisories of vendors in the Common Security Advisory Framework,
//! version 2, as JSON.
//!
//! <https://docs.oasis-open.org/csaf/csaf/v2.0/csaf-v2.0.html>. One document a
//! file. A vulnerability concerns the revisions whose vendor names its CVE;
//! those of a Debian or Ubuntu source package that a package URL names as
//! fixed; and those of an article (`KB…`) that a remedy names.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchmesh_topology::assessment::cvss::base_score;
use patchmesh_topology::assessment::knowledge::{Fix, Rating, Remedy, Statement};
use patchmesh_topology::assessment::{CveId, Cvss, Score};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::osv::{Dated, severity};
use super::{Error, at_most, json, word};

/// The most vulnerabilities of a document; a month of the largest vendor has
/// some hundred.
const MAX_VULNERABILITIES: usize = 20_000;
/// The most entries of any other list; product trees repeat themselves.
const MAX_LIST: usize = 200_000;

#[derive(Deserialize)]
struct File {
    document: Document,
    #[serde(default)]
    product_tree: Tree,
    #[serde(default)]
    vulnerabilities: Vec<Vulnerability>,
}

#[derive(Deserialize)]
struct Document {
    csaf_version: String,
    tracking: Tracking,
}

#[derive(Deserialize)]
struct Tracking {
    id: String,
    #[serde(default)]
    current_release_date: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tree {
    branches: Vec<Branch>,
    full_product_names: Vec<Product>,
    relationships: Vec<Relationship>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Branch {
    branches: Vec<Branch>,
    product: Option<Product>,
}

#[derive(Deserialize)]
struct Product {
    product_id: String,
    #[serde(default)]
    product_identification_helper: Helper,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Helper {
    purl: Option<String>,
}

#[derive(Deserialize)]
struct Relationship {
    product_reference: String,
    full_product_name: Product,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Vulnerability {
    cve: Option<String>,
    scores: Vec<Scores>,
    threats: Vec<Threat>,
    product_status: Status,
    remediations: Vec<Remediation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Scores {
    cvss_v2: Option<Rated>,
    cvss_v3: Option<Rated>,
    cvss_v4: Option<Rated>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rated {
    base_score: Option<f64>,
    vector_string: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Threat {
    category: String,
    details: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    fixed: Vec<String>,
    first_fixed: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Remediation {
    category: String,
    details: String,
    url: Option<String>,
}

/// Reads a document.
///
/// # Errors
/// Why nothing of it counts.
pub fn read(bytes: &[u8]) -> Result<Dated, Error> {
    let file: File = json(bytes)?;
    let version = &file.document.csaf_version;
    if !version.starts_with("2.") {
        let shown: String = version.chars().take(20).collect();
        let what = format!("is {shown:?}; this software reads CSAF 2");
        return Err(Error::entry("document.csaf_version", what));
    }
    let tracking = &file.document.tracking;
    let id = word(&tracking.id, || "document.tracking.id".to_owned())?;
    let released = tracking
        .current_release_date
        .as_deref()
        .map(|text| text.parse::<Timestamp>())
        .transpose()
        .map_err(|_| Error::entry("document.tracking.current_release_date", "is no time"))?;
    at_most(&file.vulnerabilities, MAX_VULNERABILITIES, || "vulnerabilities".to_owned())?;
    let packages = packages(&file.product_tree)?;
    let mut statement = Statement { source: format!("csaf/{id}"), ..Statement::default() };
    let mut mended: BTreeMap<Key, BTreeSet<CveId>> = BTreeMap::new();
    for (index, one) in file.vulnerabilities.iter().enumerate() {
        let place = |field: &str| format!("vulnerabilities[{index}].{field}");
        // Vendors describe some by ids of their own alone.
        let Some(cve) = one.cve.as_deref() else { continue };
        let cve: CveId = cve.parse().map_err(|error| Error::entry(place("cve"), error))?;
        let rating = rating(one, &place)?;
        if rating != Rating::default() {
            statement.ratings.insert(cve, rating);
        }
        for key in keys(one, &packages, &place)? {
            mended.entry(key).or_default().insert(cve);
        }
    }
    statement.fixes =
        mended.into_iter().map(|(key, cves)| Fix { remedy: key.into(), cves }).collect();
    Ok((statement, released))
}

/// A remedy that sorts, so that vulnerabilities with the same one share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Article(String),
    Package { distribution: String, name: String, version: String },
}

impl From<Key> for Remedy {
    fn from(key: Key) -> Self {
        match key {
            Key::Article(article) => Self::Article(article),
            Key::Package { distribution, name, version } => {
                Self::Package { distribution, name, version }
            }
        }
    }
}

/// Products that are Debian or Ubuntu source packages, by their ids.
fn packages(tree: &Tree) -> Result<BTreeMap<&str, Key>, Error> {
    at_most(&tree.relationships, MAX_LIST, || "product_tree.relationships".to_owned())?;
    let mut products: Vec<&Product> = tree.full_product_names.iter().collect();
    let mut branches: Vec<&Branch> = tree.branches.iter().collect();
    while let Some(branch) = branches.pop() {
        products.extend(&branch.product);
        branches.extend(&branch.branches);
        if products.len() + branches.len() > MAX_LIST {
            return Err(Error::Many { place: "product_tree".to_owned(), limit: MAX_LIST });
        }
    }
    let mut found: BTreeMap<&str, Key> = products
        .into_iter()
        .filter_map(|product| {
            let purl = product.product_identification_helper.purl.as_deref()?;
            Some((product.product_id.as_str(), package(purl)?))
        })
        .collect();
    // A package as part of a product has an id of its own.
    for relationship in &tree.relationships {
        let own = relationship.full_product_name.product_identification_helper.purl.as_deref();
        let key = own
            .and_then(package)
            .or_else(|| found.get(relationship.product_reference.as_str()).cloned());
        if let Some(key) = key {
            found.insert(&relationship.full_product_name.product_id, key);
        }
    }
    Ok(found)
}

/// `pkg:deb/debian/openssl@3.0.15-1~deb12u1?arch=source&distro=bookworm`
fn package(purl: &str) -> Option<Key> {
    let rest = purl.strip_prefix("pkg:deb/")?;
    let (path, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
    let (path, version) = path.split_once('@')?;
    let (vendor, name) = path.split_once('/')?;
    let family = match vendor {
        "debian" => "Debian",
        "ubuntu" => "Ubuntu",
        _ => return None,
    };
    let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
    let qualifiers = qualifiers.split('#').next().unwrap_or_default();
    let qualifier = |name: &str| {
        let mut pairs = qualifiers.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).and_then(|(_, value)| decode(value))
    };
    // A binary package names its source package, if it has another name.
    let upstream = qualifier("upstream");
    let name = match upstream.as_deref().and_then(|text| text.split('@').next()) {
        Some(source) => source.to_owned(),
        None => decode(name)?,
    };
    let version = decode(version)?;
    let release = qualifier("distro").unwrap_or_default();
    let prefix = format!("{}-", family.to_lowercase());
    let release = release.strip_prefix(&prefix).unwrap_or(&release).to_owned();
    let is_word = |text: &str| word(text, String::new).is_ok();
    if !is_word(&name) || !is_word(&version) || release.len() > 40 {
        return None;
    }
    Some(Key::Package { distribution: format!("{family}:{release}"), name, version })
}

fn keys(
    one: &Vulnerability,
    packages: &BTreeMap<&str, Key>,
    place: &impl Fn(&str) -> String,
) -> Result<BTreeSet<Key>, Error> {
    let status = &one.product_status;
    for list in [&status.fixed, &status.first_fixed] {
        at_most(list, MAX_LIST, || place("product_status"))?;
    }
    at_most(&one.remediations, MAX_LIST, || place("remediations"))?;
    let products = status.fixed.iter().chain(&status.first_fixed);
    let mut keys: BTreeSet<Key> =
        products.filter_map(|product| packages.get(product.as_str()).cloned()).collect();
    let fixes = one.remediations.iter().filter(|one| one.category == "vendor_fix");
    for fix in fixes {
        let texts = [Some(fix.details.as_str()), fix.url.as_deref()];
        keys.extend(texts.into_iter().flatten().flat_map(articles).map(Key::Article));
    }
    Ok(keys)
}

/// Every `KB` with six to eight digits behind it.
fn articles(text: &str) -> Vec<String> {
    let places = text.match_indices("KB").map(|(place, _)| &text[place + 2..]);
    places
        .filter_map(|rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (6..=8).contains(&digits).then(|| format!("KB{}", &rest[..digits]))
        })
        .collect()
}

fn rating(one: &Vulnerability, place: &impl Fn(&str) -> String) -> Result<Rating, Error> {
    at_most(&one.scores, MAX_LIST, || place("scores"))?;
    at_most(&one.threats, MAX_LIST, || place("threats"))?;
    let mut worst: Option<Cvss> = None;
    for (index, scores) in one.scores.iter().enumerate() {
        // A score of version 2 only counts where there is no newer one.
        let newer = scores.cvss_v4.iter().chain(&scores.cvss_v3);
        let rated = newer.chain(scores.cvss_v2.iter().filter(|_| scores.cvss_v3.is_none()));
        for rated in rated {
            let place = |field: &str| place(&format!("scores[{index}].{field}"));
            let vector = match rated.vector_string.as_str() {
                "" => String::new(),
                text => word(text, || place("vectorString"))?,
            };
            let score = match rated.base_score {
                Some(number) => Some(Score::from_number(number).ok_or_else(|| {
                    Error::entry(place("baseScore"), format!("{number} is no score from 0 to 10"))
                })?),
                None => base_score(&vector),
            };
            if worst.as_ref().is_none_or(|known| score > known.score) {
                worst = Some(Cvss { score, vector });
            }
        }
    }
    let impacts = one.threats.iter().filter(|threat| threat.category == "impact");
    let severity = impacts.filter_map(|threat| severity(&threat.details)).max();
    Ok(Rating { severity, cvss: worst })
}

#[cfg(test)]
mod tests {
    use patchmesh_topology::revision::Severity;

    use super::*;
    use crate::assess::samples;

    fn cve(text: &str) -> CveId {
        text.parse().expect("a CVE")
    }

    #[test]
    fn reads_an_advisory() {
        let (statement, released) = read(samples::CSAF.as_bytes()).expect("an advisory");
        assert_eq!(statement.source, "csaf/EX-2024-001");
        assert!(released.is_some());
        let rating = &statement.ratings[&cve("CVE-2024-21338")];
        assert_eq!(rating.severity, Some(Severity::Important));
        let score = rating.cvss.as_ref().and_then(|cvss| cvss.score);
        assert_eq!(score.map(Score::tenths), Some(78));
        let article = Remedy::Article("KB5034763".to_owned());
        let package = Remedy::Package {
            distribution: "Debian:bookworm".to_owned(),
            name: "openssl".to_owned(),
            version: "3.0.15-1~deb12u1".to_owned(),
        };
        let expected = [
            Fix { remedy: article, cves: [cve("CVE-2024-21338")].into() },
            Fix { remedy: package, cves: [cve("CVE-2024-5535")].into() },
        ];
        assert_eq!(statement.fixes, expected);
    }

    #[test]
    fn an_advisory_that_was_cut_is_refused_wherever() {
        let whole = samples::CSAF.trim_end().as_bytes();
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(Error::Cut)), "cut to {length}");
        }
    }

    #[test]
    fn says_what_is_wrong_where() {
        let wrong = |from: &str, to: &str| {
            let text = samples::CSAF.replace(from, to);
            assert_ne!(text, samples::CSAF, "{from}");
            read(text.as_bytes()).expect_err("refused").to_string()
        };
        assert!(wrong("\"2.0\"", "\"1.2\"").starts_with("document.csaf_version"));
        assert!(wrong("EX-2024-001", "").starts_with("document.tracking.id"));
        assert!(wrong("\"CVE-2024-5535\"", "\"CVE-5535\"").starts_with("vulnerabilities[1].cve"));
        let said = wrong("7.8", "78");
        assert!(said.starts_with("vulnerabilities[0].scores[0].baseScore"), "{said}");
        assert!(wrong("7.8", "1e999").contains("line"));
    }

    #[test]
    fn a_nested_tree_has_a_bound() {
        let mut text = samples::CSAF.to_owned();
        let deep = format!("{}{}", "{\"branches\": [".repeat(100_000), "]}".repeat(100_000));
        text = text.replacen("\"branches\": [", &format!("\"branches\": [{deep},"), 1);
        assert!(matches!(read(text.as_bytes()), Err(Error::Form { .. })));
    }

    #[test]
    fn package_urls() {
        let read = |purl: &str| match package(purl)? {
            Key::Package { distribution, name, version } => Some([distribution, name, version]),
            Key::Article(_) => None,
        };
        let found =
            read("pkg:deb/debian/libssl3@3.0.15-1~deb12u1?upstream=openssl&distro=debian-12");
        assert_eq!(found, Some(["Debian:12", "openssl", "3.0.15-1~deb12u1"].map(str::to_owned)));
        let found = read("pkg:deb/ubuntu/g%2B%2B@4%3A13?arch=source");
        assert_eq!(found, Some(["Ubuntu:", "g++", "4:13"].map(str::to_owned)));
        for other in ["pkg:rpm/redhat/openssl@3", "pkg:deb/debian/openssl", "", "pkg:deb/debian/@"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn articles_are_found_in_texts() {
        let text = "see KB5034763, KB1, KB123456789 and https://x.example/?q=KB5034441";
        assert_eq!(articles(text), ["KB5034763", "KB5034441"]);
    }
}
