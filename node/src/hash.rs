//! SHA-256 of what comes in parts.

use std::io::{self, BufReader, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use patchmesh_topology::digest::Sha256;

/// Bytes read at a time.
const BUFFER: usize = 1 << 17;

/// Takes in what is written.
struct Hasher(Context);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads to the end: how many bytes there are, and their hash, to be gone on with.
/// Blocks.
///
/// # Errors
/// Those of the reader.
pub(crate) fn read(reader: impl Read) -> io::Result<(u64, Context)> {
    let mut hasher = Hasher(Context::new(&SHA256));
    let bytes = io::copy(&mut BufReader::with_capacity(BUFFER, reader), &mut hasher)?;
    Ok((bytes, hasher.0))
}

/// The hash of all that was taken in.
pub(crate) fn finish(context: Context) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Sha256::from_bytes(bytes)
}
