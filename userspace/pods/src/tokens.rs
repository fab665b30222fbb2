//! The tokens that a Pod's volumes show: which there are, and when each is replaced.
//!
//! In: the Pod, tokens as they are given, the time. Out: what to ask for now. Pure: asking is the driver's.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};

/// Whatever a token's life, it is replaced after a day.
const AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Before an attempt that failed is made again.
const RETRY: Duration = Duration::from_secs(30);
/// What the API makes of a projection without a lifetime.
const SECONDS_DEFAULT: i64 = 3_600;

/// Tokens of one audience and lifetime are the same, however many files show them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Who is to believe it; empty: the API.
    pub audience: String,
    /// How long it is to be good.
    pub seconds: i64,
}

/// Tokens by what was asked for.
pub type Texts = BTreeMap<Key, String>;

/// What one Pod holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    tokens: BTreeMap<Key, Token>,
    /// The last attempt failed.
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Token {
    text: String,
    refresh_at: Instant,
    expires_at: Instant,
}

// === impl Key ===

impl Key {
    /// Of a projection.
    #[must_use]
    pub fn of(source: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: source.audience.clone().unwrap_or_default(),
            seconds: source.expiration_seconds.unwrap_or(SECONDS_DEFAULT),
        }
    }
}

/// All that the volumes of a Pod ask for.
#[must_use]
pub fn wanted(pod: &Pod) -> BTreeSet<Key> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes.filter_map(|volume| volume.projected.as_ref());
    let sources = sources.flat_map(|projected| projected.sources.iter().flatten());
    sources.filter_map(|source| source.service_account_token.as_ref()).map(Key::of).collect()
}

// === impl Held ===

impl Held {
    /// What has to be asked for, to have all that is wanted and nothing that is due.
    pub(crate) fn missing(&self, wanted: &BTreeSet<Key>, now: Instant) -> Vec<Key> {
        let good = |key: &Key| self.tokens.get(key).is_some_and(|held| now < held.refresh_at);
        wanted.iter().filter(|key| !good(key)).cloned().collect()
    }

    /// A token was given. It is replaced at four fifths of its life.
    pub(crate) fn take(&mut self, key: Key, text: String, now: Instant) {
        let life = Duration::from_secs(u64::try_from(key.seconds).unwrap_or_default());
        let refresh_at = now + (life * 4 / 5).min(AGE_MAX);
        self.tokens.insert(key, Token { text, refresh_at, expires_at: now + life });
        self.retry_at = None;
    }

    /// A token was not given.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.retry_at = Some(now + RETRY);
    }

    /// Those that are good still, due or not: a server that is away takes nothing from a Pod that runs.
    pub(crate) fn texts(&self, now: Instant) -> Texts {
        let good = self.tokens.iter().filter(|(_, held)| now < held.expires_at);
        good.map(|(key, held)| (key.clone(), held.text.clone())).collect()
    }

    /// When to look again; never, if there are none.
    pub(crate) fn due(&self) -> Option<Instant> {
        let first = self.tokens.values().map(|held| held.refresh_at).min()?;
        Some(self.retry_at.map_or(first, |retry| first.max(retry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_in_time_and_kept_while_good() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let key = |seconds| Key { audience: String::new(), seconds };
        let wanted = BTreeSet::from([key(1_000), key(1_000_000)]);
        let mut held = Held::default();
        assert_eq!((held.missing(&wanted, at(0)).len(), held.due()), (2, None));
        held.take(key(1_000), "a".into(), at(0));
        held.take(key(1_000_000), "b".into(), at(0));
        assert_eq!(held.due(), Some(at(800)));
        assert!(held.missing(&wanted, at(799)).is_empty());
        assert_eq!(held.missing(&wanted, at(800)), [key(1_000)]);
        held.failed(at(800));
        assert_eq!(held.due(), Some(at(830)), "a failure is not repeated at once");
        assert_eq!(held.texts(at(999)).len(), 2);
        assert_eq!(held.texts(at(1_000)).into_values().collect::<Vec<_>>(), ["b"]);
        assert_eq!(held.missing(&wanted, at(86_400)).len(), 2, "a day is the most");
    }
}
