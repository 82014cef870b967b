//! From the manifest's text to what it says.

use jiff::SignedDuration;
use patchmesh_topology::applicability::rule::{self, MAX_RULE};
use patchmesh_topology::applicability::{Detection, Rule};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::SourceName;
use patchmesh_topology::node::UnknownWord;
use patchmesh_topology::revision::{
    Facts, Installer, InstallerKind, Payload, Reboot, Reference, RevisionId, UpdateId,
};
use patchmesh_topology::view::is_inner_path;
use toml::de::DeTable;

use super::super::fault::{Fault, Faults};
use super::super::references;
use super::fields::{Fields, Notes};
use super::place;
use super::{
    DEFAULT_SUITE, EVERY_ARCHITECTURE, Entry, FORMAT, File, Kind, MAX_ARGUMENT, MAX_DESCRIPTION,
    MAX_FILE, MAX_PAYLOADS, MAX_REVISIONS, MAX_TITLE, MAX_WORD, Manifest, Named,
};
use crate::duration;

/// The longest that an installer may be given.
const MAX_TIME_LIMIT: SignedDuration = SignedDuration::from_hours(24);

/// Reads a manifest of the source `name`.
///
/// # Errors
/// Every fault, not only the first. Where the text is no TOML at all, only
/// that.
pub(in super::super) fn read(bytes: &[u8], name: &SourceName) -> Result<Manifest, Faults> {
    let (manifest, faults) = read_what_can_be(bytes, name)?;
    if faults.is_empty() { Ok(manifest) } else { Err(Faults::new(faults)) }
}

/// Reads as much of a manifest as can be understood, and says what is wrong
/// with the rest.
///
/// # Errors
/// The text is no TOML at all.
pub(in super::super) fn read_what_can_be(
    bytes: &[u8],
    name: &SourceName,
) -> Result<(Manifest, Vec<Fault>), Faults> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        Faults::one(line, "the text is not UTF-8", "save it as UTF-8")
    })?;
    let mut notes = Notes::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(0, |span| notes.line(span.start));
        let what = error.message().lines().collect::<Vec<_>>().join(" ");
        notes.fault(line, format!("this is no TOML: {what}"), "see https://toml.io");
    }
    // What follows would only be about what was not understood.
    if !notes.faults.is_empty() {
        return Err(Faults::new(notes.faults));
    }
    let manifest = document_of(document.get_ref(), name, &mut notes);
    notes.faults.extend(references::local(&manifest, name));
    Ok((manifest, notes.faults))
}

fn document_of(table: &DeTable<'_>, name: &SourceName, notes: &mut Notes) -> Manifest {
    let mut fields = Fields::new(table, "the manifest", 1);
    match fields.required_number(notes, "format") {
        Some((line, format)) if format != FORMAT => notes.fault(
            line,
            format!("format {format} is not known here"),
            format!("write `format = {FORMAT}`, or update this software"),
        ),
        _ => {}
    }
    let mut manifest = Manifest { vendor: String::new(), released: None, revisions: Vec::new() };
    let mut suite = DEFAULT_SUITE;
    if let Some(mut source) = fields.table(notes, "source", "[source]") {
        if let Some((_, vendor)) = source.text(notes, "vendor", MAX_TITLE) {
            vendor.clone_into(&mut manifest.vendor);
        }
        suite = source.text(notes, "suite", MAX_WORD).map_or(suite, |(_, suite)| suite);
        manifest.released = source.time(notes, "released");
        source.finish(notes);
    }
    let mut payloads = 0;
    for table in fields.tables(notes, "revision", "[[revision]]", MAX_REVISIONS) {
        let line = table.line;
        if let Some(entry) = entry(table, name, suite, notes) {
            payloads += entry.payloads.len();
            manifest.revisions.push(entry);
        }
        if payloads > MAX_PAYLOADS {
            notes.fault(
                line,
                format!("the manifest has more than {MAX_PAYLOADS} files"),
                "part it into several sources",
            );
            break;
        }
    }
    fields.finish(notes);
    manifest
}

fn entry(
    mut fields: Fields<'_, '_>,
    source: &SourceName,
    suite: &str,
    notes: &mut Notes,
) -> Option<Entry> {
    let line = fields.line;
    let id = id(&mut fields, source, suite, notes);
    let title = fields.required_text(notes, "title", MAX_TITLE);
    let description = fields.text(notes, "description", MAX_DESCRIPTION);
    let mut architectures = fields.words(notes, "architectures");
    let mut named = references_of(&mut fields, Kind::Supersedes, source, suite, notes);
    named.extend(references_of(&mut fields, Kind::Prerequisite, source, suite, notes));
    let of = |kind| {
        let mut list: Vec<Reference> = named
            .iter()
            .filter(|one: &&Named| one.kind == kind)
            .map(|one| one.reference.clone())
            .collect();
        list.sort();
        list.dedup();
        list
    };
    let installer = installer(&mut fields, notes);
    let kind = installer.as_ref().map_or(InstallerKind::Command, |one| one.kind);
    let mut facts = Facts {
        classification: word(&mut fields, "classification", notes),
        severity: word(&mut fields, "severity", notes),
        products: fields.words(notes, "products"),
        languages: tags(&mut fields, "languages", notes),
        cves: cves(&mut fields, notes),
        articles: fields.words(notes, "articles"),
        supersedes: of(Kind::Supersedes),
        prerequisites: of(Kind::Prerequisite),
        installer,
        detection: detection(&mut fields, kind, notes),
        reboot: word(&mut fields, "reboot", notes).unwrap_or(Reboot::Unknown),
        unsigned: false,
    };
    let mut payloads = Vec::new();
    let tables = fields.tables(notes, "payload", "[[revision.payload]]", MAX_PAYLOADS);
    if tables.is_empty() {
        notes.fault(line, "[[revision]] has no file", "add a [[revision.payload]]");
    }
    if kind == InstallerKind::Rpm && facts.detection.is_some() {
        let what = "[revision.detection] is not for packages of rpm";
        notes.fault(line, what, "leave it out: their versions tell");
    }
    for table in tables {
        let file = file(table, id.as_ref(), kind, notes);
        if let Some(file) = &file {
            check_stated(file, &architectures, &facts.languages, notes);
        }
        payloads.extend(file);
    }
    fields.finish(notes);
    if kind == InstallerKind::Files {
        place::check(line, &payloads, notes);
    }
    if architectures.is_empty() {
        architectures = payloads.iter().map(|file| file.payload.architecture.clone()).collect();
        architectures.sort();
        architectures.dedup();
    }
    // Where every file is for some language, so is the whole.
    let each_has_one = payloads.iter().all(|file| !file.payload.language.is_empty());
    if facts.languages.is_empty() && each_has_one {
        facts.languages = payloads.iter().map(|file| file.payload.language.clone()).collect();
        facts.languages.sort();
        facts.languages.dedup();
    }
    Some(Entry {
        line,
        id: id?,
        title: title?.1.to_owned(),
        description: description.map(|(_, text)| text.to_owned()).unwrap_or_default(),
        architectures,
        facts,
        references: named,
        payloads,
    })
}

/// What a file is for has to be among what its revision is for.
fn check_stated(file: &File, architectures: &[String], languages: &[String], notes: &mut Notes) {
    let Payload { architecture, language, filename, .. } = &file.payload;
    let stated = [
        ("architecture", architecture, architectures, architecture != EVERY_ARCHITECTURE),
        ("language", language, languages, !language.is_empty()),
    ];
    for (kind, word, list, is_narrow) in stated {
        if is_narrow && !list.is_empty() && !list.contains(word) {
            notes.fault(
                file.line,
                format!("{filename:?} is for {kind} {word:?}, which its revision does not name"),
                format!("add it to the revision's {kind}s, or leave those out"),
            );
        }
    }
}

fn id(
    fields: &mut Fields<'_, '_>,
    source: &SourceName,
    suite: &str,
    notes: &mut Notes,
) -> Option<RevisionId> {
    let name = fields.required_text(notes, "id", MAX_WORD);
    let version = fields.required_text(notes, "version", MAX_WORD);
    let ((line, name), (_, version)) = (name?, version?);
    let id = UpdateId::new(source.clone(), suite, name)
        .and_then(|update| RevisionId::new(update, version));
    let advice = "use letters, digits, '.', '-', '_' and '+'";
    id.map_err(|error| notes.fault(line, error.to_string(), advice)).ok()
}

/// A word of a fixed list.
fn word<T: std::str::FromStr<Err = UnknownWord>>(
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    notes: &mut Notes,
) -> Option<T> {
    let (line, text) = fields.text(notes, key, MAX_WORD)?;
    text.parse()
        .map_err(|error: UnknownWord| {
            let what = format!("{:?} is not a {}", error.text, error.kind);
            notes.fault(line, what, format!("use {}", error.allowed));
        })
        .ok()
}

/// Language tags, sorted.
fn tags(fields: &mut Fields<'_, '_>, key: &'static str, notes: &mut Notes) -> Vec<String> {
    let mut tags = Vec::new();
    for (line, text) in fields.texts(notes, key, MAX_WORD) {
        tags.extend(tag(line, text, notes));
    }
    tags.sort();
    tags.dedup();
    tags
}

/// A language tag by its form (RFC 5646): letters first, subtags of at most 8.
fn tag(line: usize, text: &str, notes: &mut Notes) -> Option<String> {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    let is_first = (2..=8).contains(&first.len()) && first.chars().all(|c| c.is_ascii_alphabetic());
    let fits = |part: &str| {
        (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    if is_first && parts.all(fits) {
        return Some(text.to_owned());
    }
    notes.fault(line, format!("{text:?} is no language tag"), "write such as fr, fr-FR or zh-Hant");
    None
}

fn cves(fields: &mut Fields<'_, '_>, notes: &mut Notes) -> Vec<String> {
    let mut cves = Vec::new();
    for (line, text) in fields.texts(notes, "cves", MAX_WORD) {
        let digits =
            |part: &str, least| part.len() >= least && part.chars().all(|c| c.is_ascii_digit());
        let parts: Vec<&str> = text.split('-').collect();
        match parts.as_slice() {
            ["CVE", year, number] if digits(year, 4) && digits(number, 4) => {
                cves.push(text.to_owned());
            }
            _ => notes.fault(line, format!("{text:?} is no CVE"), "write such as CVE-2024-21338"),
        }
    }
    cves.sort();
    cves.dedup();
    cves
}

/// What a revision refers to. Within the source and suite `NAME` or
/// `NAME@VERSION` is enough.
fn references_of(
    fields: &mut Fields<'_, '_>,
    kind: Kind,
    source: &SourceName,
    suite: &str,
    notes: &mut Notes,
) -> Vec<Named> {
    let key = match kind {
        Kind::Supersedes => "supersedes",
        Kind::Prerequisite => "prerequisites",
    };
    let mut found = Vec::new();
    for (line, text) in fields.texts(notes, key, MAX_FILE) {
        let whole =
            if text.contains(':') { text.to_owned() } else { format!("{source}:{suite}/{text}") };
        match whole.parse() {
            Ok(reference) => found.push(Named { line, kind, reference }),
            Err(_) => notes.fault(
                line,
                format!("{text:?} names no update"),
                "write NAME, NAME@VERSION or SOURCE:SUITE/NAME@VERSION",
            ),
        }
    }
    found
}

fn installer(fields: &mut Fields<'_, '_>, notes: &mut Notes) -> Option<Installer> {
    let mut fields = fields.table(notes, "installer", "[revision.installer]")?;
    let arguments = |fields: &mut Fields<'_, '_>, key, notes: &mut Notes| -> Vec<String> {
        let texts = fields.texts(notes, key, MAX_ARGUMENT);
        texts.into_iter().map(|(_, text)| text.to_owned()).collect()
    };
    let installer = Installer {
        kind: word(&mut fields, "kind", notes).unwrap_or(InstallerKind::Command),
        install: arguments(&mut fields, "install", notes),
        remove: arguments(&mut fields, "remove", notes),
        success: fields.numbers(notes, "success"),
        reboot: fields.numbers(notes, "reboot"),
        retry: fields.numbers(notes, "retry"),
        time_limit: time_limit(&mut fields, notes),
    };
    let bare = Installer { kind: installer.kind, ..Installer::default() };
    if installer.kind != InstallerKind::Command {
        if installer != bare {
            let kind = installer.kind;
            let what = format!("[revision.installer] of the kind {kind} says how it is called");
            let remedy = match kind {
                InstallerKind::Rpm => "leave all but the kind out: rpm is called by itself",
                _ => "leave all but the kind out: nothing is called",
            };
            notes.fault(fields.line, what, remedy);
        }
    } else if installer.install.is_empty() {
        let remedy = "add `install = [\"PROGRAM\", \"{payload}\", …]`, or leave the installer out";
        notes.fault(fields.line, "[revision.installer] has no install", remedy);
    }
    fields.finish(notes);
    Some(installer)
}

/// How to tell whether it is needed and installed.
fn detection(
    fields: &mut Fields<'_, '_>,
    kind: InstallerKind,
    notes: &mut Notes,
) -> Option<Detection> {
    let mut fields = fields.table(notes, "detection", "[revision.detection]")?;
    let rule = |notes: &mut Notes, key: &str, (line, text): (usize, &str)| {
        let advice = "write such as `file \"C:/a.dll\" >= 10.0.3 and not os debian`";
        text.parse::<Rule>()
            .map_err(|error: rule::Error| notes.fault(line, format!("{key}: {error}"), advice))
            .ok()
    };
    let stated = fields.text(notes, "applies", MAX_RULE);
    let applies = stated.and_then(|stated| rule(notes, "applies", stated));
    // Files that are put in place tell without it.
    let tells = kind == InstallerKind::Files;
    let stated = match tells {
        true => fields.text(notes, "installed", MAX_RULE),
        false => fields.required_text(notes, "installed", MAX_RULE),
    };
    let installed = stated.and_then(|stated| rule(notes, "installed", stated));
    fields.finish(notes);
    // With neither it says nothing.
    let says = installed.is_some() || (tells && applies.is_some());
    says.then_some(Detection { applies, installed })
}

fn time_limit(fields: &mut Fields<'_, '_>, notes: &mut Notes) -> Option<SignedDuration> {
    let (line, text) = fields.text(notes, "time_limit", MAX_WORD)?;
    let read = duration::parse(text).ok().and_then(|limit| SignedDuration::try_from(limit).ok());
    match read {
        // The model counts in whole seconds.
        Some(limit) if limit >= SignedDuration::from_secs(1) && limit <= MAX_TIME_LIMIT => {
            Some(SignedDuration::from_secs(limit.as_secs()))
        }
        _ => {
            let what = format!("{text:?} is no time limit");
            notes.fault(line, what, "write 1s to 24h, such as 30m");
            None
        }
    }
}

fn file(
    mut fields: Fields<'_, '_>,
    id: Option<&RevisionId>,
    kind: InstallerKind,
    notes: &mut Notes,
) -> Option<File> {
    let line = fields.line;
    let filename = filename(&mut fields, notes);
    let sha256 = fields.required_text(notes, "sha256", MAX_WORD).and_then(|(line, text)| {
        let read = text.to_ascii_lowercase().parse::<Sha256>();
        read.map_err(|error| {
            notes.fault(line, format!("sha256: {error}"), "copy it from `sha256sum FILE`");
        })
        .ok()
    });
    let length = fields.required_number(notes, "length").and_then(|(line, length)| {
        let read = u64::try_from(length);
        read.map_err(|_| notes.fault(line, "length is below zero", "write the file's bytes")).ok()
    });
    let architecture =
        fields.text(notes, "architecture", MAX_WORD).map_or(EVERY_ARCHITECTURE, |(_, text)| {
            if text.is_empty() { EVERY_ARCHITECTURE } else { text }
        });
    let language = match fields.text(notes, "language", MAX_WORD) {
        None | Some((_, "")) => String::new(),
        Some((line, text)) => tag(line, text, notes)?,
    };
    let id = id?;
    let own = (id.update.name.clone(), id.version.clone());
    let (package, version) = match kind {
        InstallerKind::Rpm => rpm(&mut fields, own, notes)?,
        InstallerKind::Command | InstallerKind::Files => own,
    };
    let place = match kind {
        InstallerKind::Files => Some(place::place(&mut fields, notes)),
        InstallerKind::Command | InstallerKind::Rpm => {
            place::none(&mut fields, notes);
            None
        }
    };
    fields.finish(notes);
    let place = match place {
        Some(place) => Some(Box::new(place?)),
        None => None,
    };
    Some(File {
        line,
        payload: Payload {
            package,
            version,
            architecture: architecture.to_owned(),
            component: String::new(),
            filename: filename?,
            length: length?,
            sha256: sha256?,
            control: String::new(),
            language,
            place,
        },
    })
}

/// Name and version of a package of rpm, as its header has them; those of the revision
/// where the file states none.
fn rpm(
    fields: &mut Fields<'_, '_>,
    own: (String, String),
    notes: &mut Notes,
) -> Option<(String, String)> {
    let package = fields.text(notes, "package", MAX_WORD).map_or(own.0, |(_, text)| text.into());
    let stated = fields.text(notes, "version", MAX_WORD);
    let (line, version) = stated.map_or((fields.line, own.1), |(line, text)| (line, text.into()));
    let parts: Vec<&str> = version.split('-').collect();
    if let [version, release] = parts[..]
        && !version.is_empty()
        && !release.is_empty()
    {
        return Some((package, format!("{version}-{release}")));
    }
    let what = format!("{version:?} is no version of an RPM package");
    let remedy = "write VERSION-RELEASE or EPOCH:VERSION-RELEASE, as `rpm -qp FILE` says";
    notes.fault(line, what, remedy);
    None
}

fn filename(fields: &mut Fields<'_, '_>, notes: &mut Notes) -> Option<String> {
    let (line, text) = fields.required_text(notes, "file", MAX_FILE)?;
    if is_inner_path(text) {
        return Some(text.to_owned());
    }
    notes.fault(
        line,
        format!("{text:?} does not stay inside the folder"),
        "write its path below the folder, with '/' between steps and without '.' or '..'",
    );
    None
}
