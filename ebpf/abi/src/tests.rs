use super::*;
use std::collections::HashSet;
use std::net::Ipv4Addr;

#[test]
fn network_order_survives_the_round_trip() {
    assert_eq!(Be16::from_host(443).raw().to_ne_bytes(), [1, 187]);
    assert_eq!(Be32::from_host(0x0a2b_000a), Be32::from([10, 43, 0, 10]));
    assert_eq!(
        Ipv4Addr::from(Be32::from(Ipv4Addr::new(10, 43, 0, 1))),
        Ipv4Addr::new(10, 43, 0, 1)
    );
    assert_eq!(format!("{:?} {:?}", Be32::from([10, 0, 0, 1]), Be16::from_host(80)), "10.0.0.1 80");
}

#[test]
fn drop_reasons_have_unique_names_and_fit_the_map() {
    let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), DropReason::ALL.len());
    for reason in DropReason::ALL {
        assert_eq!(DropReason::from_raw(*reason as u16), Some(*reason));
        assert!(u32::from(*reason as u16) < limits::DROPS_MAX);
    }
    assert_eq!(DropReason::from_raw(0), None);
}

#[test]
fn counters_are_dense_and_fit_the_map() {
    for (index, counter) in Counter::ALL.iter().enumerate() {
        assert_eq!(*counter as usize, index);
        assert!((*counter as u32) < limits::COUNTERS_MAX);
    }
}

#[test]
fn map_names_fit_the_kernel() {
    for name in maps::PINNED {
        assert!(name.len() <= 15, "{name}");
    }
}

#[test]
fn tuple_reversed_twice_is_itself() {
    let tuple = Tuple {
        source_addr: Addr::v4(Be32::from([10, 42, 0, 2])),
        dest_addr: Addr::v4(Be32::from([10, 42, 0, 3])),
        source_port: Be16::from_host(40000),
        dest_port: Be16::from_host(80),
        proto: Proto::Tcp as u8,
        pad: [0; 3],
    };
    assert_eq!(tuple.reversed().reversed(), tuple);
    assert_eq!(tuple.reversed().dest_port, tuple.source_port);
}

#[test]
fn event_decodes_field_by_field() {
    let mut bytes = [0u8; size_of::<FlowEvent>()];
    bytes[16] = 7;
    bytes[82..84].copy_from_slice(&443u16.to_be_bytes());
    bytes[84] = 6;
    bytes[136] = 2;
    bytes[139] = 4;
    bytes[140] = 1;
    bytes[141] = 2;
    let event = FlowEvent::from_bytes(&bytes).unwrap();
    assert_eq!(event.flow_id, FlowId(7));
    assert_eq!(event.tuple.dest_port.to_host(), 443);
    assert_eq!(event.proto(), Some(Proto::Tcp));
    assert_eq!(event.drop_reason(), Some(DropReason::SpoofedSource));
    assert_eq!(event.kind(), Some(FlowEventKind::Drop));
    assert_eq!(event.hook(), Some(Hook::FromPod));
    assert_eq!(event.verdict(), Some(Verdict::Drop));
    assert_eq!(FlowEvent::from_bytes(&bytes[1..]), None);
}

#[test]
fn addresses_of_both_families_survive_the_round_trip() {
    for text in ["10.43.0.10", "0.0.0.0", "fd42::10", "::", "2001:db8:1:2:3:4:5:6"] {
        let address: std::net::IpAddr = text.parse().unwrap();
        assert_eq!(std::net::IpAddr::from(Addr::from(address)), address);
        assert_eq!(Addr::from(address).is_v4(), address.is_ipv4());
    }
    assert_eq!(Addr::v4(Be32::from([10, 0, 0, 1])).any_of_family(), Addr::ANY_V4);
    assert!(Addr::NONE.is_none() && !Addr::ANY_V4.is_none());
}

#[test]
fn a_slot_is_one_word() {
    let slot = Slot { backend_id: BackendId(7), list_id: ListId(9) };
    assert_eq!(Slot::from_word(slot.to_word()), slot);
    #[cfg(target_endian = "little")]
    assert_eq!(slot.to_word().to_ne_bytes(), [7, 0, 0, 0, 9, 0, 0, 0]);
}
