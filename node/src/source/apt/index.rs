//! Reading one `Packages` index: unpacking within a cap, and stanzas into
//! payloads.
//!
//! Everything here blocks; run it off the async threads.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use patchmesh_topology::digest::Sha256;
use patchmesh_topology::revision::Payload;

use super::Error;
use super::release::Packing;
use super::stanza::{self, Fault, Field, Stanza};

/// What an xz or zstd stream may ask of memory. `xz -9` takes 65 MiB.
const MAX_WINDOW: u64 = 128 << 20;

/// The most characters in a package's name, version or file name.
const MAX_TEXT: usize = 1024;

/// Fields that say where the file lies and what it hashes to; a view has its own.
const LOCATION: [&str; 7] = ["Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512", "SHA384"];

/// A verified index file in the cache.
#[derive(Debug, Clone)]
pub(super) struct IndexFile {
    /// Its path in the repository, for errors.
    pub(super) name: String,
    /// Its component.
    pub(super) component: String,
    /// Where it is on disk.
    pub(super) path: PathBuf,
    /// How it is packed.
    pub(super) packing: Packing,
    /// What it has to unpack to, where that is stated.
    pub(super) unpacked: Option<u64>,
    /// What it may unpack to at most.
    pub(super) cap: u64,
}

/// A binary package and the source package it was built from.
#[derive(Debug)]
pub(super) struct Binary {
    /// The source package's name.
    pub(super) source: String,
    /// The source package's version.
    pub(super) source_version: String,
    /// The package itself.
    pub(super) payload: Payload,
}

/// Hands each package of an index to `take`.
pub(super) fn read(
    index: &IndexFile,
    mut take: impl FnMut(Binary) -> Result<(), Error>,
) -> Result<(), Error> {
    let unpack = |source| Error::Unpack { file: index.name.clone(), source };
    let plain = open(index).map_err(unpack)?;
    let mut reader = stanza::Reader::new(BufReader::with_capacity(
        1 << 16,
        Capped { inner: plain, read: 0, cap: index.cap },
    ));
    loop {
        let stanza = match reader.next() {
            Ok(Some(stanza)) => stanza,
            Ok(None) => break,
            Err(stanza::Error::Long(fault)) => return Err(malformed(index, 0, fault)),
            Err(stanza::Error::Io(error))
                if error.get_ref().is_some_and(|inner| inner.is::<OverCap>()) =>
            {
                return Err(Error::UnpackedLong { file: index.name.clone(), cap: index.cap });
            }
            Err(stanza::Error::Io(error)) => return Err(unpack(error)),
        };
        take(
            binary(&stanza, &index.component)
                .map_err(|fault| malformed(index, stanza.number, fault))?,
        )?;
    }
    let got = reader.into_inner().into_inner().read;
    match index.unpacked {
        Some(expected) if expected != got => {
            Err(Error::UnpackedLength { file: index.name.clone(), expected, got })
        }
        _ => Ok(()),
    }
}

fn malformed(index: &IndexFile, paragraph: u64, fault: Fault) -> Error {
    Error::Malformed { file: index.name.clone(), paragraph, line: fault.line, what: fault.what }
}

fn open(index: &IndexFile) -> io::Result<Box<dyn Read>> {
    let file = BufReader::with_capacity(1 << 16, File::open(&index.path)?);
    Ok(match index.packing {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Packing::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                MAX_WINDOW,
                liblzma::stream::CONCATENATED,
            )?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(file, stream))
        }
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            decoder.window_log_max(MAX_WINDOW.ilog2())?;
            Box::new(decoder)
        }
    })
}

/// Stops a stream that goes on beyond its cap.
struct Capped<R> {
    inner: R,
    read: u64,
    cap: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("over the cap")]
struct OverCap;

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        if self.read > self.cap { Err(io::Error::other(OverCap)) } else { Ok(read) }
    }
}

/// Reads one stanza as a package.
fn binary(stanza: &Stanza, component: &str) -> Result<Binary, Fault> {
    let line = stanza.line;
    let mut known = Known::default();
    let mut control = String::with_capacity(stanza.text.len());
    for field in stanza.fields() {
        let field = field?;
        if let Some(slot) = known.slot(field.name) {
            if slot.is_some() {
                return Err(fault(field, "stands here a second time"));
            }
            *slot = Some(field);
        }
        if !LOCATION.iter().any(|name| name.eq_ignore_ascii_case(field.name)) {
            control.push_str(field.raw);
        }
    }
    control.shrink_to_fit();
    let package = need(known.package, "Package", line).map(str::to_owned)?;
    let version = need(known.version, "Version", line).map(str::to_owned)?;
    let architecture = need(known.architecture, "Architecture", line).map(str::to_owned)?;
    let filename = need(known.filename, "Filename", line).map(str::to_owned)?;
    let length =
        need(known.size, "Size", line)?.parse().map_err(|_| worded(known.size, "is no number"))?;
    let sha256 = need(known.sha256, "SHA256", line)?
        .parse::<Sha256>()
        .map_err(|error| worded(known.sha256, &error.to_string()))?;
    let (source, source_version) = match known.source {
        Some(field) => split_source(field, &version)?,
        None => (package.clone(), version.clone()),
    };
    for (text, field, fits) in [
        (&package, known.package, is_name as fn(&str) -> bool),
        (&architecture, known.architecture, is_name),
        (&source, known.source, is_name),
        (&version, known.version, is_version),
        (&source_version, known.source, is_version),
        (&filename, known.filename, is_safe_path),
    ] {
        if !fits(text) {
            return Err(worded(field, &format!("cannot be {text:?}")));
        }
    }
    let component = component.to_owned();
    let payload = Payload {
        package,
        version,
        architecture,
        component,
        filename,
        length,
        sha256,
        control,
        language: String::new(),
        place: None,
    };
    Ok(Binary { source, source_version, payload })
}

/// The fields that matter here.
#[derive(Default)]
struct Known<'a> {
    package: Option<Field<'a>>,
    version: Option<Field<'a>>,
    architecture: Option<Field<'a>>,
    source: Option<Field<'a>>,
    filename: Option<Field<'a>>,
    size: Option<Field<'a>>,
    sha256: Option<Field<'a>>,
}

impl<'a> Known<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<Field<'a>>> {
        let slots = [
            ("Package", &mut self.package),
            ("Version", &mut self.version),
            ("Architecture", &mut self.architecture),
            ("Source", &mut self.source),
            ("Filename", &mut self.filename),
            ("Size", &mut self.size),
            ("SHA256", &mut self.sha256),
        ];
        slots.into_iter().find_map(|(own, slot)| own.eq_ignore_ascii_case(name).then_some(slot))
    }
}

fn fault(field: Field<'_>, what: &str) -> Fault {
    Fault { line: field.line, what: format!("field {} {what}", field.name) }
}

fn worded(field: Option<Field<'_>>, what: &str) -> Fault {
    field.map_or_else(|| Fault { line: 0, what: what.to_owned() }, |field| fault(field, what))
}

/// The value of a field that every package has.
fn need<'a>(field: Option<Field<'a>>, name: &str, line: u64) -> Result<&'a str, Fault> {
    match field {
        Some(field) => Ok(field.value),
        None => Err(Fault { line, what: format!("field {name} is missing") }),
    }
}

/// `NAME` or `NAME (VERSION)`; without a version the binary's own counts.
fn split_source(field: Field<'_>, version: &str) -> Result<(String, String), Fault> {
    match field.value.split_once('(') {
        None => Ok((field.value.to_owned(), version.to_owned())),
        Some((name, rest)) => {
            let inside = rest
                .trim_end()
                .strip_suffix(')')
                .ok_or_else(|| fault(field, "has a version without end"))?;
            Ok((name.trim().to_owned(), inside.trim().to_owned()))
        }
    }
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    text.len() <= MAX_TEXT
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

fn is_version(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._~:".contains(&byte);
    text.len() <= MAX_TEXT
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

/// Whether a file name of an index stays below the repository's base.
pub(super) fn is_safe_path(text: &str) -> bool {
    let scheme =
        text.split('/').next().is_some_and(|first| first.contains(':') && text.contains("://"));
    !text.is_empty()
        && text.len() <= MAX_TEXT
        && !text.starts_with('/')
        && !scheme
        && !text.bytes().any(|byte| byte.is_ascii_control() || byte == b'\\')
        && !text.split('/').any(|step| step == "..")
}

#[cfg(test)]
mod tests;
