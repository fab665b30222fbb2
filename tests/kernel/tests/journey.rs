//! A connection from socket to socket: two pods, real links, every hook attached. One number all the way.
#![expect(clippy::unwrap_used, reason = "a test whose world cannot be made fails")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use beeline_abi::{
    BackendId, Be16, Counter, Endpoint, FLOW_TRANSLATED, FlowEvent, FrontendKey, Hook, Identity,
    NETNS_HOST, NetnsOwner, Proto, maps,
};
use beeline_test_kernel::{Cgroup, Kernel, Pods, skip};

const FRONTEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);

fn with(work: impl FnOnce(&Pods, &mut Kernel)) {
    if skip() {
        return;
    }
    let cgroup = Cgroup::enter().unwrap();
    let pods = Pods::new().unwrap();
    let mut kernel = Kernel::load().unwrap();
    kernel.attach_sockets(&cgroup).unwrap();
    pods.announce(&mut kernel).unwrap();
    pods.attach(&mut kernel).unwrap();
    work(&pods, &mut kernel);
}

fn hooks(events: &[FlowEvent]) -> BTreeSet<Hook> {
    events.iter().filter_map(FlowEvent::hook).collect()
}

#[test]
fn a_translated_tcp_connection_has_one_number_at_every_hook() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let key = FrontendKey::new((*FRONTEND.ip()).into(), Be16::from_host(80), Proto::Tcp);
        kernel.service(key, 7, 1, &[(BackendId(1), b.addr.into(), 8080)]).unwrap();
        let listener = b.inside(|| TcpListener::bind((b.addr, 8080)).unwrap()).unwrap();
        let mut client = a
            .inside(|| {
                TcpStream::connect_timeout(&FRONTEND.into(), Duration::from_secs(5)).unwrap()
            })
            .unwrap();
        let (mut server, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), a.addr);
        client.write_all(&[7; 100_000]).unwrap();
        let mut read = vec![0; 100_000];
        server.read_exact(&mut read).unwrap();
        drop(client);
        drop(server);
        let events = kernel.events().unwrap();
        assert_eq!(
            hooks(&events),
            BTreeSet::from([Hook::Connect, Hook::FromPod, Hook::ToPod]),
            "{events:#?}"
        );
        for event in &events {
            assert_eq!(event.flow_id, events[0].flow_id, "{events:#?}");
            assert_eq!(
                (event.service_id.0, event.backend_id.0, event.flags & FLOW_TRANSLATED),
                (7, 1, FLOW_TRANSLATED)
            );
        }
        assert!(kernel.counter(Counter::Redirected).unwrap() > 4);
        let sent = kernel
            .flows()
            .unwrap()
            .into_iter()
            .find(|(key, _)| key.ifindex == a.ifindex && key.hook == 1)
            .unwrap()
            .1;
        assert!((100_000..200_000).contains(&sent.bytes), "{sent:?}");
    });
}

#[test]
fn datagrams_connected_or_not_carry_the_number_of_their_socket() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let key = FrontendKey::new((*FRONTEND.ip()).into(), Be16::from_host(80), Proto::Udp);
        kernel.service(key, 7, 1, &[(BackendId(1), b.addr.into(), 8080)]).unwrap();
        let server = b.inside(|| UdpSocket::bind((b.addr, 8080)).unwrap()).unwrap();
        for connected in [true, false] {
            let client = a.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
            for socket in [&server, &client] {
                socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            }
            if connected {
                client.connect(FRONTEND).unwrap();
                client.send(b"ask").unwrap();
            } else {
                client.send_to(b"ask", FRONTEND).unwrap();
            }
            let mut read = [0; 8];
            let (_, from) = server.recv_from(&mut read).unwrap();
            server.send_to(b"ok", from).unwrap();
            assert_eq!(client.recv_from(&mut read).unwrap(), (2, SocketAddr::V4(FRONTEND)));
            let events = kernel.events().unwrap();
            assert_eq!(events.len(), 5, "one socket, two hooks in two directions: {events:#?}");
            assert!(
                events
                    .iter()
                    .all(|event| event.flow_id == events[0].flow_id && event.backend_id.0 == 1),
                "{events:#?}"
            );
        }
    });
}

#[test]
fn the_nodes_own_processes_reach_services_too() {
    with(|pods, kernel| {
        let b = &pods.pods[1];
        let node = Ipv4Addr::new(10, 96, 9, 1);
        pods.host.ip(&format!("addr add {node}/32 dev lo")).unwrap();
        let cookie = beeline_sys::netns::cookie_of_path(&pods.host.path()).unwrap();
        let owner = NetnsOwner {
            identity: Identity::HOST,
            addr: node.into(),
            flags: NETNS_HOST,
            ..NetnsOwner::default()
        };
        kernel.hash(maps::NETNS).unwrap().insert(cookie, owner, 0).unwrap();
        kernel
            .endpoint(node.into(), Endpoint { identity: Identity::HOST, ..Endpoint::default() })
            .unwrap();
        let key = FrontendKey::new((*FRONTEND.ip()).into(), Be16::from_host(80), Proto::Tcp);
        kernel.service(key, 7, 1, &[(BackendId(1), b.addr.into(), 8080)]).unwrap();
        let listener = b.inside(|| TcpListener::bind((b.addr, 8080)).unwrap()).unwrap();
        let client = pods
            .on_host(|| {
                TcpStream::connect_timeout(&FRONTEND.into(), Duration::from_secs(5)).unwrap()
            })
            .unwrap();
        let (_server, from) = listener.accept().unwrap();
        assert_eq!((from.ip(), client.peer_addr().unwrap()), (node.into(), FRONTEND.into()));
        let events = kernel.events().unwrap();
        assert_eq!(hooks(&events), BTreeSet::from([Hook::Connect, Hook::FromPod, Hook::ToPod]));
        assert!(events.iter().all(|event| event.flow_id == events[0].flow_id), "{events:#?}");
        let entering = events.iter().find(|event| event.hook() == Some(Hook::ToPod)).unwrap();
        assert_eq!((entering.source_identity, entering.service_id.0), (Identity::HOST, 7));
    });
}

#[test]
fn direct_connections_from_the_same_port_have_different_numbers() {
    with(|pods, kernel| {
        let [a, b] = &pods.pods;
        let listener = b.inside(|| TcpListener::bind((b.addr, 8080)).unwrap()).unwrap();
        let mut numbers = BTreeSet::new();
        for _ in 0..2 {
            let client = a.inside(|| connect_from(4000, (b.addr, 8080).into())).unwrap();
            drop(listener.accept().unwrap());
            drop(client);
            let events = kernel.events().unwrap();
            assert!(
                events
                    .iter()
                    .all(|event| event.service_id.0 == 0 && event.flags & FLOW_TRANSLATED == 0),
                "{events:#?}"
            );
            let of_this: BTreeSet<_> = events.iter().map(|event| event.flow_id).collect();
            assert_eq!(of_this.len(), 1, "{events:#?}");
            numbers.extend(of_this);
        }
        assert_eq!(numbers.len(), 2);
    });
}

/// From a port that may just have been used.
fn connect_from(port: u16, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    // Closed without FIN, so that the port is free at once.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    connect(&socket, &to).unwrap();
    socket.into()
}
