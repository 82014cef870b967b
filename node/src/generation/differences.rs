//! What differs between two maps.

use std::collections::BTreeMap;

/// The keys that only one of two maps has, or that have another value in each.
pub(super) fn differences<'a, K: Ord, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            match order {
                std::cmp::Ordering::Less => return left.next().map(|(key, _)| key),
                std::cmp::Ordering::Greater => return right.next().map(|(key, _)| key),
                std::cmp::Ordering::Equal => {
                    let ((key, one), (_, other)) = left.next().zip(right.next())?;
                    if one != other {
                        return Some(key);
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_what_is_not_the_same_in_both() {
        let one = BTreeMap::from([(1, 'a'), (2, 'b'), (4, 'd'), (9, 'x')]);
        let other = BTreeMap::from([(2, 'b'), (3, 'c'), (4, 'e')]);
        assert_eq!(differences(&one, &other).collect::<Vec<_>>(), [&1, &3, &4, &9]);
        assert_eq!(differences(&one, &one).count(), 0);
        assert_eq!(differences(&one, &BTreeMap::new()).count(), 4);
    }
}
