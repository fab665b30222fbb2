//! tcx egress on a pod's host-side link: a packet is about to enter the pod, from wherever.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use beeline_abi::{Counter, Hook, RuleId, Tuple, Verdict};
use beeline_packet::parse::{Parsed, parse};

use crate::flows::{self, Sighting};
use crate::skb::Skb;
use crate::{count, endpoint, neighbours};

/// Entry point.
#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    let packet = match parse(&Skb(&ctx)) {
        Ok(Parsed::Ip(packet)) => packet,
        Ok(Parsed::Other) => {
            count::one(Counter::OtherProtocols);
            return TC_ACT_OK;
        }
        Err(reason) => {
            flows::dropped_at_pod(&ctx, Hook::ToPod, &Tuple::default(), reason, RuleId::NONE);
            return TC_ACT_SHOT;
        }
    };
    // The link's own business is no flow.
    if neighbours::is_from_the_link(&packet) || neighbours::is_to_many(&packet) {
        count::one(Counter::OtherProtocols);
        return TC_ACT_OK;
    }
    let seen = Sighting {
        packet: &packet,
        hook: Hook::ToPod,
        source: endpoint::at(packet.tuple.source_addr),
        dest: endpoint::at(packet.tuple.dest_addr),
        verdict: Verdict::Forward,
        rule_id: RuleId::DEFAULT_ALLOW,
    };
    flows::record(&ctx, &seen);
    TC_ACT_OK
}
