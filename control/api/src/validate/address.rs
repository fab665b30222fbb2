//! Addresses and ranges in upstream's words.

use std::net::IpAddr;

use serde_json::Value;

use super::field::invalid;
use crate::kinds::Causes;
use crate::meta;

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address of either family.
pub fn valid(text: &str, field: &str, causes: &mut Causes) -> Option<IpAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        causes.push(invalid(field, text, ADDRESS));
    }
    parsed
}

/// An address to which others may send: none that means this very host or link.
pub fn usable(text: &str, field: &str, causes: &mut Causes) {
    if let Some(ip) = valid(text, field, causes) {
        causes.extend(special(ip).map(|problem| invalid(field, text, problem)));
    }
}

/// An address behind a Service. That of the API itself may be this host's own: a cluster of one machine listens there.
pub fn endpoint(object: &Value, text: &str, field: &str, causes: &mut Causes) {
    if meta::namespace(object) == "default" && meta::name(object) == "kubernetes" {
        valid(text, field, causes);
    } else {
        usable(text, field, causes);
    }
}

/// Why nobody else reaches this address, if so.
pub fn special(ip: IpAddr) -> Option<&'static str> {
    let (loopback, unspecified) = (ip.is_loopback(), ip.is_unspecified());
    let (link, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    if unspecified {
        Some("may not be unspecified (0.0.0.0 or ::)")
    } else if loopback {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    } else if link {
        Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    } else if multicast {
        Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    } else {
        None
    }
}

/// An address and the length of its prefix.
pub type Prefix = (IpAddr, u8);

/// A range of addresses.
pub fn range(text: &str, field: &str, causes: &mut Causes) -> Option<Prefix> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok().filter(|_| !length.starts_with('+'))?;
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
    });
    if parsed.is_none() {
        causes.push(invalid(field, text, RANGE));
    }
    parsed
}

/// Whether a range lies in another and is smaller.
pub fn within(part: Prefix, whole: Prefix) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let shift = 128 - u32::from(whole.1);
    let masked = |ip: IpAddr| bits(ip).checked_shr(shift).unwrap_or(0);
    part.0.is_ipv4() == whole.0.is_ipv4() && part.1 > whole.1 && masked(part.0) == masked(whole.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_ranges() {
        let of = |text| range(text, "", &mut Causes::new()).expect("a range");
        for (part, whole, expected) in [
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("11.0.0.0/16", "10.0.0.0/8", false),
            ("1.2.3.4/32", "0.0.0.0/0", true),
            ("fd00::/64", "fd00::/48", true),
            ("fd00::/64", "10.0.0.0/8", false),
        ] {
            assert_eq!(within(of(part), of(whole)), expected, "{part} in {whole}");
        }
    }
}
