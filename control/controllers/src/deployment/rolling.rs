//! How many replicas each ReplicaSet may have now: rolling within the limits, and scaling in proportion.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Rollout, Set};
use crate::objects;

/// A count or a percentage of `total`.
fn resolve(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        Some(IntOrString::Int(count)) => (*count).max(0),
        Some(IntOrString::String(text)) => percent(text, total, round_up).unwrap_or(0),
        None => percent("25%", total, round_up).unwrap_or(0),
    }
}

fn percent(text: &str, total: i32, round_up: bool) -> Option<i32> {
    let share = i64::from(text.strip_suffix('%')?.parse::<u32>().ok()?) * i64::from(total);
    i32::try_from(if round_up { (share + 99) / 100 } else { share / 100 }).ok()
}

impl Rollout<'_> {
    /// How many more and how many fewer Pods than wanted there may be: (surge, unavailable).
    /// Surge rounds up, unavailability down; both zero would never move, so one may be missing then.
    pub(super) fn limits(&self) -> (i32, i32) {
        if self.strategy() == "Recreate" {
            return (0, 0);
        }
        let strategy = self.deployment.spec.as_ref().and_then(|s| s.strategy.as_ref());
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let surge = resolve(rolling.and_then(|r| r.max_surge.as_ref()), self.wanted(), true);
        let unavailable =
            resolve(rolling.and_then(|r| r.max_unavailable.as_ref()), self.wanted(), false);
        if surge == 0 && unavailable == 0 {
            return (0, 1);
        }
        (surge, unavailable.min(self.wanted()))
    }

    /// The size of the new ReplicaSet: as large as the surge allows, never above what is wanted.
    pub(super) fn replicas_of_new(&self) -> i32 {
        let wanted = self.wanted();
        if self.strategy() == "Recreate" {
            return wanted;
        }
        let now = self.new.as_ref().map_or(0, |new| new.replicas);
        let total: i32 = self.all().map(|set| set.replicas).sum();
        let room = wanted + self.limits().0 - total;
        if room <= 0 { now } else { now + room.min(wanted - now) }
    }

    /// One step of a rolling update: the new one up, or else the old ones down.
    pub(super) fn roll(&mut self) {
        let wanted = self.wanted();
        let next = self.replicas_of_new();
        let Some(new) = &mut self.new else { return };
        let target = if new.replicas > wanted { wanted } else { next };
        if new.replicas != target {
            new.replicas = target;
            return;
        }
        self.shrink_old();
    }

    fn shrink_old(&mut self) {
        let Some(new) = &self.new else { return };
        let minimum = self.wanted() - self.limits().1;
        let total: i32 = self.all().map(|set| set.replicas).sum();
        let missing = new.replicas - new.available();
        let mut room = total - minimum - missing;
        // Those that serve nobody go first, whatever it does to availability.
        for set in &mut self.old {
            let unhealthy = (set.replicas - set.available()).clamp(0, room.max(0));
            set.replicas -= unhealthy;
            room -= unhealthy;
        }
        let available: i32 = self.all().map(Set::available).sum();
        let mut spare = (available - minimum).min(room);
        for set in &mut self.old {
            let step = set.replicas.min(spare.max(0));
            set.replicas -= step;
            spare -= step;
        }
    }

    /// The wanted number changed, or the rollout is paused: bring what exists to size without rolling on.
    pub(super) fn rescale(&mut self) {
        let wanted = self.wanted();
        let active = self.all().filter(|set| set.replicas > 0).count();
        if active <= 1 {
            let only_old = active == 1 && self.new.as_ref().is_none_or(|new| new.replicas == 0);
            let single = if only_old {
                self.old.iter_mut().find(|set| set.replicas > 0)
            } else {
                self.new.as_mut().or(self.old.last_mut())
            };
            if let Some(single) = single {
                single.replicas = wanted;
            }
        } else if self
            .new
            .as_ref()
            .is_some_and(|new| new.before() == wanted && new.available() == wanted)
        {
            for set in &mut self.old {
                set.replicas = 0;
            }
        } else if self.strategy() != "Recreate" {
            self.rescale_in_proportion();
        }
    }

    /// Several ReplicaSets serve: each gets its share of the change, the largest the rest.
    fn rescale_in_proportion(&mut self) {
        let wanted = self.wanted();
        let allowed = if wanted > 0 { wanted + self.limits().0 } else { 0 };
        let total: i32 = self.all().map(|set| set.replicas).sum();
        let change = allowed - total;
        let mut sets: Vec<&mut Set> =
            self.old.iter_mut().chain(self.new.as_mut()).filter(|set| set.replicas > 0).collect();
        // Largest first; among equals the newest when growing, the oldest when shrinking.
        sets.sort_by_key(|set| {
            let created = objects::created(&set.object.metadata).map_or(0, |t| t.as_second());
            (-set.replicas, if change > 0 { -created } else { created })
        });
        let mut left = change;
        for set in &mut sets {
            let share = fraction(set, allowed, change);
            let share =
                if change > 0 { share.clamp(0, left.max(0)) } else { share.clamp(left.min(0), 0) };
            set.replicas += share;
            left -= share;
        }
        if let Some(first) = sets.first_mut() {
            first.replicas = (first.replicas + left).max(0);
        }
    }
}

/// The share of one ReplicaSet in a change of the whole, rounded to the nearest.
fn fraction(set: &Set, allowed: i32, change: i32) -> i32 {
    if allowed == 0 {
        return -set.replicas;
    }
    let before = objects::annotation(&set.object.metadata, "deployment.kubernetes.io/max-replicas")
        .and_then(|text| text.parse::<i32>().ok())
        .filter(|max| *max > 0)
        .unwrap_or((allowed - change).max(1));
    let (replicas, allowed, before) =
        (i64::from(set.replicas), i64::from(allowed), i64::from(before));
    let target = (2 * replicas * allowed + before) / (2 * before);
    i32::try_from(target - replicas).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_upstream() {
        let text = |s: &str| IntOrString::String(s.to_owned());
        assert_eq!(resolve(Some(&text("25%")), 3, true), 1);
        assert_eq!(resolve(Some(&text("25%")), 3, false), 0);
        assert_eq!(resolve(Some(&text("100%")), 3, false), 3);
        assert_eq!(resolve(Some(&IntOrString::Int(2)), 3, false), 2);
        assert_eq!(resolve(None, 10, true), 3);
        assert_eq!(resolve(None, 10, false), 2);
    }
}
