//! Whether maps found pinned are of the layout that this build was made for.
//!
//! The choice when they are not: with no pods attached and no connection from outside tracked nothing depends on them, so they
//! are thrown away and said to be; else the start is refused, because new maps would orphan every connection.

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, MapInfo},
};
use beeline_abi::{
    Addr, Affinity, AffinityKey, AffinityOkKey, Backend, BackendCounters, Config, Connection,
    DropCount, Endpoint, FlowKey, FlowLink, FlowState, FragmentKey, FragmentPorts, Frontend,
    FrontendKey, LAYOUT_VERSION, NetnsOwner, RangeKey, Slot, SourceRangeKey, Track, Tuple,
    UdpReverse, UdpReverseKey, maps,
};

use crate::{DatapathError, endpoints, pins::Pins, uplinks};

/// What the start found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or nothing that was worth keeping.
    Fresh,
    /// Maps to adopt.
    Adopted,
}

/// Sizes of key and value of every pinned map; the ring has none.
fn sizes() -> [(&'static str, u32, u32); 21] {
    fn of<K, V>(name: &'static str) -> (&'static str, u32, u32) {
        let bytes = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        (name, bytes(size_of::<K>()), bytes(size_of::<V>()))
    }
    [
        of::<FrontendKey, Frontend>(maps::SERVICES),
        of::<u32, Slot>(maps::BACKEND_SLOTS),
        of::<u32, Backend>(maps::BACKENDS),
        of::<u32, BackendCounters>(maps::BACKEND_COUNTERS),
        of::<AffinityKey, Affinity>(maps::AFFINITY),
        of::<AffinityOkKey, u32>(maps::AFFINITY_OK),
        of::<SourceRangeKey, u32>(maps::SOURCE_RANGES),
        of::<RangeKey, u32>(maps::CLUSTER_RANGES),
        of::<Addr, u32>(maps::NODE_ADDRESSES),
        of::<Tuple, Track>(maps::CONNTRACK),
        of::<FragmentKey, FragmentPorts>(maps::FRAGMENTS),
        of::<u64, Connection>(maps::CONNECTIONS),
        of::<UdpReverseKey, UdpReverse>(maps::UDP_REVERSE),
        of::<Tuple, FlowLink>(maps::FLOW_LINKS),
        of::<Addr, Endpoint>(maps::ENDPOINTS),
        of::<u64, NetnsOwner>(maps::NETNS),
        of::<FlowKey, FlowState>(maps::FLOWS),
        of::<(), ()>(maps::EVENTS),
        of::<u32, u64>(maps::COUNTERS),
        of::<u32, DropCount>(maps::DROPS),
        of::<u32, Config>(maps::CONFIG),
    ]
}

/// Looks at what is pinned and makes room where it cannot be used.
pub(crate) fn check(pins: &Pins) -> Result<Found, DatapathError> {
    let mut pinned = maps::PINNED.iter().filter(|name| pins.map(name).exists()).peekable();
    if pinned.peek().is_none() {
        return Ok(Found::Fresh);
    }
    let Some(found) = mismatch(pins) else { return Ok(Found::Adopted) };
    let pods = endpoints::count(pins)?;
    let uplinks = if may_track(pins) { uplinks::count(pins)? } else { 0 };
    if pods > 0 || uplinks > 0 {
        let wanted = format!("version {LAYOUT_VERSION}");
        return Err(DatapathError::Layout {
            directory: pins.directory.clone(),
            found,
            wanted,
            pods,
            uplinks,
        });
    }
    tracing::warn!(
        found,
        wanted = LAYOUT_VERSION,
        "pinned maps of another layout, neither pods nor tracked connections use them: starting anew"
    );
    pins.clear()?;
    Ok(Found::Fresh)
}

/// Whether the pinned table of tracked connections may hold some: a table of another shape cannot be asked.
fn may_track(pins: &Pins) -> bool {
    let path = pins.map(maps::CONNTRACK);
    if !path.exists() {
        return false;
    }
    let table = MapData::from_pin(path).ok().map(Map::HashMap);
    let table = table.and_then(|map| HashMap::<_, Tuple, Track>::try_from(map).ok());
    table.is_none_or(|table| table.keys().next().is_some())
}

/// What is wrong with the pinned maps, in words.
fn mismatch(pins: &Pins) -> Option<String> {
    let version = match config(pins) {
        Some(config) => config.layout_version,
        None => return Some("without CONFIG".to_owned()),
    };
    if version != LAYOUT_VERSION {
        return Some(format!("version {version}"));
    }
    sizes().into_iter().find_map(|(name, key, value)| {
        let path = pins.map(name);
        if !path.exists() {
            return Some(format!("version {version} without {name}"));
        }
        let info = MapInfo::from_pin(&path).ok()?;
        let same = info.key_size() == key && info.value_size() == value;
        (!same).then(|| format!("version {version} with another {name}"))
    })
}

fn config(pins: &Pins) -> Option<Config> {
    let data = MapData::from_pin(pins.map(maps::CONFIG)).ok()?;
    let array = typed::<Config>(Map::Array(data))?;
    array.get(&0, 0).ok()
}

fn typed<V: Pod>(map: Map) -> Option<Array<MapData, V>> {
    Array::try_from(map).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_map_has_its_sizes() {
        let known: Vec<_> = sizes().iter().map(|(name, ..)| *name).collect();
        assert_eq!(known, maps::PINNED);
    }
}
