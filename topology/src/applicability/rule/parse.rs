//! From a rule's text to the rule.

use std::str::FromStr;

use super::super::inventory::Format;
use super::{Bound, FileTest, MAX_DEPTH, MAX_RULE, Operator, Rule, Test};

/// Words that mean something by themselves.
const RESERVED: [&str; 5] = ["and", "or", "not", "value", "sha256"];

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than anyone needs.
    #[error("a rule has at most {MAX_RULE} bytes")]
    Long,
    /// Brackets within brackets without end.
    #[error("a rule has at most {MAX_DEPTH} levels of brackets and `not`")]
    Deep,
    /// Something else stands there.
    #[error("{wanted} is expected at {found:?}")]
    Expected {
        /// What could stand there.
        wanted: &'static str,
        /// What does, cut short.
        found: String,
    },
    /// No hash.
    #[error("{0:?} is no SHA-256 in hexadecimal")]
    Hash(String),
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_RULE {
            return Err(Error::Long);
        }
        let mut reader = Reader { rest: text };
        let rule = reader.any(0)?;
        match reader.peek() {
            "" => Ok(rule),
            _ => Err(reader.expected("`and`, `or` or the end")),
        }
    }
}

/// Whether a word is read back as it is, without quotes.
pub(super) fn is_plain(word: &str) -> bool {
    !word.is_empty() && !word.chars().any(is_special) && !RESERVED.contains(&word)
}

fn is_special(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "()\"<>=".contains(c)
}

/// Reads from the left.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn any(&mut self, depth: usize) -> Result<Rule, Error> {
        let mut rules = vec![self.all(depth)?];
        while self.take("or") {
            rules.push(self.all(depth)?);
        }
        Ok(several(rules, Rule::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Rule, Error> {
        let mut rules = vec![self.one(depth)?];
        while self.take("and") {
            rules.push(self.one(depth)?);
        }
        Ok(several(rules, Rule::All))
    }

    fn one(&mut self, depth: usize) -> Result<Rule, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Deep);
        }
        if self.take("not") {
            return Ok(Rule::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take("(") {
            let rule = self.any(depth + 1)?;
            return if self.take(")") { Ok(rule) } else { Err(self.expected("`)`")) };
        }
        self.test().map(Rule::Test)
    }

    fn test(&mut self) -> Result<Test, Error> {
        const KINDS: &str = "a test such as `os`, `deb`, `rpm`, `file`, `registry`, `product`, `service`, `language`, `architecture` or `fact`";
        let kind = self.peek();
        let known = [
            "os",
            "architecture",
            "language",
            "product",
            "service",
            "deb",
            "rpm",
            "file",
            "registry",
            "fact",
        ];
        if !known.contains(&kind) {
            return Err(self.expected(KINDS));
        }
        self.take(kind);
        let name = self.word("a name")?;
        Ok(match kind {
            "os" => Test::Os(name, self.bound()?),
            "architecture" => Test::Architecture(name),
            "language" => Test::Language(name),
            "product" => Test::Product(name),
            "service" => Test::Service(name),
            "deb" => Test::Package(Format::Deb, name, self.bound()?),
            "rpm" => Test::Package(Format::Rpm, name, self.bound()?),
            "file" => Test::File(name, self.file_test()?),
            "registry" if self.take("value") => {
                let value = self.word("a value's name")?;
                Test::Registry(name, Some((value, self.bound()?)))
            }
            "registry" => Test::Registry(name, None),
            _ if self.take("=") => Test::Fact(name, Some(self.word("a text")?)),
            _ => Test::Fact(name, None),
        })
    }

    fn file_test(&mut self) -> Result<FileTest, Error> {
        if self.take("sha256") {
            let word = self.word("a SHA-256")?;
            let sha256 = word.parse().map_err(|_| Error::Hash(short(&word)))?;
            return Ok(FileTest::Content(sha256));
        }
        Ok(self.bound()?.map_or(FileTest::Exists, FileTest::Version))
    }

    fn bound(&mut self) -> Result<Option<Bound>, Error> {
        let Some(operator) = Operator::ALL.into_iter().find(|one| self.take(one.as_str())) else {
            return Ok(None);
        };
        Ok(Some(Bound { operator, version: self.word("a version")? }))
    }

    /// A plain word or one in quotes.
    fn word(&mut self, wanted: &'static str) -> Result<String, Error> {
        self.rest = self.rest.trim_start();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (word, rest) =
                quoted.split_once('"').ok_or_else(|| self.expected("a closing `\"`"))?;
            if word.is_empty() || word.chars().any(char::is_control) {
                return Err(self.expected(wanted));
            }
            self.rest = rest;
            return Ok(word.to_owned());
        }
        let word = self.peek();
        if !is_plain(word) {
            return Err(self.expected(wanted));
        }
        self.take(word);
        Ok(word.to_owned())
    }

    /// The next word, operator or bracket; empty at the end.
    fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        let is_operator = |c: char| "<>=".contains(c);
        let end = match rest.chars().next() {
            None => 0,
            Some('(' | ')' | '"') => 1,
            Some(c) if is_operator(c) => rest.find(|c| !is_operator(c)).unwrap_or(rest.len()),
            Some(_) => rest.find(is_special).unwrap_or(rest.len()),
        };
        &rest[..end]
    }

    fn take(&mut self, token: &str) -> bool {
        let is_next = !token.is_empty() && self.peek() == token;
        if is_next {
            self.rest = &self.rest.trim_start()[token.len()..];
        }
        is_next
    }

    fn expected(&self, wanted: &'static str) -> Error {
        Error::Expected { wanted, found: short(self.rest.trim_start()) }
    }
}

fn several(mut rules: Vec<Rule>, make: impl Fn(Vec<Rule>) -> Rule) -> Rule {
    match rules.pop() {
        Some(only) if rules.is_empty() => only,
        last => {
            rules.extend(last);
            make(rules)
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
