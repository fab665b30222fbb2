//! What can be decided about the dataplane, in words that flags and the configuration file share.
//!
//! In: words. Out: types that the datapath takes. Refuses what cannot be, and says what can.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use anyhow::{Context as _, bail};
use beeline_datapath::Sizes;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// How packets from outside reach a backend on another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LbMode {
    /// With this node's address.
    #[default]
    Snat,
    /// With the client's.
    Dsr,
}

impl From<LbMode> for beeline_datapath::LbMode {
    fn from(mode: LbMode) -> Self {
        match mode {
            LbMode::Snat => Self::Snat,
            LbMode::Dsr => Self::Dsr,
        }
    }
}

/// Where packets from outside are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    /// At the interface's tc hook.
    #[default]
    Off,
    /// In its driver; refused where the driver cannot.
    Native,
}

impl From<Edge> for beeline_datapath::Edge {
    fn from(edge: Edge) -> Self {
        match edge {
            Edge::Off => Self::Off,
            Edge::Native => Self::Native,
        }
    }
}

/// At which of its addresses a node answers node ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePorts {
    /// At all.
    All,
    /// At those that the Node object names.
    Primary,
    /// At those in one of these ranges.
    Within(Vec<IpNet>),
}

impl NodePorts {
    /// From what was given for `--nodeport-addresses`.
    pub fn parse(given: &[String]) -> anyhow::Result<Self> {
        match given {
            [] => return Ok(Self::All),
            [word] if word == "primary" => return Ok(Self::Primary),
            _ => {}
        }
        let range = |text: &String| {
            text.parse::<IpNet>().with_context(|| {
                format!(
                    "--nodeport-addresses {text:?} is no range: give one such as 192.0.2.0/24, or `primary` alone"
                )
            })
        };
        let ranges: Vec<IpNet> = given.iter().map(range).collect::<anyhow::Result<_>>()?;
        // What matches everything of a family, as upstream's default 0.0.0.0/0 does, is no restriction.
        let all = ranges.iter().all(|range| range.prefix_len() == 0);
        Ok(if all { Self::All } else { Self::Within(ranges) })
    }

    /// Which of a node's addresses answer; `primary` are those that the Node object names.
    pub fn of(&self, all: &[IpAddr], primary: &[IpAddr]) -> Vec<IpAddr> {
        match self {
            Self::All => all.to_vec(),
            Self::Primary => primary.to_vec(),
            Self::Within(ranges) => {
                let within =
                    |address: &&IpAddr| ranges.iter().any(|range| range.contains(*address));
                all.iter().filter(within).copied().collect()
            }
        }
    }
}

/// Asked for by a range that holds it; nobody gets it unasked.
pub fn with_loopback(given: &[String]) -> bool {
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let ranges = given.iter().filter_map(|text| text.parse::<IpNet>().ok());
    ranges.into_iter().any(|range| loopback.iter().any(|address| range.contains(address)))
}

/// The size of one map: `NAME=ENTRIES`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MapSize {
    map: String,
    entries: u32,
}

impl FromStr for MapSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let Some((map, entries)) = text.split_once('=') else {
            bail!("{text:?} is no size of a map: give NAME=ENTRIES, such as CONNTRACK=524288");
        };
        let entries: u32 =
            entries.parse().ok().filter(|entries| *entries > 0).with_context(|| {
                format!("{entries:?} is no number of entries: give one such as 524288")
            })?;
        if !Sizes::default().set(map, entries) {
            bail!("there is no map {map:?} whose size can be set: {}", Sizes::NAMES.join(", "));
        }
        if map == "EVENTS" && !entries.is_power_of_two() {
            bail!("EVENTS counts bytes and has to be a power of two, such as 4194304");
        }
        Ok(Self { map: map.to_owned(), entries })
    }
}

impl TryFrom<String> for MapSize {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        text.parse()
    }
}

impl From<MapSize> for String {
    fn from(size: MapSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for MapSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.map, self.entries)
    }
}

/// The usual sizes, but for those given.
pub fn sizes(given: &[MapSize]) -> Sizes {
    let mut sizes = Sizes::default();
    for MapSize { map, entries } in given {
        sizes.set(map, *entries);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_set_by_the_maps_name() {
        let given = ["CONNTRACK=1000", "BACKENDS=2000"].map(|text| text.parse().unwrap());
        let sizes = sizes(&given);
        assert_eq!((sizes.conntrack, sizes.backends), (1_000, 2_000));
        assert_eq!(given[0].to_string(), "CONNTRACK=1000");
        for (text, why) in [
            ("CONNTRACK", "give NAME=ENTRIES"),
            ("CONNTRACK=0", "no number of entries"),
            ("NETNS=5", "there is no map \"NETNS\" whose size can be set: SERVICES, "),
            ("EVENTS=5", "power of two"),
        ] {
            let error = text.parse::<MapSize>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn node_ports_answer_where_asked() {
        let all: Vec<IpAddr> = ["192.0.2.1", "10.0.0.1"].map(|text| text.parse().unwrap()).into();
        let within = NodePorts::parse(&["10.0.0.0/8".to_owned()]).unwrap();
        assert_eq!(within.of(&all, &all[..1]), all[1..]);
        assert_eq!(NodePorts::parse(&["primary".into()]).unwrap().of(&all, &all[..1]), all[..1]);
        assert_eq!(NodePorts::parse(&[]).unwrap().of(&all, &all[..1]), all);
    }
}
