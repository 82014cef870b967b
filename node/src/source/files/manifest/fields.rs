//! Reading tables field by field: what is wrong is noted, and the rest is read.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::fault::Fault;
use super::{MAX_LIST, MAX_WORD};

/// Notes faults, and knows which line an offset is in.
pub(super) struct Notes {
    /// Where each line begins.
    lines: Vec<usize>,
    pub(super) faults: Vec<Fault>,
}

impl Notes {
    pub(super) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { lines, faults: Vec::new() }
    }

    /// The line of an offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= offset)
    }

    pub(super) fn fault(
        &mut self,
        line: usize,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.faults.push(Fault::new(line, what, remedy));
    }
}

/// A table that is read field by field.
pub(super) struct Fields<'a, 't> {
    table: &'a DeTable<'t>,
    /// What it is, such as `[[revision]]`.
    name: &'static str,
    /// Where it begins.
    pub(super) line: usize,
    known: BTreeSet<&'static str>,
}

impl<'a, 't> Fields<'a, 't> {
    pub(super) fn new(table: &'a DeTable<'t>, name: &'static str, line: usize) -> Self {
        Self { table, name, line, known: BTreeSet::new() }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.known.insert(key);
        self.table.get(key)
    }

    /// Whether a field stands there, whatever it is.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A field that has to be there.
    fn required<T>(&self, notes: &mut Notes, key: &str, found: Option<T>) -> Option<T> {
        if found.is_none() && !self.table.contains_key(key) {
            notes.fault(
                self.line,
                format!("{} has no {key}", self.name),
                format!("add `{key} = …`"),
            );
        }
        found
    }

    /// A value of some kind with its line; one of another kind is a fault.
    fn value<T>(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        kind: &str,
        read: impl Fn(&'a DeValue<'t>) -> Option<T>,
    ) -> Option<(usize, T)> {
        let value = self.get(key)?;
        let line = notes.line(value.span().start);
        match read(value.get_ref()) {
            Some(found) => Some((line, found)),
            None => {
                let found = value.get_ref().type_str();
                notes.fault(line, format!("{key} is of type {found}"), format!("write {kind}"));
                None
            }
        }
    }

    /// A text with its line, trimmed at its end, of at most `limit` bytes.
    pub(super) fn text(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        limit: usize,
    ) -> Option<(usize, &'a str)> {
        let (line, text) = self.value(notes, key, "a text in quotes", |value| value.as_str())?;
        check_text(notes, line, key, text.trim_end(), limit).map(|text| (line, text))
    }

    pub(super) fn required_text(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        limit: usize,
    ) -> Option<(usize, &'a str)> {
        let found = self.text(notes, key, limit);
        let found = self.required(notes, key, found)?;
        if found.1.is_empty() {
            notes.fault(found.0, format!("{key} is empty"), "write it out");
            return None;
        }
        Some(found)
    }

    /// A whole number with its line.
    pub(super) fn number(&mut self, notes: &mut Notes, key: &'static str) -> Option<(usize, i64)> {
        self.value(notes, key, "a whole number", integer)
    }

    pub(super) fn required_number(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
    ) -> Option<(usize, i64)> {
        let found = self.number(notes, key);
        self.required(notes, key, found)
    }

    /// Exit codes.
    pub(super) fn numbers(&mut self, notes: &mut Notes, key: &'static str) -> Vec<i32> {
        let list = self.list(notes, key, "whole numbers", integer);
        let mut numbers = Vec::new();
        for (line, number) in list {
            match i32::try_from(number) {
                Ok(number) => numbers.push(number),
                Err(_) => notes.fault(line, format!("{number} is no exit code"), "use 32 bits"),
            }
        }
        numbers
    }

    /// A time with its line.
    pub(super) fn time(&mut self, notes: &mut Notes, key: &'static str) -> Option<jiff::Timestamp> {
        let kind = "a time with its offset, such as 2026-11-23T10:00:00Z";
        let read = |value: &DeValue<'_>| match value {
            DeValue::Datetime(time) => Some(time.to_string()),
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        };
        let (line, text) = self.value(notes, key, kind, read)?;
        text.parse()
            .map_err(|_| {
                notes.fault(line, format!("{key} is no moment in time"), format!("write {kind}"));
            })
            .ok()
    }

    /// Texts, each with its line, none of them empty.
    pub(super) fn texts(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        limit: usize,
    ) -> Vec<(usize, &'a str)> {
        let list = self.list(notes, key, "texts in quotes", |value| value.as_str());
        let mut texts = Vec::new();
        for (line, text) in list {
            if text.is_empty() {
                notes.fault(line, format!("{key} has an empty text"), "remove it");
            } else if let Some(text) = check_text(notes, line, key, text, limit) {
                texts.push((line, text));
            }
        }
        texts
    }

    /// Words: sorted, none twice, without blanks at the ends.
    pub(super) fn words(&mut self, notes: &mut Notes, key: &'static str) -> Vec<String> {
        let mut words: Vec<String> = self
            .texts(notes, key, MAX_WORD)
            .iter()
            .map(|(_, text)| text.trim().to_owned())
            .collect();
        words.sort();
        words.dedup();
        words
    }

    fn list<T>(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        kind: &str,
        read: impl Fn(&'a DeValue<'t>) -> Option<T>,
    ) -> Vec<(usize, T)> {
        let wanted = format!("a list of {kind} in brackets");
        let Some((line, list)) = self.value(notes, key, &wanted, DeValue::as_array) else {
            return Vec::new();
        };
        if list.len() > MAX_LIST {
            let what = format!("{key} has {} entries, more than {MAX_LIST}", list.len());
            notes.fault(line, what, "shorten it");
            return Vec::new();
        }
        let mut found = Vec::new();
        for value in list.iter() {
            let line = notes.line(value.span().start);
            match read(value.get_ref()) {
                Some(entry) => found.push((line, entry)),
                None => {
                    let what = format!("{key} has a value of type {}", value.get_ref().type_str());
                    notes.fault(line, what, format!("write {wanted}"));
                }
            }
        }
        found
    }

    /// A table within this one.
    pub(super) fn table(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        name: &'static str,
    ) -> Option<Fields<'a, 't>> {
        let (line, table) =
            self.value(notes, key, &format!("a table, {name}"), DeValue::as_table)?;
        Some(Fields::new(table, name, line))
    }

    /// Tables within this one, at most `limit`.
    pub(super) fn tables(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        name: &'static str,
        limit: usize,
    ) -> Vec<Fields<'a, 't>> {
        let Some((line, list)) =
            self.value(notes, key, &format!("tables, {name} each"), DeValue::as_array)
        else {
            return Vec::new();
        };
        if list.len() > limit {
            let what = format!("{} times {name}, more than {limit}", list.len());
            notes.fault(line, what, "part it into several sources");
            return Vec::new();
        }
        let mut tables = Vec::new();
        for value in list.iter() {
            let line = notes.line(value.span().start);
            match value.get_ref().as_table() {
                Some(table) => tables.push(Fields::new(table, name, line)),
                None => notes.fault(line, format!("{key} is no table"), format!("write {name}")),
            }
        }
        tables
    }

    /// Notes the fields that nobody asked for.
    pub(super) fn finish(self, notes: &mut Notes) {
        for key in self.table.keys() {
            let text = key.get_ref().as_ref();
            if self.known.contains(text) {
                continue;
            }
            let line = notes.line(key.span().start);
            let known: Vec<&str> = self.known.iter().copied().collect();
            let remedy = match nearest(text, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("remove it; {} has {}", self.name, known.join(", ")),
            };
            notes.fault(line, format!("{} has no field {text:?}", self.name), remedy);
        }
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

/// Lines and tabs are for descriptions; other control characters for nobody.
fn check_text<'a>(
    notes: &mut Notes,
    line: usize,
    key: &str,
    text: &'a str,
    limit: usize,
) -> Option<&'a str> {
    let is_long = limit == super::MAX_DESCRIPTION;
    let odd = |c: char| c.is_control() && !(is_long && matches!(c, '\n' | '\r' | '\t'));
    if text.chars().any(odd) {
        notes.fault(line, format!("{key} has a control character"), "remove it");
        return None;
    }
    if text.len() > limit {
        let what = format!("{key} has {} bytes, more than {limit}", text.len());
        notes.fault(line, what, "shorten it");
        return None;
    }
    Some(text)
}

/// The known word that differs by a letter or two, if there is one.
fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|word| (distance(text, word), *word)).min()?;
    (best.0 <= 2 && best.0 < best.1.len()).then_some(best.1)
}

/// Levenshtein's, of short words.
fn distance(one: &str, other: &str) -> usize {
    if one.len() > MAX_WORD {
        return usize::MAX;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, c) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (at, d) in other.iter().enumerate() {
            let change = diagonal + usize::from(c != *d);
            diagonal = row[at + 1];
            row[at + 1] = change.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
