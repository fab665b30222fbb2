//! Formats of text that upstream knows (kube-openapi `pkg/validation/strfmt`); unknown ones fit anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;

use crate::{time, validate};

/// Whether the text is of that format.
pub(crate) fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => time::parse(text).is_some(),
        "date" => time::parse(&format!("{text}T00:00:00Z")).is_some() && text.len() == 10,
        "duration" => duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => mac(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid(text, format),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "uri" => uri(text),
        "email" => email(text),
        "hostname" => {
            !text.is_empty() && validate::dns_subdomain(&text.to_lowercase(), false).is_empty()
        }
        _ => true,
    }
}

/// Go's durations: `1h30m`, `-1.5s`, `0`.
fn duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let units = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];
        let unit = units.iter().filter(|u| tail.starts_with(**u)).max_by_key(|u| u.len());
        let Some(unit) = unit.filter(|_| number.parse::<f64>().is_ok()) else { return false };
        rest = &tail[unit.len()..];
        parts += 1;
    }
    parts > 0
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let hex = |p: &&str| p.len() == 2 && p.bytes().all(|c| c.is_ascii_hexdigit());
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(hex)
}

fn uuid(text: &str, format: &str) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let version = format.strip_prefix("uuid").and_then(|v| v.chars().next());
    plain.len() == 32
        && plain.bytes().all(|c| c.is_ascii_hexdigit())
        && version.is_none_or(|v| plain.chars().nth(12) == Some(v))
}

/// What Go's `url.ParseRequestURI` takes: an absolute path or a scheme.
fn uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c));
    (named || text.starts_with('/')) && !text.contains(|c: char| c.is_control() || c == ' ')
}

fn email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    !local.is_empty() && !domain.is_empty() && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_fit_what_they_should() {
        for (format, good, bad) in [
            ("date-time", "2025-01-02T03:04:05Z", "yesterday"),
            ("date", "2025-01-02", "2025-13-02"),
            ("duration", "1h30m", "1x"),
            ("duration", "1.5s", ""),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "fd00::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:1a:2b:3c:4d:5e", "00:1a:2b"),
            ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810"),
            (
                "uuid4",
                "f47ac10b-58cc-4372-a567-0e02b2c3d479",
                "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            ),
            ("byte", "aGVsbG8=", "not base64"),
            ("uri", "https://example.com/a?b", "example"),
            ("email", "a@example.com", "example.com"),
            ("hostname", "a.example.com", "-a"),
        ] {
            assert!(fits(format, good), "{format} {good}");
            assert!(!fits(format, bad), "{format} {bad}");
        }
        assert!(fits("unheard-of", "anything"));
    }
}
