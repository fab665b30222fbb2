//! Real sockets through the cgroup hooks, in namespaces and a cgroup of the test's own.
#![expect(clippy::unwrap_used, reason = "a test whose world cannot be made fails")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use beeline_abi::{
    Addr, BackendId, Be16, Counter, DropReason, FlowEventKind, FrontendKey, Hook, Identity, Proto,
    RuleId, Verdict,
};
use beeline_test_kernel::{Cgroup, Kernel, skip};
use beeline_test_support::{Net, eventually};

const FRONTEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);
const CALLER: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 2);

fn key(frontend: SocketAddrV4, proto: Proto) -> FrontendKey {
    FrontendKey::new((*frontend.ip()).into(), Be16::from_host(frontend.port()), proto)
}

fn backend(id: u32, port: u16) -> (BackendId, Addr, u16) {
    (BackendId(id), Ipv4Addr::LOCALHOST.into(), port)
}

/// A namespace with a loopback device that is ours, programs attached; the closure runs inside.
fn with(work: impl FnOnce(&mut Kernel) + Send) {
    if skip() {
        return;
    }
    let cgroup = Cgroup::enter().unwrap();
    let net = Net::new().unwrap();
    let mut kernel = Kernel::load().unwrap();
    kernel.attach_sockets(&cgroup).unwrap();
    kernel
        .owns(beeline_sys::netns::cookie_of_path(&net.path()).unwrap(), 300, CALLER.into())
        .unwrap();
    beeline_sys::netns::inside(&net.path(), || {
        work(&mut kernel);
        Ok(())
    })
    .unwrap();
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn bind() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn tcp_reaches_a_backend_and_believes_in_the_frontend() {
    with(|kernel| {
        let (listener, port) = listen();
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[backend(1, port)]).unwrap();
        let mut client = TcpStream::connect(FRONTEND).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(client.peer_addr().unwrap(), SocketAddr::V4(FRONTEND));
        client.write_all(b"hello").unwrap();
        let mut read = [0; 5];
        server.read_exact(&mut read).unwrap();
        server.write_all(b"hi").unwrap();

        let records = kernel.connections().unwrap();
        assert_eq!(records.len(), 1);
        let (cookie, record) = records.first_key_value().unwrap();
        assert_eq!(
            (record.frontend_addr, record.frontend_port.to_host()),
            ((*FRONTEND.ip()).into(), 80)
        );
        assert_eq!(
            (record.backend_addr, record.backend_port.to_host()),
            (Ipv4Addr::LOCALHOST.into(), port)
        );
        assert_eq!((record.source_addr, record.source_identity), (CALLER.into(), Identity(300)));
        let event = kernel.events().unwrap()[0];
        assert_eq!(
            (event.kind(), event.hook(), event.verdict()),
            (Some(FlowEventKind::New), Some(Hook::Connect), Some(Verdict::Translate))
        );
        assert_eq!(
            (event.flow_id, event.cookie, event.rule_id),
            (record.flow_id, *cookie, RuleId::SERVICE)
        );
        let (tuple, link) = kernel.links().unwrap()[0];
        assert_eq!(link.flow_id, record.flow_id);
        assert_eq!(tuple.source_port.to_host(), client.local_addr().unwrap().port());
        assert_eq!(tuple.dest_port.to_host(), port);
        let counters = kernel.backend(BackendId(1)).unwrap();
        assert_eq!((counters.opened, counters.closed, counters.rtt_samples), (1, 0, 1));

        client.read_exact(&mut read[..2]).unwrap();
        drop(client);
        drop(server);
        assert!(kernel.connections().unwrap().is_empty());
        eventually(Duration::from_secs(5), "the bytes of the closed connection", || {
            let counters = kernel.backend(BackendId(1)).unwrap();
            // The kernel counts the SYN as an acknowledged byte, and may the FIN.
            counters.closed == 1 && counters.rx_bytes >= 2 && (5..=7).contains(&counters.tx_bytes)
        });
    });
}

#[test]
fn connections_spread_over_the_backends() {
    with(|kernel| {
        let listeners: Vec<_> = (0..4).map(|_| listen()).collect();
        let backends: Vec<_> =
            (1..).zip(&listeners).map(|(id, (_, port))| backend(id, *port)).collect();
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &backends).unwrap();
        let clients: Vec<_> = (0..80).map(|_| TcpStream::connect(FRONTEND).unwrap()).collect();
        for (id, ..) in &backends {
            let opened = kernel.backend(*id).unwrap().opened;
            assert!((5..=40).contains(&opened), "{opened} of 80 went to one of four");
        }
        drop(clients);
        let closed: u64 = backends.iter().map(|(id, ..)| kernel.backend(*id).unwrap().closed).sum();
        assert_eq!(closed, 80);
    });
}

#[test]
fn without_backends_the_caller_is_refused_at_once() {
    with(|kernel| {
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[]).unwrap();
        kernel.service(key(FRONTEND, Proto::Udp), 8, 1, &[]).unwrap();
        assert_eq!(TcpStream::connect(FRONTEND).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        assert_eq!(udp.send_to(b"x", FRONTEND).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(udp.connect(FRONTEND).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(kernel.drops(DropReason::NoBackend).unwrap().packets, 3);
        assert_eq!(kernel.counter(Counter::Refused).unwrap(), 3);
        let event = kernel.events().unwrap()[0];
        assert_eq!(
            (event.kind(), event.verdict()),
            (Some(FlowEventKind::Drop), Some(Verdict::Refuse))
        );
        assert_eq!(event.drop_reason(), Some(DropReason::NoBackend));
        assert_eq!((event.frontend_addr, event.service_id.0), ((*FRONTEND.ip()).into(), 7));
        assert!(kernel.connections().unwrap().is_empty());
    });
}

#[test]
fn a_frontend_that_names_places_of_another_list_refuses_and_says_so() {
    with(|kernel| {
        let (_listener, port) = listen();
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[backend(1, port)]).unwrap();
        let gone = beeline_abi::List { first: 16, count: 1, id: beeline_abi::ListId(9) };
        let stale = beeline_abi::Frontend {
            service_id: beeline_abi::ServiceId(7),
            inside: gone,
            outside: gone,
            ..beeline_abi::Frontend::default()
        };
        kernel.frontend(key(FRONTEND, Proto::Tcp), stale).unwrap();
        assert_eq!(TcpStream::connect(FRONTEND).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(kernel.drops(DropReason::BackendMissing).unwrap().packets, 1);
        assert_eq!(kernel.counter(Counter::SlotRetries).unwrap(), 1);
    });
}

#[test]
fn strangers_pass_untouched() {
    with(|kernel| {
        let (_listener, port) = listen();
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[backend(1, port)]).unwrap();
        let stranger = Net::new().unwrap();
        let attempt =
            beeline_sys::netns::inside(&stranger.path(), || Ok(TcpStream::connect(FRONTEND)))
                .unwrap();
        assert_eq!(attempt.unwrap_err().kind(), ErrorKind::NetworkUnreachable);
        assert_eq!(kernel.counter(Counter::Translated).unwrap(), 0);
    });
}

#[test]
fn two_agents_on_one_cgroup_do_not_see_each_other() {
    if skip() {
        return;
    }
    let cgroup = Cgroup::enter().unwrap();
    let mut agents: Vec<(Net, Kernel, TcpListener)> = (0..2)
        .map(|_| {
            let net = Net::new().unwrap();
            let mut kernel = Kernel::load().unwrap();
            kernel.attach_sockets(&cgroup).unwrap();
            kernel
                .owns(beeline_sys::netns::cookie_of_path(&net.path()).unwrap(), 300, CALLER.into())
                .unwrap();
            let (listener, port) =
                beeline_sys::netns::inside(&net.path(), || Ok(listen())).unwrap();
            kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[backend(1, port)]).unwrap();
            (net, kernel, listener)
        })
        .collect();
    for (net, kernel, listener) in &mut agents {
        let client = beeline_sys::netns::inside(&net.path(), || Ok(TcpStream::connect(FRONTEND)))
            .unwrap()
            .unwrap();
        listener.accept().unwrap();
        assert_eq!(client.peer_addr().unwrap(), SocketAddr::V4(FRONTEND));
        assert_eq!(kernel.counter(Counter::Translated).unwrap(), 1);
    }
}

#[test]
fn connected_udp_keeps_its_backend_until_it_connects_again() {
    with(|kernel| {
        let servers = [bind(), bind()];
        let backends = [backend(1, servers[0].1), backend(2, servers[1].1)];
        kernel.service(key(FRONTEND, Proto::Udp), 7, 1, &backends[..1]).unwrap();
        let client = bind().0;
        let client = UdpSocket::bind("0.0.0.0:0").map(|socket| (drop(client), socket).1).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        client.connect(FRONTEND).unwrap();
        assert_eq!(client.peer_addr().unwrap(), SocketAddr::V4(FRONTEND));
        client.send(b"one").unwrap();
        let mut read = [0; 16];
        let (_, from) = servers[0].0.recv_from(&mut read).unwrap();
        servers[0].0.send_to(b"two", from).unwrap();
        assert_eq!(client.recv_from(&mut read).unwrap(), (3, SocketAddr::V4(FRONTEND)));

        kernel.service(key(FRONTEND, Proto::Udp), 7, 2, &backends[1..]).unwrap();
        client.send(b"three").unwrap();
        servers[0].0.recv_from(&mut read).unwrap();
        client.connect(FRONTEND).unwrap();
        client.send(b"four").unwrap();
        servers[1].0.recv_from(&mut read).unwrap();
        let (first, second) =
            (kernel.backend(BackendId(1)).unwrap(), kernel.backend(BackendId(2)).unwrap());
        assert_eq!((first.opened, first.closed, second.opened, second.closed), (1, 1, 1, 0));
        assert_eq!(kernel.connections().unwrap().len(), 1);

        // Elsewhere, which is no Service: the record ends.
        client.connect(("127.0.0.1", servers[0].1)).unwrap();
        assert_eq!(kernel.backend(BackendId(2)).unwrap().closed, 1);
        assert!(kernel.connections().unwrap().is_empty());
        drop(client);
        assert_eq!(kernel.backend(BackendId(2)).unwrap().closed, 1);
    });
}

#[test]
fn unconnected_udp_sees_replies_from_the_frontend_and_moves_with_the_list() {
    with(|kernel| {
        let servers = [bind(), bind()];
        let backends = [backend(1, servers[0].1), backend(2, servers[1].1)];
        kernel.service(key(FRONTEND, Proto::Udp), 7, 1, &backends[..1]).unwrap();
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut read = [0; 16];
        for _ in 0..3 {
            client.send_to(b"ask", FRONTEND).unwrap();
            let (_, from) = servers[0].0.recv_from(&mut read).unwrap();
            servers[0].0.send_to(b"answer", from).unwrap();
            assert_eq!(client.recv_from(&mut read).unwrap(), (6, SocketAddr::V4(FRONTEND)));
        }
        assert_eq!(kernel.counter(Counter::Translated).unwrap(), 1, "one exchange, told once");
        kernel.service(key(FRONTEND, Proto::Udp), 7, 2, &backends[1..]).unwrap();
        client.send_to(b"ask", FRONTEND).unwrap();
        let (_, from) = servers[1].0.recv_from(&mut read).unwrap();
        servers[1].0.send_to(b"answer", from).unwrap();
        assert_eq!(client.recv_from(&mut read).unwrap(), (6, SocketAddr::V4(FRONTEND)));

        // A stranger's datagram keeps its own source.
        servers[0].0.send_to(b"answer", from).unwrap();
        let other = bind().0;
        other.send_to(b"other", from).unwrap();
        client.recv_from(&mut read).unwrap();
        assert_eq!(client.recv_from(&mut read).unwrap().1, other.local_addr().unwrap());
    });
}

#[test]
fn a_failed_connect_that_is_repeated_is_opened_and_closed_evenly() {
    with(|kernel| {
        let (listener, port) = listen();
        drop(listener);
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[backend(1, port)]).unwrap();
        for _ in 0..5 {
            assert_eq!(
                TcpStream::connect(FRONTEND).unwrap_err().kind(),
                ErrorKind::ConnectionRefused
            );
        }
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        for _ in 0..3 {
            rustix::net::connect(&socket, &FRONTEND).unwrap_err();
        }
        let counters = kernel.backend(BackendId(1)).unwrap();
        assert_eq!((counters.opened, counters.closed), (8, 7));
        assert_eq!(kernel.connections().unwrap().len(), 1);
        drop(socket);
        assert_eq!(kernel.backend(BackendId(1)).unwrap().closed, 8);
        assert!(kernel.connections().unwrap().is_empty());
    });
}

#[test]
fn a_full_connection_table_costs_the_record_not_the_connection() {
    if skip() {
        return;
    }
    let cgroup = Cgroup::enter().unwrap();
    let net = Net::new().unwrap();
    let mut kernel = Kernel::load_with(|loader| {
        loader.map_max_entries("CONNECTIONS", 2);
    })
    .unwrap();
    kernel.attach_sockets(&cgroup).unwrap();
    kernel
        .owns(beeline_sys::netns::cookie_of_path(&net.path()).unwrap(), 300, CALLER.into())
        .unwrap();
    beeline_sys::netns::inside(&net.path(), || {
        let (_listener, port) = listen();
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[backend(1, port)]).unwrap();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(FRONTEND).unwrap()).collect();
        assert_eq!(kernel.counter(Counter::ConnectionsFull).unwrap(), 3);
        drop(clients);
        let counters = kernel.backend(BackendId(1)).unwrap();
        assert_eq!((counters.opened, counters.closed), (2, 2));
        Ok(())
    })
    .unwrap();
}

#[test]
fn dual_stack_sockets_that_dial_mapped_addresses_are_translated_too() {
    with(|kernel| {
        let mapped = SocketAddr::from((FRONTEND.ip().to_ipv6_mapped(), 80));
        let (listener, tcp_port) = listen();
        let (server, udp_port) = bind();
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[backend(1, tcp_port)]).unwrap();
        kernel.service(key(FRONTEND, Proto::Udp), 8, 1, &[backend(2, udp_port)]).unwrap();
        let client = TcpStream::connect(mapped).unwrap();
        listener.accept().unwrap();
        assert_eq!(client.peer_addr().unwrap(), mapped);
        assert_eq!(kernel.links().unwrap()[0].0.dest_port.to_host(), tcp_port);
        let mut read = [0; 16];
        for connected in [true, false] {
            let client = UdpSocket::bind("[::]:0").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            if connected {
                client.connect(mapped).unwrap();
                client.send(b"ask").unwrap();
            } else {
                client.send_to(b"ask", mapped).unwrap();
            }
            let (_, from) = server.recv_from(&mut read).unwrap();
            server.send_to(b"answer", from).unwrap();
            assert_eq!(client.recv_from(&mut read).unwrap(), (6, mapped));
        }
        // Real IPv6 is not ours yet.
        let listener = TcpListener::bind("[::1]:0").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    });
}

#[test]
fn a_lazy_reader_still_finds_every_event() {
    with(|kernel| {
        let flags = beeline_abi::CONFIG_LAZY_EVENTS;
        kernel
            .config(beeline_abi::Config {
                layout_version: beeline_abi::LAYOUT_VERSION,
                flags,
                ..Default::default()
            })
            .unwrap();
        let (_listener, port) = listen();
        kernel.service(key(FRONTEND, Proto::Tcp), 7, 1, &[backend(1, port)]).unwrap();
        let _clients: Vec<_> = (0..100).map(|_| TcpStream::connect(FRONTEND).unwrap()).collect();
        assert_eq!(kernel.events().unwrap().len(), 100);
    });
}
