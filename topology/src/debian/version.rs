//! Comparing versions as dpkg does: `[EPOCH:]UPSTREAM[-REVISION]`.
//!
//! Any two texts compare, also those that dpkg would refuse, so that nothing a
//! vendor writes can stop a comparison.

use std::cmp::Ordering;

/// How `a` stands to `b`.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((a_epoch, a_upstream, a_revision), (b_epoch, b_upstream, b_revision)) =
        (split(a), split(b));
    part(a_epoch, b_epoch)
        .then_with(|| part(a_upstream, b_upstream))
        .then_with(|| part(a_revision, b_revision))
}

/// Epoch, upstream version and revision; what is absent is empty, which equals
/// `0` in every part.
fn split(version: &str) -> (&[u8], &[u8], &[u8]) {
    let version = version.as_bytes();
    let (epoch, rest) = match version.iter().position(|c| *c == b':') {
        Some(colon) => (&version[..colon], &version[colon + 1..]),
        None => (&[][..], version),
    };
    let (upstream, revision) = match rest.iter().rposition(|c| *c == b'-') {
        Some(hyphen) => (&rest[..hyphen], &rest[hyphen + 1..]),
        None => (rest, &[][..]),
    };
    (epoch, upstream, revision)
}

/// Non-digits and digits in turn: the former by [`weight`], the latter as
/// numbers of any length.
fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (x, y) = (a.first().copied(), b.first().copied());
            let is_letter = |c: Option<u8>| c.is_some_and(|c| !c.is_ascii_digit());
            if !is_letter(x) && !is_letter(y) {
                break;
            }
            match weight(x).cmp(&weight(y)) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                different => return different,
            }
        }
        let (x, y);
        (x, a) = number(a);
        (y, b) = number(b);
        match x.len().cmp(&y.len()).then_with(|| x.cmp(y)) {
            Ordering::Equal => {}
            different => return different,
        }
    }
    Ordering::Equal
}

/// `~` sorts before the end, the end before letters, letters before the rest.
fn weight(c: Option<u8>) -> i32 {
    match c {
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_alphabetic() => i32::from(c),
        Some(c) => i32::from(c) + 256,
    }
}

/// The leading digits without zeros in front, and what follows them.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().take_while(|&&c| c == b'0').count();
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn known_orders() {
        for (low, high) in [
            ("1.0~rc1-1", "1.0-1"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+b"),
            ("1.9", "1.10"),
            ("9", "1:0"),
            ("1.0-1", "1.0-1+deb12u1"),
            ("1.0-1~bpo12+1", "1.0-1"),
            ("1.0~~", "1.0~"),
            ("2.36-9+deb12u8", "2.36-9+deb12u10"),
            ("1-1-1", "1-2-0"),
        ] {
            assert_eq!(compare(low, high), Ordering::Less, "{low} {high}");
            assert_eq!(compare(high, low), Ordering::Greater, "{high} {low}");
        }
        for (a, b) in [("0:1", "1"), ("1", "1-0"), ("1.01", "1.1"), ("1.", "1.0"), ("", "0")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[0-9a~.+:-]{0,8}", b in "[0-9a~.+:-]{0,8}", c in "[0-9a~.+:-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                assert!(compare(&a, &c).is_le(), "{a} {b} {c}");
            }
        }
    }
}
