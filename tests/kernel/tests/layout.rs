//! The built object agrees with `beeline-abi`, and every program passes the verifier.

use aya::maps::Map;
use beeline_abi::{limits, maps, *};
use beeline_test_kernel::record::{self, Record};
use beeline_test_kernel::{Kernel, skip};

/// Name, key size, value size, entries: what `abi` says.
fn agreed() -> Vec<(&'static str, usize, usize, u32)> {
    vec![
        (maps::SERVICES, size_of::<FrontendKey>(), size_of::<Frontend>(), limits::FRONTENDS_MAX),
        (maps::BACKEND_SLOTS, 4, size_of::<Slot>(), limits::SLOTS_MAX),
        (maps::BACKENDS, 4, size_of::<Backend>(), limits::BACKENDS_MAX),
        (maps::BACKEND_COUNTERS, 4, size_of::<BackendCounters>(), limits::BACKENDS_MAX),
        (maps::AFFINITY, size_of::<AffinityKey>(), size_of::<Affinity>(), limits::AFFINITY_MAX),
        (maps::AFFINITY_OK, size_of::<AffinityOkKey>(), 4, limits::AFFINITY_OK_MAX),
        (maps::SOURCE_RANGES, size_of::<SourceRangeKey>(), 4, limits::SOURCE_RANGES_MAX),
        (maps::CLUSTER_RANGES, size_of::<RangeKey>(), 4, limits::CLUSTER_RANGES_MAX),
        (maps::NODE_ADDRESSES, size_of::<Addr>(), 4, limits::NODE_ADDRESSES_MAX),
        (maps::CONNTRACK, size_of::<Tuple>(), size_of::<Track>(), limits::CONNTRACK_MAX),
        (
            maps::FRAGMENTS,
            size_of::<FragmentKey>(),
            size_of::<FragmentPorts>(),
            limits::FRAGMENTS_MAX,
        ),
        (maps::CONNECTIONS, 8, size_of::<Connection>(), limits::CONNECTIONS_MAX),
        (
            maps::UDP_REVERSE,
            size_of::<UdpReverseKey>(),
            size_of::<UdpReverse>(),
            limits::UDP_REVERSE_MAX,
        ),
        (maps::FLOW_LINKS, size_of::<Tuple>(), size_of::<FlowLink>(), limits::FLOW_LINKS_MAX),
        (maps::ENDPOINTS, size_of::<Addr>(), size_of::<Endpoint>(), limits::ENDPOINTS_MAX),
        (maps::NETNS, 8, size_of::<NetnsOwner>(), limits::NETNS_MAX),
        (maps::FLOWS, size_of::<FlowKey>(), size_of::<FlowState>(), limits::FLOWS_MAX),
        (maps::EVENTS, 0, 0, limits::EVENTS_BYTES),
        (maps::COUNTERS, 4, 8, limits::COUNTERS_MAX),
        (maps::DROPS, 4, size_of::<DropCount>(), limits::DROPS_MAX),
        (maps::CONFIG, 4, size_of::<Config>(), 1),
    ]
}

fn data(map: &Map) -> &aya::maps::MapData {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::LpmTrie(data)
        | Map::RingBuf(data) => data,
        other => panic!("a map of a type nobody expects: {other:?}"),
    }
}

#[test]
fn maps_have_the_agreed_sizes() {
    if skip() {
        return;
    }
    let kernel = Kernel::load().unwrap();
    assert_eq!(
        agreed().iter().map(|row| row.0).collect::<Vec<_>>(),
        maps::PINNED,
        "every map is in this table"
    );
    for (name, key, value, entries) in agreed() {
        let info = data(kernel.bpf.map(name).unwrap()).info().unwrap();
        let built = (info.key_size() as usize, info.value_size() as usize, info.max_entries());
        assert_eq!(built, (key, value, entries), "{name}");
        assert_eq!(info.name_as_str(), Some(name), "the kernel cut the name");
    }
}

/// `BEELINE_REWRITE=1` writes what this kernel says into the record; a kernel without a column there is measured and not judged.
#[test]
fn verified_instructions_stay_near_the_record() {
    if skip() {
        return;
    }
    let verified = Kernel::load().unwrap().verified().unwrap();
    let walked = verified.into_iter().map(|(name, (walked, _))| (name, walked)).collect();
    let kernel = record::running().unwrap();
    let path = record::path();
    let mut record = Record::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
    if std::env::var_os("BEELINE_REWRITE").is_some() {
        record.set(&kernel, &walked);
        std::fs::write(&path, record.to_string()).unwrap();
        return;
    }
    if !record.knows(&kernel) {
        eprintln!("SKIPPED: kernel {kernel} has no column in the record: {walked:#?}");
        return;
    }
    let complaints = record.complaints(&kernel, &walked);
    assert!(complaints.is_empty(), "on {kernel} (BEELINE_REWRITE=1 accepts): {complaints:#?}");
}
