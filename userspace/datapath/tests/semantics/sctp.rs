//! SCTP from outside: addresses change, ports and the checksum over them do not.
//!
//! Packets are made and read by raw sockets, so that kernels without the protocol do as well.

use std::{net::SocketAddr, os::fd::OwnedFd};

use beeline_sys::netns;
use beeline_tables::{Protocol, Service, ServicePort, SlicePort};
use beeline_test_support::Net;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, sockopt,
};

use crate::{
    intent::{Intent, service, slice},
    world,
    world::{PATIENCE, V4, address},
};

const CALLER: u16 = 40_000;
const PORT: u16 = 80;
const IP_HEADER: usize = 20;

/// The start of an association: source and destination port, tag, checksum, one INIT chunk. Nobody here checks the sum, and
/// whatever it is must arrive.
fn init(source: u16, dest: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(source.to_be_bytes());
    packet.extend(dest.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0xAB, 0xCD, 0xEF, 0x01]);
    packet.extend([1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    packet
}

fn raw(net: &Net) -> OwnedFd {
    let open = || {
        let kind = (AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, Some(ipproto::SCTP)).unwrap();
        let timeout = sockopt::Timeout::Recv;
        sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE)).unwrap();
        Ok(socket)
    };
    netns::inside(&net.path(), open).unwrap()
}

fn send(socket: &OwnedFd, packet: &[u8], to: &str) {
    let to: SocketAddr = address(to, 0);
    sendto(socket, packet, SendFlags::empty(), &to).unwrap();
}

/// From whom, and what lies behind the IP header.
fn receive(socket: &OwnedFd) -> (String, Vec<u8>) {
    let mut buffer = [0; 256];
    let (length, _) = recv(socket, &mut buffer[..], RecvFlags::empty()).unwrap();
    let source: [u8; 4] = buffer[12..16].try_into().unwrap();
    (std::net::Ipv4Addr::from(source).to_string(), buffer[IP_HEADER..length].to_vec())
}

#[test]
fn sctp_keeps_its_ports_and_its_checksum() {
    let Some(world) = world("0c001c") else { return };
    let name: std::sync::Arc<str> = "sctp".into();
    let protocol = Protocol::Sctp;
    let ports = vec![ServicePort { name: name.clone(), protocol, port: PORT, node_port: None }];
    let mut backends = slice("web-1", &[V4.pod]);
    backends.ports = vec![SlicePort { name, protocol, port: PORT }];
    let service = Service { ports, ..service(&[&V4]) };
    let running = world.start(Intent::new().service(service).slice(backends).at(1));

    let (client, pod) = (raw(&world.client), raw(&world.pod));
    for (frontend, caller) in [(V4.cluster_ip, CALLER), (V4.external, CALLER + 1)] {
        send(&client, &init(caller, PORT), frontend);
        assert_eq!(receive(&pod), (V4.client.to_owned(), init(caller, PORT)));
        send(&pod, &init(PORT, caller), V4.client);
        assert_eq!(receive(&client), (frontend.to_owned(), init(PORT, caller)));
    }
    assert_eq!(running.counter("translated_outside"), 2);
    // The same ports to the same backend by another frontend: answers could not be told apart, and no port is free to change.
    send(&client, &init(CALLER, PORT), V4.balanced);
    let dropped = || running.drops("snat_exhausted") == 1;
    beeline_test_support::eventually(PATIENCE, "the packet is dropped", dropped);
}
