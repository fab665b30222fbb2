//! One frame through `from_pod` or `to_pod`: result, bytes, counts, events.
#![expect(clippy::unwrap_used, reason = "a test whose world cannot be made fails")]

use beeline_abi::limits::{FLOW_IDLE_NS, FLOW_SYN_IDLE_NS};
use beeline_abi::{
    Addr, Be16, Be32, CONFIG_NO_FLOW_RECORDS, Config, Counter, DropReason, FLOW_REPLY, FlowEvent,
    FlowEventKind, FlowId, FlowKey, FlowLink, FlowState, Hook, Identity, LAYOUT_VERSION, Proto,
    RuleId, ServiceId, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Tuple, Verdict, maps,
};
use beeline_test_kernel::{Kernel, Pods, frame, skip};

const PASS: i32 = 0;
const DROP: i32 = 2;
const REDIRECT: i32 = 7;

/// An address that nobody told the node.
fn far() -> Addr {
    Addr::v4(Be32::from([192, 0, 2, 9]))
}

/// A node with two pods and the object; the closure runs where the pods' links are.
fn with(work: impl FnOnce(&Pods, &mut Kernel) + Send) {
    if skip() {
        return;
    }
    let pods = Pods::new().unwrap();
    let mut kernel = Kernel::load().unwrap();
    pods.announce(&mut kernel).unwrap();
    pods.on_host(|| work(&pods, &mut kernel)).unwrap();
}

#[test]
fn a_packet_for_the_world_goes_to_the_stack_unchanged_and_is_recorded() {
    with(|pods, kernel| {
        let pod = &pods.pods[0];
        let bytes = frame::tcp(pod.at(40000), (far(), 443), TCP_SYN);
        let (action, after) = kernel.send("from_pod", pod.ifindex, &bytes).unwrap();
        assert_eq!((action, after), (PASS, bytes));
        let events = kernel.events().unwrap();
        assert_eq!(events.len(), 1, "{events:#?}");
        let event = events[0];
        assert_eq!((event.kind(), event.hook()), (Some(FlowEventKind::New), Some(Hook::FromPod)));
        assert_eq!(
            (event.verdict(), event.rule_id),
            (Some(Verdict::Forward), RuleId::DEFAULT_ALLOW)
        );
        assert_eq!((event.source_identity, event.dest_identity), (Identity(300), Identity::WORLD));
        assert_eq!((event.bytes, event.packets, event.tcp_flags), (40, 1, TCP_SYN));
        assert_eq!((event.endpoint_id, event.ifindex), (pod.endpoint.endpoint_id, pod.ifindex));
        assert_ne!(event.flow_id, FlowId(0));
    });
}

#[test]
fn a_packet_for_a_local_pod_is_redirected_with_the_links_addresses() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let bytes = frame::tcp(a.at(40000), b.at(80), TCP_SYN);
        let (action, after) = kernel.send("from_pod", a.ifindex, &bytes).unwrap();
        assert_eq!(action, REDIRECT);
        assert_eq!(after[..6], b.endpoint.pod_mac);
        assert_eq!(after[6..12], b.endpoint.host_mac);
        assert_eq!(after[12..], bytes[12..]);
        assert_eq!(kernel.counter(Counter::Redirected).unwrap(), 1);
        assert_eq!(kernel.events().unwrap()[0].verdict(), Some(Verdict::Redirect));
    });
}

#[test]
fn without_flow_records_only_drops_are_told() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let config = Config {
            layout_version: LAYOUT_VERSION,
            flags: CONFIG_NO_FLOW_RECORDS,
            ..Config::default()
        };
        kernel.config(config).unwrap();
        let bytes = frame::tcp(a.at(40000), b.at(80), TCP_SYN);
        assert_eq!(kernel.send("from_pod", a.ifindex, &bytes).unwrap().0, REDIRECT);
        kernel.send("to_pod", b.ifindex, &bytes).unwrap();
        assert_eq!(kernel.events().unwrap(), []);
        assert_eq!(kernel.flows().unwrap(), []);
        let stolen = frame::tcp(b.at(40000), a.at(80), TCP_SYN);
        assert_eq!(kernel.send("from_pod", a.ifindex, &stolen).unwrap().0, DROP);
        assert_eq!(kernel.events().unwrap().len(), 1);
    });
}

#[test]
fn a_pod_cannot_send_from_another_address() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        for source in [b.at(40000), (far(), 40000)] {
            let (action, _) = kernel
                .send("from_pod", a.ifindex, &frame::tcp(source, (far(), 443), TCP_SYN))
                .unwrap();
            assert_eq!(action, DROP);
        }
        let drops = kernel.drops(DropReason::SpoofedSource).unwrap();
        assert_eq!((drops.packets, drops.bytes), (2, 2 * 54));
        let event = kernel.events().unwrap()[0];
        assert_eq!(
            (event.kind(), event.verdict()),
            (Some(FlowEventKind::Drop), Some(Verdict::Drop))
        );
        assert_eq!(
            (event.drop_reason(), event.rule_id),
            (Some(DropReason::SpoofedSource), RuleId::SOURCE_CHECK)
        );
        assert_eq!(event.tuple.source_addr, b.addr.into());
        assert!(kernel.flows().unwrap().is_empty(), "a dropped packet is no flow");
    });
}

#[test]
fn a_flood_of_spoofed_packets_is_counted_whole_and_told_rarely() {
    with(|pods, kernel| {
        let pod = &pods.pods[0];
        for port in 0..500 {
            kernel
                .send("from_pod", pod.ifindex, &frame::udp((far(), port), (far(), 9), b"x"))
                .unwrap();
        }
        assert_eq!(kernel.drops(DropReason::SpoofedSource).unwrap().packets, 500);
        let told = kernel.events().unwrap().len();
        assert!((1..400).contains(&told), "{told}");
    });
}

#[test]
fn truncated_and_malformed_packets_are_dropped_with_their_reason() {
    with(|pods, kernel| {
        let pod = &pods.pods[0];
        let whole = frame::tcp(pod.at(40000), (far(), 443), TCP_SYN);
        // The kernel itself refuses to run a test with less than an IP header; `beeline-packet` tests those lengths.
        for length in [34, 35, 40, 53] {
            assert_eq!(
                kernel.send("from_pod", pod.ifindex, &whole[..length]).unwrap().0,
                DROP,
                "{length}"
            );
            assert_eq!(
                kernel.send("to_pod", pod.ifindex, &whole[..length]).unwrap().0,
                DROP,
                "{length}"
            );
        }
        assert_eq!(kernel.drops(DropReason::Truncated).unwrap().packets, 8);
        let mut malformed = whole;
        malformed[14] = 0x44;
        assert_eq!(kernel.send("from_pod", pod.ifindex, &malformed).unwrap().0, DROP);
        assert_eq!(kernel.drops(DropReason::Malformed).unwrap().packets, 1);
    });
}

#[test]
fn arp_passes() {
    with(|pods, kernel| {
        let pod = &pods.pods[0];
        for program in ["from_pod", "to_pod"] {
            assert_eq!(
                kernel.send(program, pod.ifindex, &frame::arp()).unwrap(),
                (PASS, frame::arp())
            );
        }
        assert_eq!(kernel.counter(Counter::OtherProtocols).unwrap(), 2);
        assert!(kernel.events().unwrap().is_empty());
    });
}

#[test]
fn later_fragments_are_forwarded_by_address_and_never_read_as_ports() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let payload = [0, 80, 0, 80, 0, 12, 0, 0, 1, 2, 3, 4];
        let later = frame::ipv4(a.addr.into(), b.addr.into(), Proto::Udp as u8, 1, &payload);
        assert_eq!(kernel.send("from_pod", a.ifindex, &later).unwrap().0, REDIRECT);
        assert_eq!(kernel.counter(Counter::Fragments).unwrap(), 1);
        assert!(kernel.flows().unwrap().is_empty());
        let spoofed = frame::ipv4(far(), b.addr.into(), Proto::Udp as u8, 1, &payload);
        assert_eq!(kernel.send("from_pod", a.ifindex, &spoofed).unwrap().0, DROP);
        let first = frame::ipv4(a.addr.into(), b.addr.into(), Proto::Udp as u8, 0x2000, &payload);
        kernel.send("from_pod", a.ifindex, &first).unwrap();
        assert_eq!(kernel.flows().unwrap()[0].0.tuple.dest_port.to_host(), 80);
    });
}

#[test]
fn a_link_that_vanished_is_counted_and_left_to_the_stack() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let mut gone = b.endpoint;
        gone.ifindex = 4_000;
        kernel.endpoint(b.addr.into(), gone).unwrap();
        let bytes = frame::tcp(a.at(40000), b.at(80), TCP_SYN);
        assert_eq!(kernel.send("from_pod", a.ifindex, &bytes).unwrap(), (PASS, bytes));
        assert_eq!(kernel.counter(Counter::EndpointGone).unwrap(), 1);
        assert_eq!(kernel.events().unwrap()[0].verdict(), Some(Verdict::Forward));
    });
}

#[test]
fn a_flow_begins_and_ends_once_and_its_hooks_and_directions_share_a_number() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let (client, server) = (a.at(40000), b.at(80));
        for (from, to, flags) in [
            (client, server, TCP_SYN),
            (server, client, TCP_SYN | TCP_ACK),
            (client, server, TCP_ACK),
            (client, server, TCP_FIN | TCP_ACK),
            (server, client, TCP_FIN | TCP_ACK),
            (client, server, TCP_ACK),
        ] {
            let (left, entered) = if from == client { (a, b) } else { (b, a) };
            let bytes = frame::tcp(from, to, flags);
            kernel.send("from_pod", left.ifindex, &bytes).unwrap();
            kernel.send("to_pod", entered.ifindex, &bytes).unwrap();
        }
        let events = kernel.events().unwrap();
        let kinds = |hook, port| {
            let of = events.iter().filter(|event| {
                event.hook() == Some(hook) && event.tuple.source_port.to_host() == port
            });
            of.map(|event| event.kind().unwrap()).collect::<Vec<_>>()
        };
        for hook in [Hook::FromPod, Hook::ToPod] {
            for port in [40000, 80] {
                assert_eq!(
                    kinds(hook, port),
                    [FlowEventKind::New, FlowEventKind::End],
                    "{hook:?} {port}"
                );
            }
        }
        assert!(events.iter().all(|event| event.flow_id == events[0].flow_id), "{events:#?}");
        for event in &events {
            assert_eq!(event.flags & FLOW_REPLY != 0, event.tuple.source_port.to_host() == 80);
        }
        let state = kernel
            .flows()
            .unwrap()
            .into_iter()
            .find(|(key, _)| key.hook == 1 && key.ifindex == a.ifindex)
            .unwrap()
            .1;
        assert_eq!((state.packets, state.bytes, state.ended), (4, 160, 1));
        assert_eq!(state.tcp_flags, TCP_SYN | TCP_ACK | TCP_FIN);
    });
}

#[test]
fn a_reused_tuple_is_another_flow() {
    with(|pods, kernel| {
        let pod = &pods.pods[0];
        for flags in [TCP_SYN, TCP_RST, TCP_SYN] {
            kernel
                .send("from_pod", pod.ifindex, &frame::tcp(pod.at(40000), (far(), 80), flags))
                .unwrap();
        }
        // The same from outside, which nothing but `to_pod` sees.
        for flags in [TCP_SYN, TCP_ACK, TCP_SYN] {
            kernel
                .send("to_pod", pod.ifindex, &frame::tcp((far(), 50000), pod.at(80), flags))
                .unwrap();
        }
        let news: Vec<_> = kernel
            .events()
            .unwrap()
            .into_iter()
            .filter(|event| event.kind() == Some(FlowEventKind::New))
            .collect();
        assert_eq!(news.len(), 4);
        for pair in news.windows(2) {
            assert_ne!(pair[0].flow_id, pair[1].flow_id);
        }
    });
}

/// Makes every flow this much older.
fn age(kernel: &mut Kernel, silence: u64) {
    for (key, mut state) in kernel.flows().unwrap() {
        for time in [&mut state.first_ns, &mut state.last_ns, &mut state.reported_ns] {
            *time = time.wrapping_sub(silence);
        }
        kernel.hash::<FlowKey, FlowState>(maps::FLOWS).unwrap().insert(key, state, 0).unwrap();
    }
}

/// Pretends that every link was made for a Service.
fn name_links(kernel: &mut Kernel) {
    for (tuple, link) in kernel.links().unwrap() {
        let link =
            FlowLink { service_id: ServiceId(3), frontend_port: Be16::from_host(53), ..link };
        kernel.hash::<Tuple, FlowLink>(maps::FLOW_LINKS).unwrap().insert(tuple, link, 0).unwrap();
    }
}

/// One datagram, or whatever `bytes` is, from one pod to the other, as the links see it.
fn cross(kernel: &mut Kernel, from: u32, to: u32, bytes: &[u8]) -> [FlowEvent; 2] {
    kernel.send("from_pod", from, bytes).unwrap();
    kernel.send("to_pod", to, bytes).unwrap();
    kernel.events().unwrap().try_into().unwrap()
}

#[test]
fn a_silent_exchange_is_over_and_its_tuple_begins_another() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let datagram = frame::udp(a.at(40000), b.at(53), b"x");
        let answer = frame::udp(b.at(53), a.at(40000), b"x");
        let [first, _] = cross(kernel, a.ifindex, b.ifindex, &datagram);
        cross(kernel, b.ifindex, a.ifindex, &answer);
        name_links(kernel);

        // Long, but not over: nothing but an update.
        age(kernel, FLOW_IDLE_NS - 10_000_000_000);
        for event in cross(kernel, a.ifindex, b.ifindex, &datagram) {
            assert_eq!((event.kind(), event.packets), (Some(FlowEventKind::Update), 2));
            assert_eq!(event.flow_id, first.flow_id);
        }

        age(kernel, FLOW_IDLE_NS);
        let again = cross(kernel, a.ifindex, b.ifindex, &datagram);
        for event in &again {
            assert_eq!((event.kind(), event.packets), (Some(FlowEventKind::New), 1));
            assert_ne!(event.flow_id, first.flow_id);
            assert_eq!((event.flow_id, event.service_id), (again[0].flow_id, ServiceId(0)));
        }
        for event in cross(kernel, b.ifindex, a.ifindex, &answer) {
            assert_eq!((event.kind(), event.flags), (Some(FlowEventKind::New), FLOW_REPLY));
            assert_eq!((event.flow_id, event.service_id), (again[0].flow_id, ServiceId(0)));
        }

        // Now the other side begins: what was the answer is the request.
        age(kernel, FLOW_IDLE_NS);
        let turned = cross(kernel, b.ifindex, a.ifindex, &answer);
        let back = cross(kernel, a.ifindex, b.ifindex, &datagram);
        for (event, flags) in
            turned.iter().map(|e| (e, 0)).chain(back.iter().map(|e| (e, FLOW_REPLY)))
        {
            assert_ne!(event.flow_id, again[0].flow_id);
            assert_eq!((event.flow_id, event.flags), (turned[0].flow_id, flags));
            assert_eq!((event.kind(), event.packets), (Some(FlowEventKind::New), 1));
        }
    });
}

#[test]
fn one_live_direction_keeps_the_exchange() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let datagram = frame::udp(a.at(40000), b.at(53), b"x");
        let answer = frame::udp(b.at(53), a.at(40000), b"x");
        let [first, _] = cross(kernel, a.ifindex, b.ifindex, &datagram);
        cross(kernel, b.ifindex, a.ifindex, &answer);
        for _ in 0..3 {
            age(kernel, FLOW_IDLE_NS - 10_000_000_000);
            for event in cross(kernel, b.ifindex, a.ifindex, &answer) {
                assert_eq!(event.flow_id, first.flow_id);
            }
        }
        for event in cross(kernel, a.ifindex, b.ifindex, &datagram) {
            assert_eq!((event.kind(), event.packets), (Some(FlowEventKind::Update), 2));
            assert_eq!(event.flow_id, first.flow_id);
        }
    });
}

#[test]
fn a_link_that_outlived_its_flow_names_no_other() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let datagram = frame::udp(a.at(40000), b.at(53), b"x");
        let [first, _] = cross(kernel, a.ifindex, b.ifindex, &datagram);
        name_links(kernel);
        for (key, _) in kernel.flows().unwrap() {
            kernel.hash::<FlowKey, FlowState>(maps::FLOWS).unwrap().remove(&key).unwrap();
        }
        for event in cross(kernel, a.ifindex, b.ifindex, &datagram) {
            assert_ne!(event.flow_id, first.flow_id);
            assert_eq!(event.service_id, ServiceId(0));
        }
    });
}

#[test]
fn an_unanswered_syn_is_over_after_a_while() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let syn = frame::tcp(a.at(40000), b.at(80), TCP_SYN);
        let [first, _] = cross(kernel, a.ifindex, b.ifindex, &syn);
        age(kernel, FLOW_SYN_IDLE_NS - 10_000_000_000);
        for event in cross(kernel, a.ifindex, b.ifindex, &syn) {
            assert_eq!((event.kind(), event.packets), (Some(FlowEventKind::Update), 2));
            assert_eq!(event.flow_id, first.flow_id);
        }
        age(kernel, FLOW_SYN_IDLE_NS);
        let again = cross(kernel, a.ifindex, b.ifindex, &syn);
        for event in &again {
            assert_eq!((event.kind(), event.packets), (Some(FlowEventKind::New), 1));
            assert_ne!(event.flow_id, first.flow_id);
            assert_eq!(event.flow_id, again[0].flow_id);
        }
    });
}

#[test]
fn a_full_ring_is_counted_and_the_report_comes_later() {
    if skip() {
        return;
    }
    let pods = Pods::new().unwrap();
    let mut kernel = Kernel::load_with(|loader| {
        loader.map_max_entries("EVENTS", 4096);
    })
    .unwrap();
    pods.announce(&mut kernel).unwrap();
    pods.on_host(|| {
        let pod = &pods.pods[0];
        let send = |kernel: &mut Kernel, port| {
            kernel
                .send("from_pod", pod.ifindex, &frame::udp(pod.at(port), (far(), 53), b"x"))
                .unwrap();
        };
        for port in 1..=100 {
            send(&mut kernel, port);
        }
        let told = kernel.events().unwrap().len() as u64;
        assert_eq!(kernel.counter(Counter::EventsLost).unwrap(), 100 - told);
        assert!(told < 100);
        send(&mut kernel, 100);
        let late = kernel.events().unwrap();
        assert_eq!((late.len(), late[0].kind(), late[0].packets), (1, Some(FlowEventKind::New), 2));
    })
    .unwrap();
}

#[test]
fn a_packet_of_a_known_flow_costs_less_than_a_microsecond_or_two() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let bytes = frame::tcp(a.at(40000), b.at(80), TCP_ACK);
        for (program, ifindex) in [("from_pod", a.ifindex), ("to_pod", b.ifindex)] {
            kernel.send(program, ifindex, &bytes).unwrap();
            let nanoseconds = kernel.cost(program, ifindex, &bytes, 200_000).unwrap();
            eprintln!("{program}: {nanoseconds} ns per packet");
            // A shared test machine may be slow; what must never pass is a change of magnitude. An emulated one says nothing.
            let limit = if std::env::var_os("BEELINE_EMULATED").is_some() { 50_000 } else { 2_000 };
            assert!(nanoseconds < limit, "{program}: {nanoseconds} ns");
        }
    });
}
