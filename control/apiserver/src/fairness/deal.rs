//! Shuffle sharding: which few of a level's queues a flow may use.
//!
//! In: a flow's hash. Out: a hand of distinct queues, each hand as likely as any other. Two flows seldom have the same
//! hand, so a flow that fills its queues leaves almost every other flow at least one. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A flow's number. The same in every run, so that a restart deals the same hands.
pub(super) fn hash(schema: &str, flow: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (schema, flow).hash(&mut hasher);
    hasher.finish()
}

/// `hand` distinct numbers below `queues`. A hash has 64 bits: hands of more than that many are not all dealt.
pub(super) fn deal(hash: u64, queues: usize, hand: usize) -> impl Iterator<Item = usize> {
    let mut rest = u128::from(hash) << 32 | u128::from(hash.rotate_left(17) >> 32);
    // What was dealt before, in rising order.
    let mut dealt: Vec<usize> = Vec::with_capacity(hand.min(queues));
    (0..hand.min(queues)).map(move |i| {
        let left = (queues - i) as u128;
        let mut card = usize::try_from(rest % left).unwrap_or_default();
        rest /= left;
        let mut place = 0;
        for lower in &dealt {
            if *lower > card {
                break;
            }
            card += 1;
            place += 1;
        }
        dealt.insert(place, card);
        card
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hands_are_distinct_and_spread() {
        let mut used = vec![0_u32; 64];
        for flow in 0..1000 {
            let hand: Vec<usize> = deal(hash("global-default", &flow.to_string()), 64, 6).collect();
            assert_eq!(hand.iter().collect::<BTreeSet<_>>().len(), 6, "{hand:?}");
            hand.iter().for_each(|queue| used[*queue] += 1);
        }
        // Ninety-four is the mean; the deviation of such a draw is below ten.
        assert!(used.iter().all(|n| (45..150).contains(n)), "{used:?}");
    }

    #[test]
    fn a_hand_is_at_most_all_queues() {
        let all: BTreeSet<usize> = deal(7, 4, 9).collect();
        assert_eq!(all, BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(deal(7, 0, 3).count(), 0);
    }

    #[test]
    fn one_flow_seldom_covers_another() {
        let hand = |flow: u32| deal(hash("s", &flow.to_string()), 128, 6).collect::<BTreeSet<_>>();
        let flood = hand(0);
        let covered = (1..2000).filter(|flow| hand(*flow).is_subset(&flood)).count();
        assert_eq!(covered, 0);
    }
}
