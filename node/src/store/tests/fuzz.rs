//! Manifests as a peer may send them.

use patchmesh_topology::digest::Digest;

use crate::fuzz::{Form, Target, same, word};
use crate::store::manifest::{Error, Manifest, ManifestBuilder, PIECE_LENGTH};

/// An input is the length of a blob, 8 bytes, and then the values.
fn input(manifest: &Manifest) -> Vec<u8> {
    [&manifest.length().to_le_bytes()[..], &manifest.encode()].concat()
}

fn manifest(length: u64) -> Manifest {
    let mut builder = ManifestBuilder::new();
    builder.update(&vec![7; usize::try_from(length).unwrap()]);
    builder.finish()
}

/// Read as the manifest of the blob that its values fold to, so that the rest
/// is reached.
fn read(input: &[u8]) -> String {
    let Some((length, values)) = input.split_first_chunk::<8>() else { return String::new() };
    let length = u64::from_le_bytes(*length);
    let digest = Digest::of(values);
    let outcome = Manifest::decode(digest, length, values);
    let outcome = match outcome {
        Err(Error::Fold { found, .. }) => Manifest::decode(found, length, values),
        other => other,
    };
    if let Ok(manifest) = &outcome {
        assert_eq!(manifest.length(), length);
        assert_eq!(manifest.encode(), values);
        same(manifest, Manifest::decode(manifest.digest(), length, &manifest.encode()));
        let last = manifest.piece_count() - 1;
        let bytes = manifest.piece_length(last).unwrap();
        assert!(bytes <= PIECE_LENGTH && last * PIECE_LENGTH + bytes == length);
        assert!(manifest.piece_length(last + 1).is_err());
        // Only a blob without any bytes is what its values are.
        assert_eq!(manifest.verify_piece(last, values).is_ok(), length == 0);
    }
    word(&outcome)
}

#[test]
fn manifests() {
    let lengths = [0, 1, PIECE_LENGTH, PIECE_LENGTH + 1, 5 * PIECE_LENGTH, 9 * PIECE_LENGTH - 1];
    let seeds = lengths.map(|length| input(&manifest(length)));
    Target::new("manifests", Form::Bytes).run(seeds, read);
}
