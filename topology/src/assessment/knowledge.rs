//! What feeds say, and what of it concerns which revision.
//!
//! Feeds name vulnerabilities (KEV, EPSS), or say which version of a package
//! or which article mends which of them (OSV, CSAF). [`Knowledge::assess`]
//! turns that into the assessment of one revision. A revision mends what was
//! mended in any version up to its own.
//!
//! The same statements in whatever order give the same assessments.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::civil::Date;

use super::{
    Assessment, CveId, Cvss, Epss, Exploited, Judgement, MAX_LINKS, Share, Stated, Vulnerability,
};
use crate::debian::version::compare;
use crate::revision::{Facts, RevisionId, Severity};

/// Who states what a revision says itself.
pub const VENDOR: &str = "vendor";
/// Who states that something is exploited.
pub const KEV: &str = "kev";
/// Who states how likely an exploit is.
pub const EPSS: &str = "epss";

/// The releases of distributions, and the word that begins their suites.
const RELEASES: &[(&str, &str)] = &[
    ("Debian:9", "stretch"),
    ("Debian:10", "buster"),
    ("Debian:11", "bullseye"),
    ("Debian:12", "bookworm"),
    ("Debian:13", "trixie"),
    ("Debian:14", "forky"),
    ("Ubuntu:16.04", "xenial"),
    ("Ubuntu:18.04", "bionic"),
    ("Ubuntu:20.04", "focal"),
    ("Ubuntu:22.04", "jammy"),
    ("Ubuntu:24.04", "noble"),
    ("Ubuntu:26.04", "resolute"),
];

/// How bad a vulnerability is, as somebody states it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rating {
    /// In words.
    pub severity: Option<Severity>,
    /// By its nature.
    pub cvss: Option<Cvss>,
}

/// What mends vulnerabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A source package from some version on.
    Package {
        /// Such as `Debian:12` or `Debian`, as OSV names ecosystems, or with a
        /// code name, such as `Debian:bookworm`.
        distribution: String,
        /// The source package.
        name: String,
        /// The first version that mends.
        version: String,
    },
    /// A vendor's article, such as `KB5034441`.
    Article(String),
}

/// Which vulnerabilities something mends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What mends them.
    pub remedy: Remedy,
    /// What is mended.
    pub cves: BTreeSet<CveId>,
}

/// What one advisory of a vendor or distribution says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// Its name, such as `osv/DSA-5678-1`.
    pub source: String,
    /// The vulnerabilities that it rates.
    pub ratings: BTreeMap<CveId, Rating>,
    /// What mends which.
    pub fixes: Vec<Fix>,
}

/// The likelihoods of one day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Likelihoods {
    /// The day; `None` where nothing is known.
    pub date: Option<Date>,
    /// Probability and percentile, sorted by vulnerability.
    pub rows: Vec<(CveId, Share, Share)>,
}

impl Likelihoods {
    fn get(&self, cve: CveId) -> Option<Epss> {
        let index = self.rows.binary_search_by_key(&cve, |row| row.0).ok()?;
        let (_, score, percentile) = *self.rows.get(index)?;
        Some(Epss { score, percentile, date: self.date? })
    }
}

/// What a revision states itself, as far as assessing has to know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VendorFacts {
    /// The vendor's rating.
    pub severity: Option<Severity>,
    /// The vulnerabilities that the vendor names.
    pub cves: BTreeSet<CveId>,
    /// The vendor's articles.
    pub articles: Vec<String>,
}

impl VendorFacts {
    /// What `facts` say; texts that name no vulnerability are passed over.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        Self {
            severity: facts.severity,
            cves: facts.cves.iter().filter_map(|text| text.parse().ok()).collect(),
            articles: facts.articles.clone(),
        }
    }

    /// Whether nothing is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything that feeds said, ready to be asked.
#[derive(Debug, Default)]
pub struct Knowledge {
    exploited: BTreeMap<CveId, Exploited>,
    likelihoods: Likelihoods,
    statements: Vec<Statement>,
    /// Places of fixes: statement and fix.
    by_package: HashMap<String, Vec<(usize, usize)>>,
    by_article: HashMap<String, Vec<(usize, usize)>>,
    by_cve: HashMap<CveId, Vec<usize>>,
}

impl Knowledge {
    /// Puts together what feeds said.
    #[must_use]
    pub fn new(
        exploited: BTreeMap<CveId, Exploited>,
        likelihoods: Likelihoods,
        mut statements: Vec<Statement>,
    ) -> Self {
        statements.sort_by(|a, b| a.source.cmp(&b.source));
        let mut this = Self { exploited, likelihoods, ..Self::default() };
        for (number, statement) in statements.iter().enumerate() {
            for cve in statement.ratings.keys() {
                this.by_cve.entry(*cve).or_default().push(number);
            }
            for (index, fix) in statement.fixes.iter().enumerate() {
                let places = match &fix.remedy {
                    Remedy::Package { name, .. } => this.by_package.entry(name.clone()),
                    Remedy::Article(article) => this.by_article.entry(article.clone()),
                };
                places.or_default().push((number, index));
            }
        }
        this.statements = statements;
        this
    }

    /// What is known and judged of a revision. Empty where that is nothing.
    #[must_use]
    pub fn assess(
        &self,
        id: &RevisionId,
        facts: &VendorFacts,
        judgement: Option<Judgement>,
    ) -> Assessment {
        let mut links: BTreeMap<CveId, BTreeSet<String>> = BTreeMap::new();
        for cve in &facts.cves {
            links.entry(*cve).or_default().insert(VENDOR.to_owned());
        }
        let articles = facts.articles.iter().filter_map(|article| self.by_article.get(article));
        let packages = self.by_package.get(&id.update.name);
        let places = articles.chain(packages).flatten();
        let fixes = places.filter_map(|(number, index)| {
            let statement = self.statements.get(*number)?;
            Some((statement, statement.fixes.get(*index)?))
        });
        for (statement, fix) in fixes.filter(|(_, fix)| fix.remedy.is_in(id)) {
            for cve in &fix.cves {
                let of_cve = links.entry(*cve).or_default();
                if of_cve.len() < MAX_LINKS {
                    of_cve.insert(statement.source.clone());
                }
            }
        }
        let vulnerabilities =
            links.into_iter().map(|(cve, links)| (cve, self.vulnerability(cve, links))).collect();
        let mut assessment =
            Assessment { vendor: facts.severity, vulnerabilities, omitted: 0, judgement };
        assessment.trim();
        assessment
    }

    /// What is known of a vulnerability, whatever mends it.
    #[must_use]
    pub fn vulnerability(&self, cve: CveId, links: BTreeSet<String>) -> Vulnerability {
        let statements = self.by_cve.get(&cve).into_iter().flatten();
        let rated = statements.filter_map(|number| {
            let statement = self.statements.get(*number)?;
            Some((&statement.source, statement.ratings.get(&cve)?))
        });
        let (mut severity, mut cvss) = (None::<Stated<Severity>>, None::<Stated<Cvss>>);
        // In the order of their names, so that of equals the first stays.
        for (source, rating) in rated {
            let stated = |old: Option<bool>| old.unwrap_or(true);
            if let Some(what) = rating.severity
                && stated(severity.as_ref().map(|old| what > old.what))
            {
                severity = Some(Stated { what, source: source.clone() });
            }
            if let Some(what) = &rating.cvss
                && stated(cvss.as_ref().map(|old| what.score > old.what.score))
            {
                cvss = Some(Stated { what: what.clone(), source: source.clone() });
            }
        }
        let exploited = self.exploited.get(&cve).cloned();
        let epss = self.likelihoods.get(cve);
        Vulnerability {
            severity,
            cvss,
            exploited: exploited.map(|what| Stated { what, source: KEV.to_owned() }),
            epss: epss.map(|what| Stated { what, source: EPSS.to_owned() }),
            links,
        }
    }

    /// Whether any feed says something of `cve`.
    #[must_use]
    pub fn knows(&self, cve: CveId) -> bool {
        self.exploited.contains_key(&cve)
            || self.by_cve.contains_key(&cve)
            || self.likelihoods.get(cve).is_some()
    }
}

impl Remedy {
    /// Whether the revision has it. What the vendor's articles name was looked
    /// up by them.
    fn is_in(&self, id: &RevisionId) -> bool {
        match self {
            Self::Article(_) => true,
            Self::Package { distribution, version, .. } => {
                match relation(distribution, &id.update.suite) {
                    Relation::Same => reaches(&id.version, version),
                    // Versions of different releases can't be compared, but the very
                    // version is the very package.
                    Relation::Unknown => id.version == *version,
                    Relation::Other => false,
                }
            }
        }
    }
}

/// How a distribution's release and a suite go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Same,
    Unknown,
    Other,
}

fn relation(distribution: &str, suite: &str) -> Relation {
    // `Debian` alone means every release, `Debian:` one that was not named.
    let Some((family, release)) = distribution.split_once(':') else { return Relation::Same };
    // A suite is `bookworm`, `bookworm-security`, `bookworm/updates`, …
    let word = suite.split(['-', '/']).next().unwrap_or_default();
    let Some((known, _)) = RELEASES.iter().find(|(_, name)| *name == word) else {
        return Relation::Unknown;
    };
    let of_family = known.strip_prefix(family).and_then(|rest| rest.strip_prefix(':'));
    // Ubuntu's releases may be followed by `:LTS`.
    let number = release.split(':').next().unwrap_or_default();
    match of_family {
        Some(_) if release.is_empty() => Relation::Unknown,
        Some(found) if number == found || number == word => Relation::Same,
        _ => Relation::Other,
    }
}

/// Whether `version` is `fixed` or later.
fn reaches(version: &str, fixed: &str) -> bool {
    compare(version, fixed) != Ordering::Less
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    use super::*;
    use crate::assessment::Score;
    use crate::assessment::tests::cve;

    fn id(text: &str) -> RevisionId {
        text.parse().expect("a revision")
    }

    fn fixed(distribution: &str, name: &str, version: &str, numbers: &[u64]) -> Statement {
        let [distribution, name, version] = [distribution, name, version].map(str::to_owned);
        let source = format!("osv/{name}-{version}");
        let remedy = Remedy::Package { distribution, name, version };
        let cves: BTreeSet<_> = numbers.iter().copied().map(cve).collect();
        let rating = Rating {
            severity: None,
            cvss: Some(Cvss { score: Score::from_tenths(75), vector: String::new() }),
        };
        let ratings = cves.iter().map(|cve| (*cve, rating.clone())).collect();
        Statement { source, ratings, fixes: vec![Fix { remedy, cves }] }
    }

    fn mended(statements: Vec<Statement>, revision: &str) -> Vec<u64> {
        let knowledge = Knowledge::new(BTreeMap::new(), Likelihoods::default(), statements);
        let assessment = knowledge.assess(&id(revision), &VendorFacts::default(), None);
        assessment.vulnerabilities.keys().map(|cve| cve.number()).collect()
    }

    #[test]
    fn a_revision_mends_what_was_mended_up_to_its_version() {
        let all = || {
            vec![
                fixed("Debian:12", "openssl", "3.0.13-1~deb12u1", &[1]),
                fixed("Debian:12", "openssl", "3.0.15-1~deb12u1", &[2]),
                fixed("Debian:12", "openssl", "3.0.16-1~deb12u1", &[3]),
                fixed("Debian:11", "openssl", "1.1.1w-0", &[4]),
                fixed("Debian:12", "curl", "1", &[5]),
            ]
        };
        let of = |revision| mended(all(), revision);
        assert_eq!(of("deb:bookworm-security/openssl@3.0.15-1~deb12u1"), [1, 2]);
        assert_eq!(of("deb:bookworm/openssl@3.0.13-1~deb12u1"), [1]);
        assert_eq!(of("deb:trixie/openssl@3.5.0-1"), []);
        assert_eq!(of("deb:bullseye/openssl@1.1.1w-0"), [4]);
    }

    #[test]
    fn a_suite_of_no_known_release_takes_only_the_very_version() {
        let statements = vec![
            fixed("Debian:12", "tool", "1.0-1", &[1]),
            fixed("Debian:12", "tool", "2.0-1", &[2]),
            fixed("Debian", "tool", "1.5-1", &[3]),
        ];
        assert_eq!(mended(statements, "inhouse:stable/tool@2.0-1"), [2, 3]);
    }

    #[test]
    fn suites_and_releases() {
        assert_eq!(relation("Ubuntu:22.04:LTS", "jammy-security"), Relation::Same);
        assert_eq!(relation("Ubuntu:22.04", "jammy"), Relation::Same);
        assert_eq!(relation("Debian:1", "bookworm"), Relation::Other);
        assert_eq!(relation("Debian:12", "stable"), Relation::Unknown);
        assert_eq!(relation("Debian:bookworm", "bookworm-updates"), Relation::Same);
        assert_eq!(relation("Debian:", "bookworm"), Relation::Unknown);
        assert_eq!(relation("Ubuntu:12", "bookworm"), Relation::Other);
    }

    #[test]
    fn facts_come_with_their_sources() {
        let exploited =
            Exploited { added: date(2024, 3, 4), due: Some(date(2024, 3, 25)), ransomware: true };
        let score = Share::from_number(0.94).expect("a share");
        let likelihoods =
            Likelihoods { date: Some(date(2024, 4, 1)), rows: vec![(cve(21338), score, score)] };
        let article = Statement {
            source: "csaf/2024-Feb".to_owned(),
            ratings: [(cve(21338), Rating { severity: Some(Severity::Important), cvss: None })]
                .into(),
            fixes: vec![Fix {
                remedy: Remedy::Article("KB5034763".to_owned()),
                cves: [cve(21338)].into(),
            }],
        };
        let known = [(cve(21338), exploited.clone())].into();
        let knowledge = Knowledge::new(known, likelihoods, vec![article]);
        let facts = VendorFacts {
            severity: Some(Severity::Critical),
            cves: [cve(9)].into(),
            articles: vec!["KB5034763".to_owned()],
        };
        let assessment = knowledge.assess(&id("windows:2024/kb@1"), &facts, None);
        assert_eq!(assessment.vendor, Some(Severity::Critical));
        let one = &assessment.vulnerabilities[&cve(21338)];
        let exploited = Stated { what: exploited, source: KEV.to_owned() };
        assert_eq!(one.exploited.as_ref(), Some(&exploited));
        assert_eq!(one.epss.as_ref().map(|epss| epss.what.score), Some(score));
        assert_eq!(one.severity.as_ref().map(|one| one.source.as_str()), Some("csaf/2024-Feb"));
        assert_eq!(one.links, ["csaf/2024-Feb".to_owned()].into());
        let named = &assessment.vulnerabilities[&cve(9)];
        assert_eq!(named.links, [VENDOR.to_owned()].into());
        assert!(!knowledge.knows(cve(9)) && knowledge.knows(cve(21338)));
    }

    #[test]
    fn what_nobody_knows_has_no_assessment() {
        let knowledge = Knowledge::default();
        let assessment = knowledge.assess(&id("a:b/c@1"), &VendorFacts::default(), None);
        assert!(assessment.is_empty());
    }

    fn statements() -> impl Strategy<Value = Vec<Statement>> {
        let one = ("[ab]", "[1-3]\\.[0-9]", proptest::collection::vec(1..9u64, 1..3))
            .prop_map(|(name, version, cves)| fixed("Debian", &name, &version, &cves));
        proptest::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn the_order_of_statements_does_not_matter(statements in statements()) {
            let mut backwards = statements.clone();
            backwards.reverse();
            let of = |statements| {
                let knowledge =
                    Knowledge::new(BTreeMap::new(), Likelihoods::default(), statements);
                knowledge.assess(&id("v:s/a@2.5"), &VendorFacts::default(), None)
            };
            let (one, other) = (of(statements), of(backwards));
            let keys = |one: &Assessment| one.vulnerabilities.keys().copied().collect::<Vec<_>>();
            prop_assert_eq!(keys(&one), keys(&other));
        }
    }
}
