//! Rules over the facts of a machine, as vendors write them.
//!
//! ```text
//! os debian >= 12 and (deb nginx < 1.24-1 or not product nginx-plus)
//! ```
//!
//! | test | holds on a machine |
//! |---|---|
//! | `os NAME [OP VERSION]` | with that system (`ID` and `VERSION_ID` of os-release) |
//! | `architecture NAME` | that runs it |
//! | `language TAG` | with that language; `fr` takes `fr-CA` too |
//! | `product NAME` | with that product |
//! | `service NAME` | where that service begins with the system |
//! | `deb NAME [OP VERSION]`, `rpm …` | with that package, versions in its manager's order |
//! | `file PATH` | with that file |
//! | `file PATH OP VERSION` | whose file states such a version |
//! | `file PATH sha256 HEX` | whose file has that content |
//! | `registry KEY` | with that key |
//! | `registry KEY value NAME [OP TEXT]` | with that value |
//! | `fact NAME [= TEXT]` | whose administrator states that |
//!
//! `OP` is one of `<`, `<=`, `=`, `>=`, `>`. `not` binds closer than `and`, and
//! that closer than `or`. A word with blanks, brackets or operators stands in
//! double quotes, within which nothing is special. Versions of systems, files and
//! registry values are numbers divided by dots.

mod parse;

use std::cmp::Ordering;
use std::fmt;

use super::inventory::Format;
use crate::digest::Sha256;

pub use parse::Error;

/// The longest rule, in bytes.
pub const MAX_RULE: usize = 4096;

/// The deepest that rules stand within rules.
pub const MAX_DEPTH: usize = 16;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Every one of them; at least two.
    All(Vec<Rule>),
    /// One of them at least; at least two.
    Any(Vec<Rule>),
    /// The contrary.
    Not(Box<Rule>),
    /// One fact.
    Test(Test),
}

/// Something that is asked of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Its operating system.
    Os(String, Option<Bound>),
    /// What it runs.
    Architecture(String),
    /// What its users speak.
    Language(String),
    /// What is on it.
    Product(String),
    /// What begins with it.
    Service(String),
    /// A package.
    Package(Format, String, Option<Bound>),
    /// A file.
    File(String, FileTest),
    /// A registry key, and perhaps a value of it.
    Registry(String, Option<(String, Option<Bound>)>),
    /// What its administrator states.
    Fact(String, Option<String>),
}

/// What is asked of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileTest {
    /// That it is there.
    Exists,
    /// That it states such a version.
    Version(Bound),
    /// That it has this content.
    Content(Sha256),
}

/// A version, and how others have to stand to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// How.
    pub operator: Operator,
    /// To what.
    pub version: String,
}

/// How one thing has to stand to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    Greater,
}

impl Operator {
    /// All of them, the longer ones first.
    const ALL: [Self; 5] = [Self::AtMost, Self::AtLeast, Self::Less, Self::Equal, Self::Greater];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::AtLeast => ">=",
            Self::Greater => ">",
        }
    }

    /// Whether what stands so will do.
    #[must_use]
    pub const fn allows(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::AtLeast => order.is_ge(),
            Self::Greater => order.is_gt(),
        }
    }
}

impl Rule {
    /// Calls `see` with every test of the rule.
    pub fn for_each_test<'a>(&'a self, see: &mut impl FnMut(&'a Test)) {
        match self {
            Self::All(rules) | Self::Any(rules) => {
                rules.iter().for_each(|rule| rule.for_each_test(see));
            }
            Self::Not(rule) => rule.for_each_test(see),
            Self::Test(test) => see(test),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(rules) => {
                joined(f, rules, " and ", |rule| matches!(rule, Self::All(_) | Self::Any(_)))
            }
            Self::Any(rules) => joined(f, rules, " or ", |rule| matches!(rule, Self::Any(_))),
            Self::Not(rule) => {
                f.write_str("not ")?;
                bracketed(f, rule, matches!(**rule, Self::All(_) | Self::Any(_)))
            }
            Self::Test(test) => test.fmt(f),
        }
    }
}

fn joined(
    f: &mut fmt::Formatter<'_>,
    rules: &[Rule],
    word: &str,
    needs_brackets: impl Fn(&Rule) -> bool,
) -> fmt::Result {
    for (index, rule) in rules.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        bracketed(f, rule, needs_brackets(rule))?;
    }
    Ok(())
}

fn bracketed(f: &mut fmt::Formatter<'_>, rule: &Rule, brackets: bool) -> fmt::Result {
    if brackets { write!(f, "({rule})") } else { write!(f, "{rule}") }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |f: &mut fmt::Formatter<'_>, bound: &Option<Bound>| match bound {
            Some(bound) => write!(f, " {bound}"),
            None => Ok(()),
        };
        match self {
            Self::Os(name, version) => {
                write!(f, "os {}", Word(name))?;
                bound(f, version)
            }
            Self::Architecture(name) => write!(f, "architecture {}", Word(name)),
            Self::Language(tag) => write!(f, "language {}", Word(tag)),
            Self::Product(name) => write!(f, "product {}", Word(name)),
            Self::Service(name) => write!(f, "service {}", Word(name)),
            Self::Package(format, name, version) => {
                write!(f, "{format} {}", Word(name))?;
                bound(f, version)
            }
            Self::File(path, FileTest::Exists) => write!(f, "file {}", Word(path)),
            Self::File(path, FileTest::Version(version)) => {
                write!(f, "file {} {version}", Word(path))
            }
            Self::File(path, FileTest::Content(sha256)) => {
                write!(f, "file {} sha256 {sha256}", Word(path))
            }
            Self::Registry(key, value) => {
                write!(f, "registry {}", Word(key))?;
                let Some((name, version)) = value else { return Ok(()) };
                write!(f, " value {}", Word(name))?;
                bound(f, version)
            }
            Self::Fact(name, None) => write!(f, "fact {}", Word(name)),
            Self::Fact(name, Some(text)) => write!(f, "fact {} = {}", Word(name), Word(text)),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operator.as_str(), Word(&self.version))
    }
}

/// A word as it is written: in quotes where it could be read otherwise.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if parse::is_plain(self.0) { f.write_str(self.0) } else { write!(f, "\"{}\"", self.0) }
    }
}
