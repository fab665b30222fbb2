//! No proxy at all: clients know the endpoints.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use super::Mode;
use crate::{
    BenchError,
    rules::model::{Cluster, ServicePort},
    world::World,
};

/// The limit.
pub struct Direct;

impl Mode for Direct {
    fn load(&mut self, _world: &World, _cluster: &Cluster) -> Result<Duration, BenchError> {
        Ok(Duration::ZERO)
    }

    fn change(
        &mut self,
        _world: &World,
        _old: &Cluster,
        _new: &Cluster,
    ) -> Result<Duration, BenchError> {
        Ok(Duration::ZERO)
    }

    fn unload(&mut self, _world: &World) -> Result<(), BenchError> {
        Ok(())
    }

    fn target(&self, service: &ServicePort) -> SocketAddr {
        let first = service.endpoints.first();
        first.map_or(SocketAddr::new(service.cluster_ip, service.port), |found| found.address)
    }

    fn outside_target(&self, service: &ServicePort) -> Option<SocketAddrV4> {
        match self.target(service).ip() {
            IpAddr::V4(address) => Some(SocketAddrV4::new(address, self.target(service).port())),
            IpAddr::V6(_) => None,
        }
    }
}
