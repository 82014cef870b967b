//! Index files written stanza by stanza, plain, gz and xz at once.
//!
//! Compressing is what takes time, so an index is cut into chunks of whole
//! stanzas, each compressed apart and kept: gz as a member, xz as a block. Cuts
//! depend on the stanzas' own names, so one new package changes one chunk and
//! the rest is taken from memory. Memory holds one chunk, the compressed forms
//! and, up to [`MAX_PLAIN`], the plain one.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use patchmesh_topology::digest::{Digest, Sha256};

use super::xz;

/// A chunk is not cut before this length; smaller ones compress badly.
const MIN_CHUNK: usize = 64 << 10;

/// A chunk is cut at this length, whatever its names are.
const MAX_CHUNK: usize = 256 << 10;

/// One name in so many may end a chunk.
const CUT_ONE_IN: u8 = 64;

/// Compressed chunks kept between builds, in bytes: all those of four indices
/// of a whole distribution release.
const MAX_KEPT: usize = 64 << 20;

/// The largest plain index that is stored and served. `Release` lists the plain
/// form in any case, since apt checks what it unpacked against it; like Debian's
/// own mirrors we then serve the compressed forms only.
const MAX_PLAIN: usize = 4 << 20;

/// One form of an index file.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// What is behind `Packages`: nothing, `.gz` or `.xz`.
    pub(super) suffix: &'static str,
    pub(super) sha256: Sha256,
    pub(super) length: u64,
    /// Absent for a plain index above [`MAX_PLAIN`].
    pub(super) bytes: Option<Bytes>,
}

/// Compressed chunks of earlier builds.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    kept: HashMap<Digest, Kept>,
    bytes: usize,
    build: u64,
}

#[derive(Debug)]
struct Kept {
    chunk: Arc<Chunk>,
    last_used: u64,
}

#[derive(Debug)]
struct Chunk {
    gz: Vec<u8>,
    xz: xz::Block,
}

impl Chunk {
    fn compress(plain: &[u8]) -> io::Result<Self> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::default());
        gz.write_all(plain)?;
        Ok(Self { gz: gz.finish()?, xz: xz::Block::compress(plain)? })
    }

    fn length(&self) -> usize {
        self.gz.len() + self.xz.length()
    }
}

impl Chunks {
    /// Counts builds, so that what the oldest build used goes first.
    pub(super) fn begin_build(&mut self) {
        self.build += 1;
        if self.bytes <= MAX_KEPT {
            return;
        }
        let mut ages: Vec<_> = self.kept.iter().map(|(key, kept)| (kept.last_used, *key)).collect();
        ages.sort_unstable();
        for (_, key) in ages {
            if self.bytes <= MAX_KEPT / 2 {
                break;
            }
            if let Some(kept) = self.kept.remove(&key) {
                self.bytes -= kept.chunk.length();
            }
        }
    }

    fn get(&mut self, plain: &[u8]) -> io::Result<Arc<Chunk>> {
        let key = Digest::of(plain);
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.last_used = self.build;
            return Ok(Arc::clone(&kept.chunk));
        }
        let chunk = Arc::new(Chunk::compress(plain)?);
        self.bytes += chunk.length();
        let kept = Kept { chunk: Arc::clone(&chunk), last_used: self.build };
        self.kept.insert(key, kept);
        Ok(chunk)
    }
}

/// An index being written.
pub(super) struct IndexWriter<'c> {
    chunks: &'c mut Chunks,
    chunk: String,
    hash: digest::Context,
    length: u64,
    plain: Vec<u8>,
    gz: Vec<u8>,
    xz: xz::Assembler,
}

impl<'c> IndexWriter<'c> {
    pub(super) fn new(chunks: &'c mut Chunks) -> Self {
        Self {
            chunks,
            chunk: String::new(),
            hash: digest::Context::new(&SHA256),
            length: 0,
            plain: Vec::new(),
            gz: Vec::new(),
            xz: xz::Assembler::new(),
        }
    }

    /// Appends a stanza of the named package; `write` ends it with an empty line.
    pub(super) fn stanza(
        &mut self,
        package: &str,
        write: impl FnOnce(&mut String),
    ) -> io::Result<()> {
        write(&mut self.chunk);
        let length = self.chunk.len();
        let may_cut = || Digest::of(package.as_bytes()).as_bytes()[0].is_multiple_of(CUT_ONE_IN);
        if length >= MAX_CHUNK || (length >= MIN_CHUNK && may_cut()) {
            self.cut()?;
        }
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        let plain = self.chunk.as_bytes();
        let chunk = self.chunks.get(plain)?;
        self.gz.extend_from_slice(&chunk.gz);
        self.xz.push(&chunk.xz);
        self.hash.update(plain);
        self.length += plain.len() as u64;
        if self.length <= MAX_PLAIN as u64 {
            self.plain.extend_from_slice(plain);
        } else {
            self.plain = Vec::new();
        }
        self.chunk.clear();
        Ok(())
    }

    /// Closes the index.
    pub(super) fn finish(mut self) -> io::Result<[Form; 3]> {
        // An empty index has a member too, since nothing at all is no gzip file.
        if !self.chunk.is_empty() || self.gz.is_empty() {
            self.cut()?;
        }
        let plain = Form {
            suffix: "",
            sha256: sha256_of(self.hash),
            length: self.length,
            bytes: (self.length <= MAX_PLAIN as u64).then(|| self.plain.into()),
        };
        let compressed = |suffix, bytes: Vec<u8>| Form {
            suffix,
            sha256: sha256(&bytes),
            length: bytes.len() as u64,
            bytes: Some(bytes.into()),
        };
        Ok([plain, compressed(".gz", self.gz), compressed(".xz", self.xz.finish())])
    }
}

fn sha256(bytes: &[u8]) -> Sha256 {
    let mut context = digest::Context::new(&SHA256);
    context.update(bytes);
    sha256_of(context)
}

fn sha256_of(context: digest::Context) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Sha256::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn write(chunks: &mut Chunks, names: impl Iterator<Item = u32>) -> [Form; 3] {
        chunks.begin_build();
        let mut index = IndexWriter::new(chunks);
        for number in names {
            let name = format!("package-{number:05}");
            index
                .stanza(&name, |out| {
                    out.push_str("Package: ");
                    out.push_str(&name);
                    out.push_str("\nDescription: ");
                    out.push_str(&"lorem ipsum ".repeat(60));
                    out.push_str("\n\n");
                })
                .unwrap();
        }
        index.finish().unwrap()
    }

    fn unpack(forms: &[Form; 3]) -> [Vec<u8>; 2] {
        let mut gz = Vec::new();
        let bytes = forms[1].bytes.clone().unwrap();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut gz).unwrap();
        let mut xz = Vec::new();
        let bytes = forms[2].bytes.clone().unwrap();
        liblzma::read::XzDecoder::new(&bytes[..]).read_to_end(&mut xz).unwrap();
        [gz, xz]
    }

    #[test]
    fn all_forms_hold_the_same_and_hash_to_what_they_say() {
        let forms = write(&mut Chunks::default(), 0..1000);
        let plain = forms[0].bytes.clone().unwrap();
        assert_eq!(unpack(&forms), [plain.to_vec(), plain.to_vec()]);
        for form in &forms {
            let bytes = form.bytes.clone().unwrap();
            assert_eq!((form.sha256, form.length), (sha256(&bytes), bytes.len() as u64));
        }
    }

    #[test]
    fn an_empty_index_is_whole_in_every_form() {
        let forms = write(&mut Chunks::default(), 0..0);
        assert_eq!(unpack(&forms), [Vec::<u8>::new(), Vec::new()]);
        assert_eq!(forms[0].length, 0);
    }

    #[test]
    fn one_new_package_compresses_little_and_equals_a_fresh_build() {
        let mut chunks = Chunks::default();
        write(&mut chunks, (0..3000).filter(|number| *number != 1500));
        let before = chunks.kept.len();
        let forms = write(&mut chunks, 0..3000);
        assert!(before > 10 && chunks.kept.len() - before <= 2, "{before} {}", chunks.kept.len());
        let fresh = write(&mut Chunks::default(), 0..3000);
        for (a, b) in forms.iter().zip(&fresh) {
            assert_eq!(a.sha256, b.sha256);
        }
    }

    #[test]
    fn a_large_index_is_not_served_plain() {
        let forms = write(&mut Chunks::default(), 0..7000);
        assert!(forms[0].bytes.is_none() && forms[0].length > MAX_PLAIN as u64);
        let [gz, xz] = unpack(&forms);
        assert_eq!(sha256(&gz), forms[0].sha256);
        assert_eq!(gz, xz);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut chunks = Chunks::default();
        write(&mut chunks, 0..1000);
        chunks.bytes += MAX_KEPT;
        write(&mut chunks, 0..10);
        assert!(chunks.kept.len() <= 1);
    }
}
