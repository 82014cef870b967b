//! In which order packages are given to dpkg, and in how many calls: one that
//! another one `Pre-Depends` on has to be configured before that is unpacked, and
//! within a call all are unpacked first.

/// The most calls; what would need more is left to dpkg to refuse.
const MAX_CALLS: usize = 16;

/// The number of the call of each package, the first being 0. `needs` are the places
/// of what has to be there for it, `before` those of what has to be configured before.
pub(super) fn calls(needs: &[Vec<usize>], before: &[Vec<usize>]) -> Vec<usize> {
    // Counted from the last call: each takes what nobody left needs earlier.
    let mut from_last = vec![0; needs.len()];
    let mut left: Vec<usize> = (0..needs.len()).collect();
    for call in 1..MAX_CALLS {
        let mut is_early = vec![false; needs.len()];
        let mut waiting: Vec<usize> =
            left.iter().flat_map(|one| before[*one].iter().copied()).collect();
        while let Some(one) = waiting.pop() {
            if from_last[one] == call - 1 && !is_early[one] {
                is_early[one] = true;
                waiting.extend(&needs[one]);
            }
        }
        let early: Vec<usize> = left.iter().copied().filter(|one| is_early[*one]).collect();
        if early.is_empty() || early.len() == left.len() {
            break;
        }
        early.iter().for_each(|one| from_last[*one] = call);
        left = early;
    }
    let last = from_last.iter().copied().max().unwrap_or_default();
    from_last.into_iter().map(|one| last - one).collect()
}

/// All places, those of what is needed before those of what needs it; in a circle
/// somebody comes first.
pub(crate) fn needed_first(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(needs.len());
    let mut is_seen = vec![false; needs.len()];
    for root in 0..needs.len() {
        // Who is looked at, and how many of its needs were.
        let mut path = Vec::new();
        if !std::mem::replace(&mut is_seen[root], true) {
            path.push((root, 0));
        }
        while let Some((one, next)) = path.last_mut() {
            match needs[*one].get(*next) {
                Some(&other) => {
                    *next += 1;
                    if !std::mem::replace(&mut is_seen[other], true) {
                        path.push((other, 0));
                    }
                }
                None => {
                    order.push(*one);
                    path.pop();
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn what_has_to_be_configured_goes_before_with_what_it_needs() {
        // 0 pre-depends on 1, which needs 2; 3 needs 0.
        let needs = [vec![1], vec![2], vec![], vec![0]];
        assert_eq!(calls(&needs, &[vec![1], vec![], vec![], vec![]]), [1, 0, 0, 1]);
        assert_eq!(calls(&needs, &[vec![], vec![], vec![], vec![]]), [0, 0, 0, 0]);
        // A chain of three, and a circle that no order satisfies.
        let chain = [vec![1], vec![2], vec![]];
        assert_eq!(calls(&chain, &chain), [2, 1, 0]);
        let circle = [vec![1], vec![0]];
        assert_eq!(calls(&circle, &circle), [0, 0]);
    }

    #[test]
    fn what_is_needed_comes_first() {
        assert_eq!(needed_first(&[vec![1, 2], vec![2], vec![]]), [2, 1, 0]);
        assert_eq!(needed_first(&[vec![1], vec![0]]), [1, 0]);
    }

    proptest! {
        #[test]
        fn everybody_goes_once_and_whom_somebody_needs_is_no_later(
            needs in vec(vec(0..12_usize, 0..4), 12),
            marks in vec(0..4_usize, 12),
        ) {
            let before: Vec<Vec<usize>> =
                needs.iter().zip(&marks).map(|(all, most)| all.iter().copied().take(*most).collect()).collect();
            let calls = calls(&needs, &before);
            for (one, list) in needs.iter().enumerate() {
                for other in list {
                    prop_assert!(calls[*other] <= calls[one], "{} before {}", other, one);
                }
            }
            let mut order = needed_first(&needs);
            order.sort_unstable();
            prop_assert_eq!(order, (0..12).collect::<Vec<_>>());
        }
    }
}
