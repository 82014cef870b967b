//! Comparing versions as rpm does: `[EPOCH:]VERSION[-RELEASE]`.
//!
//! Any two texts compare, so that nothing a vendor writes can stop a
//! comparison. Epochs are numbers of any length here; rpm itself refuses those
//! above 32 bits.
//!
//! Format: rpm-version(7); the walk over segments is that of rpm's `rpmvercmp`.

use std::cmp::Ordering;

/// How `a` stands to `b`. What states no release is older than what does.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((a_epoch, a_version, a_release), (b_epoch, b_version, b_release)) = (split(a), split(b));
    number(a_epoch.as_bytes())
        .cmp(&number(b_epoch.as_bytes()))
        .then_with(|| part(a_version, b_version))
        .then_with(|| match (a_release, b_release) {
            (Some(a), Some(b)) => part(a, b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        })
}

/// Epoch, version and release; an absent epoch is empty, which equals `0`.
fn split(text: &str) -> (&str, &str, Option<&str>) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (epoch, rest) = match text.as_bytes().get(digits) {
        Some(b':') => (&text[..digits], &text[digits + 1..]),
        _ => ("", text),
    };
    match rest.rsplit_once('-') {
        Some((version, release)) => (epoch, version, Some(release)),
        None => (epoch, rest, None),
    }
}

/// Segments of digits and of letters in turn; what is neither only parts them.
/// `~` sorts before the end, the end before `^`, and `^` before anything else.
fn part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        (a, b) = (behind_separators(a), behind_separators(b));
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => (a, b) = (&a[1..], &b[1..]),
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(b'^'), Some(_)) => return Ordering::Less,
            (Some(_), Some(b'^')) => return Ordering::Greater,
            (Some(x), Some(y)) => {
                let is_number = x.is_ascii_digit();
                // A number is newer than letters.
                if is_number != y.is_ascii_digit() {
                    return if is_number { Ordering::Greater } else { Ordering::Less };
                }
                let (x, y);
                (x, a) = segment(a, is_number);
                (y, b) = segment(b, is_number);
                let order = if is_number { number(x).cmp(&number(y)) } else { x.cmp(y) };
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

fn behind_separators(text: &[u8]) -> &[u8] {
    let is_separator = |c: &u8| !c.is_ascii_alphanumeric() && !matches!(c, b'~' | b'^');
    let end = text.iter().position(|c| !is_separator(c)).unwrap_or(text.len());
    &text[end..]
}

/// The leading digits or letters, and what follows them.
fn segment(text: &[u8], is_number: bool) -> (&[u8], &[u8]) {
    let belongs = |c: &u8| if is_number { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
    let end = text.iter().position(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Digits as a number of any length: how many there are, then which.
fn number(digits: &[u8]) -> (usize, &[u8]) {
    let zeros = digits.iter().take_while(|&&c| c == b'0').count();
    let digits = &digits[zeros..];
    (digits.len(), digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn known_orders() {
        for (low, high) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0^git1"),
            ("1.0^git1", "1.0.1"),
            ("1.0^git1~pre", "1.0^git1"),
            ("1.0a", "1.0.1"),
            ("1.9", "1.10"),
            ("9", "1:0"),
            ("1", "1-1"),
            ("1.0-1.el9", "1.0-2.el9"),
            ("1.0-9.el8", "1.0-10.el8"),
            ("a", "1"),
            ("1.0", "1.0a"),
        ] {
            assert_eq!(compare(low, high), Ordering::Less, "{low} {high}");
            assert_eq!(compare(high, low), Ordering::Greater, "{high} {low}");
        }
        for (a, b) in [("0:1", "1"), ("1.01", "1.1"), ("1_0", "1.0"), ("1.", "1"), ("", "")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[0-9a-b~^.:-]{0,8}", b in "[0-9a-b~^.:-]{0,8}", c in "[0-9a-b~^.:-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                assert!(compare(&a, &c).is_le(), "{a} {b} {c}");
            }
        }

        #[test]
        fn never_panics(a in any::<String>(), b in any::<String>()) {
            let _ = compare(&a, &b);
        }
    }
}
