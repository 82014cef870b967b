//! Digests that name bytes: BLAKE3 inside the mesh, SHA-256 as vendors and
//! TUF state it. Both are 32 bytes and print as 64 lower-case hexadecimal
//! digits; they are different types so that one is never taken for the other.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text does not have 64 characters, or the bytes are not 32.
    #[error("a digest has 64 hexadecimal digits, this has {0} characters")]
    Length(usize),
    /// A character is not a hexadecimal digit.
    #[error("character {0} of the digest is not a hexadecimal digit")]
    Character(usize),
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 raw bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight hexadecimal digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                parse_hex(text).map(Self)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = Error;

            fn try_from(bytes: &[u8]) -> Result<Self, Error> {
                bytes.try_into().map(Self).map_err(|_| Error::Length(bytes.len() * 2))
            }
        }
    };
}

digest! {
    /// The BLAKE3 digest that names a blob.
    Digest
}

digest! {
    /// The SHA-256 digest that a vendor or TUF states.
    Sha256
}

impl Digest {
    /// The digest of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

fn parse_hex(text: &str) -> Result<[u8; 32], Error> {
    if text.len() != 64 {
        return Err(Error::Length(text.chars().count()));
    }
    let mut bytes = [0u8; 32];
    for (index, character) in text.chars().enumerate() {
        let digit = character.to_digit(16).ok_or(Error::Character(index + 1))?;
        // A digit is below 16, so it fits.
        bytes[index / 2] = (bytes[index / 2] << 4) | digit as u8;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses() {
        let digest = Digest::of(b"hello");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.short().len(), 8);
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!("abc".parse::<Digest>(), Err(Error::Length(3)));
        let text = format!("{}g{}", "0".repeat(10), "0".repeat(53));
        assert_eq!(text.parse::<Sha256>(), Err(Error::Character(11)));
        let wide = "é".repeat(32);
        assert!(wide.parse::<Digest>().is_err());
    }
}
