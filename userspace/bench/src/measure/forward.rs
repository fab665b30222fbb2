//! Packets from outside to a node port, as fast as one CPU makes and forwards them.

use std::time::Duration;

use super::{
    Values,
    bench::{Bench, cpus},
    values::to_f64,
};
use crate::{
    BenchError,
    figure::Kind,
    flood::{Flows, Frame, Receiver, Sender, cpu_time_ns},
    mode::ModeName,
    options::Options,
    worker::pin,
    world::{Namespace, OUTSIDE_MAC, UP0_MAC},
};

/// Packets of one call: short enough to look at the budget often.
const CHUNK: u32 = 4096;
/// At most this many new flows in a round: connection tracking holds 262,144 on most hosts and drops beyond.
const NEW_FLOWS_MAX: u32 = 65_536;
/// New flows begin with numbers that no lasting flow has.
const NEW_FLOWS_START: u64 = 1 << 20;

/// Lasting flows are remembered from round to round, however long their first packets take.
const LASTING_S: u32 = 120;
/// Flows of one packet are forgotten before the next round.
const SHORT_S: u32 = 1;

/// What came of one flood.
#[derive(Clone, Copy, Debug)]
struct Flood {
    sent: u64,
    received: u64,
    nanos: u64,
}

impl Flood {
    /// Packets a second that one CPU forwards, without the sender's part.
    fn rate(self, sender_ns: f64) -> f64 {
        let rest = to_f64(self.nanos) - to_f64(self.sent) * sender_ns;
        to_f64(self.received) * 1e9 / rest.max(1.0)
    }
}

impl Bench {
    /// All kinds of flows. The direct world also measures the sender alone, and does so before the others of its round.
    /// Each kind of flows finds what it would on a node that was quiet before: no ports and entries held by the last.
    pub fn forward(&mut self, options: &Options, values: &mut Values) -> Result<(), BenchError> {
        let service = &self.cluster().services[1];
        let Some(to) = self.mode().outside_target(service) else { return Ok(()) };
        let frame = Frame { to_mac: UP0_MAC, from_mac: OUTSIDE_MAC, to };
        let sender = Sender::new(&frame)?;
        let budget = options.profile.forward_budget;
        if self.name() == ModeName::Direct {
            let limit = self.flood(&sender, &self.world.node, "up0", Flows::Same(1024), budget)?;
            values.push_sender(to_f64(limit.nanos) / to_f64(limit.sent.max(1)));
        }
        let Some(sender_ns) = values.sender_ns() else { return Ok(()) };
        for (kind, flows) in [
            (Kind::Forward1k, Flows::Same(1024)),
            (Kind::Forward64k, Flows::Same(65_536)),
            (Kind::NewFlows, Flows::New(NEW_FLOWS_START + values.next_new_flow(NEW_FLOWS_MAX))),
        ] {
            self.world.remember_datagrams(match flows {
                Flows::Same(_) => LASTING_S,
                Flows::New(_) => SHORT_S,
            })?;
            self.mode_mut().forget()?;
            let flood = self.flood(&sender, &self.world.backend, "eth0", flows, budget)?;
            if flood.received == 0 {
                let message = format!("of {} packets to {to} none arrived", flood.sent);
                return Err(BenchError::Worker { place: self.name().name().to_owned(), message });
            }
            values.push(kind, self.name(), flood.rate(sender_ns));
        }
        Ok(())
    }

    /// Send from outside until the budget is used up, and count at a link.
    fn flood(
        &self,
        sender: &Sender,
        namespace: &Namespace,
        link: &str,
        flows: Flows,
        budget: Duration,
    ) -> Result<Flood, BenchError> {
        let [_, cpu] = cpus();
        let ifindex = namespace.ifindex(link)?;
        let receiver = namespace.run(|| Receiver::new(ifindex))?;
        let outside = self.world.outside.ifindex("eth0")?;
        self.world.outside.run(|| {
            if let Some(cpu) = cpu {
                pin(cpu).map_err(|source| BenchError::File { path: "CPU".into(), source })?;
            }
            let cpu = cpu.unwrap_or(0);
            sender.begin(flows)?;
            if let Flows::Same(count) = flows {
                // Nobody's first packet is measured.
                sender.send(outside, count)?;
            }
            let limit = if let Flows::New(_) = flows { NEW_FLOWS_MAX } else { u32::MAX };
            let (start, before) = (cpu_time_ns(cpu)?, receiver.count()?);
            let mut sent: u32 = 0;
            let budget = u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX);
            loop {
                sender.send(outside, CHUNK)?;
                sent += CHUNK;
                let nanos = cpu_time_ns(cpu)? - start;
                if nanos >= budget || sent + CHUNK > limit {
                    let received = receiver.count()? - before;
                    return Ok(Flood { sent: u64::from(sent), received, nanos });
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Flood;

    #[test]
    fn the_senders_part_is_subtracted_also_for_what_was_lost() {
        let flood = Flood { sent: 2000, received: 1000, nanos: 1_200_000 };
        assert_eq!(flood.rate(100.0), 1_000_000.0);
    }
}
