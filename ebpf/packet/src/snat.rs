//! Which source port to try for a connection that takes this node's address.

use beeline_abi::Be16;

use crate::balance::by_random;

/// Far enough that neighbours in time are no neighbours in number; a prime.
const STEP: u32 = 7_919;
/// A prime above every count of ports, for the counts that [`STEP`] divides.
const STEP_OTHERWISE: u32 = 65_537;

/// The port to try at the given attempt, counted from zero, within `first..=last`.
///
/// The caller's own comes first if it lies in the range. All others follow from a random start, `random` being the same for all
/// attempts of one connection: as the step and the count of ports have no common divisor, no port comes twice before all had their turn.
#[inline(always)]
pub fn candidate(attempt: u32, wanted: Be16, first: u16, last: u16, random: u32) -> Be16 {
    let port = wanted.to_host();
    if attempt == 0 && first <= port && port <= last {
        return wanted;
    }
    let count = u32::from(last.saturating_sub(first)) + 1;
    let step = if count.is_multiple_of(STEP) { STEP_OTHERWISE } else { STEP };
    let walked = u64::from(by_random(random, count)) + u64::from(attempt) * u64::from(step);
    // Below `count`, which is at most 65,536.
    let place = ((walked % u64::from(count)) & 0xffff) as u16;
    Be16::from_host(first.wrapping_add(place))
}
