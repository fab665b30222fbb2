//! Servers that say who they are and whom they see, over TCP and UDP, until the test ends.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

use beeline_sys::netns;
use beeline_test_differential::place::{Family, Place, SERVER_PORTS};
use tokio::{io::AsyncWriteExt as _, runtime::Runtime};

/// Serves at every address of some places, in the network namespace where they are.
pub fn serve(runtime: &Runtime, namespace: &Path, places: &[Place]) {
    let addresses =
        places.iter().flat_map(|place| Family::BOTH.map(|family| place.address(family)));
    for address in addresses {
        for port in SERVER_PORTS {
            let at = SocketAddr::new(address, port);
            let bind = || {
                let tcp = TcpListener::bind(at).unwrap();
                let udp = UdpSocket::bind(at).unwrap();
                tcp.set_nonblocking(true).unwrap();
                udp.set_nonblocking(true).unwrap();
                Ok((tcp, udp))
            };
            let (tcp, udp) = netns::inside(namespace, bind).unwrap();
            let _guard = runtime.enter();
            runtime.spawn(streams(tokio::net::TcpListener::from_std(tcp).unwrap(), at));
            runtime.spawn(datagrams(tokio::net::UdpSocket::from_std(udp).unwrap(), at));
        }
    }
}

async fn streams(listener: tokio::net::TcpListener, at: SocketAddr) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        // A line fits into the socket's buffer: nobody waits for anybody.
        let _ = stream.write_all(format!("server {at} {}", peer.ip()).as_bytes()).await;
    }
}

async fn datagrams(socket: tokio::net::UdpSocket, at: SocketAddr) {
    let mut buffer = [0; 16];
    loop {
        // An error here is about an earlier caller who has gone.
        if let Ok((_, peer)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(format!("server {at} {}", peer.ip()).as_bytes(), peer).await;
        }
    }
}
