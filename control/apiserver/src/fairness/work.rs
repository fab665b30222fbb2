//! How many seats a request takes: one, and more for lists of many objects.
//!
//! In: a request's attributes and how many objects its kind has. Out: seats. Pure.

use crate::info::RequestInfo;
use crate::query::Query;

/// Objects that one seat is thought to handle. Upstream's.
const OBJECTS_PER_SEAT: usize = 100;
/// A request takes no more. Upstream's.
const SEATS_MAX: u32 = 10;

/// Whether the number of objects makes a difference: for lists, and watches that begin with one.
pub(super) fn depends_on_objects(info: &RequestInfo<'_>, query: &Query) -> bool {
    let Some(of) = info.resource else { return false };
    if !of.name.is_empty() {
        return false;
    }
    match info.verb {
        "list" => true,
        "watch" => {
            query.flag("sendInitialEvents")
                || matches!(query.get("resourceVersion"), None | Some("0"))
        }
        _ => false,
    }
}

/// Seats of a list of a kind that has so many objects, in a level with so many seats.
pub(super) fn seats_of_list(query: &Query, stored: usize, level_seats: u32) -> u32 {
    let limit = query.get("limit").and_then(|text| text.parse().ok()).filter(|limit| *limit > 0);
    let selects = ["labelSelector", "fieldSelector"].iter().any(|one| query.get(one).is_some());
    let looked_at = match limit {
        // All have to be looked at until enough fit.
        Some(limit) if !selects => stored.min(limit),
        _ => stored,
    };
    // One list may not have more than a seventh of a level to itself, as upstream has it.
    let most = (level_seats * 15 / 100).clamp(1, SEATS_MAX);
    u32::try_from(looked_at.div_ceil(OBJECTS_PER_SEAT)).unwrap_or(u32::MAX).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_wide_as_what_they_look_at() {
        let seats = |query: &str, stored, level| seats_of_list(&Query::parse(query), stored, level);
        assert_eq!(seats("", 0, 100), 1);
        assert_eq!(seats("", 100, 100), 1);
        assert_eq!(seats("", 101, 100), 2);
        assert_eq!(seats("", 100_000, 1000), 10);
        assert_eq!(seats("", 100_000, 20), 3);
        assert_eq!(seats("", 100_000, 2), 1);
        assert_eq!(seats("limit=500", 100_000, 1000), 5);
        assert_eq!(seats("limit=500&labelSelector=a", 100_000, 1000), 10);
        assert_eq!(seats("limit=x", 250, 1000), 3);
    }
}
