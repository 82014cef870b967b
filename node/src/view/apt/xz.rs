//! An xz stream put together from blocks that were compressed apart.
//!
//! liblzma writes a stream in one go; we keep compressed blocks between builds
//! and only compress those that changed, so the frame around them is written
//! here. Any xz decoder reads it: a stream may have any number of blocks.
//!
//! Format: "The .xz File Format" 1.2.1, <https://tukaani.org/xz/xz-file-format.txt>.

use std::io::{self, Write};

use flate2::Crc;
use liblzma::stream::{Filters, LzmaOptions, Stream};
use liblzma::write::XzEncoder;

/// Level of `xz`: the next one takes twice the time for a few per cent.
const PRESET: u32 = 1;

/// The encoder's window. No block is much larger, and memory grows with it.
const DICTIONARY: u32 = 256 << 10;

/// `DICTIONARY` as a block header writes it: 2¹⁸ is `(2 | 0) << (12 / 2 + 11)`.
const DICTIONARY_PROPERTY: u8 = 12;

/// Stream flags: every block carries a CRC32 of its plain bytes.
const FLAGS: [u8; 2] = [0x00, 0x01];

const HEADER_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0x00];
const FOOTER_MAGIC: [u8; 2] = *b"YZ";

/// Header size in words less one, one filter, LZMA2, one byte of properties, padding.
const BLOCK_HEADER: [u8; 8] = [0x02, 0x00, 0x21, 0x01, DICTIONARY_PROPERTY, 0, 0, 0];

/// A compressed block with its header, padding and check.
#[derive(Debug, Clone)]
pub(super) struct Block {
    bytes: Vec<u8>,
    unpadded: u64,
    plain: u64,
}

impl Block {
    /// Compresses one block.
    pub(super) fn compress(plain: &[u8]) -> io::Result<Self> {
        let mut options = LzmaOptions::new_preset(PRESET)?;
        options.dict_size(DICTIONARY);
        let stream = Stream::new_raw_encoder(Filters::new().lzma2(&options))?;
        let mut bytes = BLOCK_HEADER.to_vec();
        bytes.extend_from_slice(&crc32(&BLOCK_HEADER));
        let mut encoder = XzEncoder::new_stream(bytes, stream);
        encoder.write_all(plain)?;
        let mut bytes = encoder.finish()?;
        let check = crc32(plain);
        let unpadded = (bytes.len() + check.len()) as u64;
        pad(&mut bytes);
        bytes.extend_from_slice(&check);
        Ok(Self { bytes, unpadded, plain: plain.len() as u64 })
    }

    /// Bytes that it takes.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }
}

/// A stream being put together.
#[derive(Debug)]
pub(super) struct Assembler {
    bytes: Vec<u8>,
    /// Number and sizes of the blocks so far, as the index writes them.
    blocks: u64,
    records: Vec<u8>,
}

impl Assembler {
    /// A stream without blocks, which decodes to nothing.
    pub(super) fn new() -> Self {
        let mut bytes = HEADER_MAGIC.to_vec();
        bytes.extend_from_slice(&FLAGS);
        bytes.extend_from_slice(&crc32(&FLAGS));
        Self { bytes, blocks: 0, records: Vec::new() }
    }

    /// Appends a block.
    pub(super) fn push(&mut self, block: &Block) {
        self.bytes.extend_from_slice(&block.bytes);
        self.blocks += 1;
        integer(&mut self.records, block.unpadded);
        integer(&mut self.records, block.plain);
    }

    /// Closes the stream.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut index = vec![0x00];
        integer(&mut index, self.blocks);
        index.append(&mut self.records);
        pad(&mut index);
        let check = crc32(&index);
        index.extend_from_slice(&check);

        // The index counts at most some bytes per 64 KiB block, so it fits 32 bits.
        let words = u32::try_from(index.len() / 4 - 1).unwrap_or(u32::MAX);
        let mut tail = words.to_le_bytes().to_vec();
        tail.extend_from_slice(&FLAGS);
        self.bytes.append(&mut index);
        self.bytes.extend_from_slice(&crc32(&tail));
        self.bytes.append(&mut tail);
        self.bytes.extend_from_slice(&FOOTER_MAGIC);
        self.bytes
    }
}

/// A number in groups of seven bits, least significant first (section 1.2).
fn integer(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // Masked to eight bits, so the cast keeps all of it.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};
    use std::io::Read;

    fn assemble(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut assembler = Assembler::new();
        for part in parts {
            assembler.push(&Block::compress(part).unwrap());
        }
        assembler.finish()
    }

    fn decode(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        liblzma::read::XzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn nothing_is_a_stream_too() {
        assert!(decode(&assemble(&[])).is_empty());
        assert_eq!(assemble(&[]).len(), 32);
    }

    #[test]
    fn a_block_larger_than_the_window_decodes() {
        let large: Vec<u8> = (0..1_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        assert_eq!(
            decode(&assemble(&[large.clone(), large.clone()])),
            [large.clone(), large].concat()
        );
    }

    proptest! {
        #[test]
        fn any_blocks_decode_to_their_sum(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6)
        ) {
            assert_eq!(decode(&assemble(&parts)), parts.concat());
        }
    }
}
