//! Times as Kubernetes writes them, and ages as kubectl prints them.
//!
//! In: timestamps and `now`. Out: text. Never reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment; the same type the typed objects carry.
pub type Timestamp = k8s_openapi::jiff::Timestamp;

/// Converts what a clock said.
pub fn from_system(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp::new(seconds, i32::try_from(since.subsec_nanos()).unwrap_or(0))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// RFC 3339 in UTC with whole seconds, as `metadata.creationTimestamp`.
pub fn format(time: Timestamp) -> String {
    k8s_openapi::jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", time).unwrap_or_default()
}

/// RFC 3339 with exactly six digits, as MicroTime fields need.
pub fn format_micro(time: Timestamp) -> String {
    k8s_openapi::jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%S%.6fZ", time).unwrap_or_default()
}

/// Reads RFC 3339 with any fraction and offset. Its years have four digits and no sign.
pub fn parse(text: &str) -> Option<Timestamp> {
    const YEAR_0: Timestamp = Timestamp::constant(-62_167_219_200, 0);
    text.parse().ok().filter(|time| *time >= YEAR_0)
}

/// Age of something created at `text`, `<unknown>` when absent or malformed.
pub fn age(text: Option<&str>, now: Timestamp) -> String {
    match text.and_then(parse) {
        Some(then) => human_duration(now.as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// `5s`, `3m20s`, `2d4h`: upstream's HumanDuration.
pub fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let s = seconds.max(0);
    let (m, h, d) = (s / 60, s / 3600, s / 86_400);
    let two = |a: i64, ua: &str, b: i64, ub: &str| {
        if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua}{b}{ub}") }
    };
    match s {
        0..120 => format!("{s}s"),
        120..600 => two(m, "m", s % 60, "s"),
        600..10_800 => format!("{m}m"),
        10_800..28_800 => two(h, "h", m % 60, "m"),
        28_800..172_800 => format!("{h}h"),
        172_800..691_200 => two(d, "d", h % 24, "h"),
        691_200..63_072_000 => format!("{d}d"),
        63_072_000..252_288_000 => two(d / 365, "y", d % 365, "d"),
        _ => format!("{}y", d / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn ages_like_kubectl() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (185, "3m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_160, "3h6m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (252_288_000, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
