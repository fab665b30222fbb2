//! An IPv4 range, and where the cluster has both families an IPv6 range: `10.42.0.0/16,fd42::/48`.

use std::fmt;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// The ranges of Pods or of Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidrs {
    /// Always there.
    pub v4: Ipv4Net,
    /// Only in a cluster of both families.
    pub v6: Option<Ipv6Net>,
}

/// Why a text is no such ranges.
#[derive(Debug, thiserror::Error)]
#[error("give an IPv4 range, or an IPv4 and an IPv6 range: 10.0.0.0/16,fd00::/48")]
pub struct CidrsError;

impl Cidrs {
    /// IPv4 only.
    pub fn v4(range: Ipv4Net) -> Self {
        Self { v4: range, v6: None }
    }

    /// One or two.
    pub fn all(self) -> impl Iterator<Item = IpNet> {
        [Some(IpNet::V4(self.v4)), self.v6.map(IpNet::V6)].into_iter().flatten()
    }

    /// Whether these are the ranges of `kept`, perhaps with an IPv6 range that it did not have.
    pub fn extends(self, kept: Self) -> bool {
        self.v4 == kept.v4 && (kept.v6.is_none() || self.v6 == kept.v6)
    }
}

impl FromStr for Cidrs {
    type Err = CidrsError;

    fn from_str(text: &str) -> Result<Self, CidrsError> {
        let (v4, v6) = match text.split_once(',') {
            Some((v4, v6)) => (v4, Some(v6)),
            None => (text, None),
        };
        let v6 = v6.map(|range| range.trim().parse()).transpose().map_err(|_| CidrsError)?;
        Ok(Self { v4: v4.trim().parse().map_err(|_| CidrsError)?, v6 })
    }
}

impl TryFrom<String> for Cidrs {
    type Error = CidrsError;

    fn try_from(text: String) -> Result<Self, CidrsError> {
        text.parse()
    }
}

impl From<Cidrs> for String {
    fn from(cidrs: Cidrs) -> Self {
        cidrs.to_string()
    }
}

impl fmt::Display for Cidrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.v6 {
            Some(v6) => write!(f, "{},{v6}", self.v4),
            None => write!(f, "{}", self.v4),
        }
    }
}

/// The first and the last port of a range: `30000-32767`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// Why a text is no such range.
#[derive(Debug, thiserror::Error)]
#[error("give the first and the last port, such as 30000-32767")]
pub struct PortRangeError;

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let (first, last) = text.split_once('-').ok_or(PortRangeError)?;
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(PortRangeError),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: String) -> Result<Self, PortRangeError> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cidrs, PortRange};

    #[test]
    fn ranges_are_read_and_printed() {
        for text in ["10.42.0.0/16", "10.42.0.0/16,fd42::/48"] {
            assert_eq!(text.parse::<Cidrs>().unwrap().to_string(), text);
        }
        let (one, two): (Cidrs, Cidrs) =
            ("10.42.0.0/16".parse().unwrap(), "10.42.0.0/16, fd42::/48".parse().unwrap());
        assert!(two.extends(one) && two.extends(two) && !one.extends(two));
        for text in ["", "fd42::/48", "10.42.0.0/16,10.43.0.0/16", "10.42.0.0/16,fd42::/48,x"] {
            assert!(text.parse::<Cidrs>().is_err(), "{text}");
        }
        assert_eq!("30000-32767".parse::<PortRange>().unwrap().to_string(), "30000-32767");
        for text in ["", "1", "2-1", "0-5", "1-70000"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
