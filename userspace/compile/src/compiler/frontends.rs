//! Frontends: who claims them, and what the map holds of them.
//!
//! More than one port claims a frontend only while a Service replaces another; the port with the least key leads then.

use beeline_abi::{Frontend, FrontendKey};
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use smallvec::SmallVec;

use super::port::{PortIndex, Ports};
use crate::{Entries, Plan};

/// Every frontend that is claimed or in the map.
#[derive(Clone, Debug, Default)]
pub(super) struct Frontends {
    all: IndexMap<FrontendKey, Standing, RandomState>,
    /// How many are in the map.
    held: usize,
}

/// One frontend.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// As the map has it.
    held: Option<Frontend>,
    /// The leader first.
    claims: SmallVec<[Claim; 1]>,
}

/// A port that wants a frontend, and the flags that it would have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) port: PortIndex,
    pub(super) flags: u32,
}

impl Frontends {
    pub(super) fn adopt(entries: &Entries) -> Self {
        let adopted = entries.frontends.iter();
        let adopted = adopted
            .map(|(key, held)| (*key, Standing { held: Some(*held), ..Standing::default() }));
        Self { all: adopted.collect(), held: entries.frontends.len() }
    }

    /// Makes room for so many at once; most changes need less than there is.
    pub(super) fn reserve(&mut self, more: usize) {
        self.all.reserve(more.saturating_sub(self.all.capacity()));
    }

    /// How many are in the map.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Those in the map.
    pub(super) fn standing(&self) -> impl Iterator<Item = (&FrontendKey, &Frontend)> {
        self.all.iter().filter_map(|(key, it)| Some((key, it.held.as_ref()?)))
    }

    /// What the map holds.
    pub(super) fn get(&self, key: &FrontendKey) -> Option<&Frontend> {
        self.all.get(key)?.held.as_ref()
    }

    /// Who has it, once the map holds what is wanted.
    pub(super) fn leader(&self, key: &FrontendKey) -> Option<PortIndex> {
        self.claims(key).first().map(|claim| claim.port)
    }

    /// Who wants it.
    pub(super) fn claims(&self, key: &FrontendKey) -> &[Claim] {
        self.all.get(key).map(|it| it.claims.as_slice()).unwrap_or_default()
    }

    /// A port wants it; or wants it with other flags.
    pub(super) fn claim(&mut self, key: FrontendKey, claim: Claim, ports: &Ports) {
        let claims = &mut self.all.entry(key).or_default().claims;
        claims.retain(|it| it.port != claim.port);
        let mine = &ports.get(claim.port).key;
        let index = claims.partition_point(|it| ports.get(it.port).key < *mine);
        claims.insert(index, claim);
    }

    /// A port wants it no longer.
    pub(super) fn unclaim(&mut self, key: &FrontendKey, port: PortIndex) {
        if let Some(standing) = self.all.get_mut(key) {
            standing.claims.retain(|it| it.port != port);
        }
    }

    /// Plans what the leaders' ports say now; `touched` may name a frontend twice.
    pub(super) fn plan(&mut self, touched: &[FrontendKey], ports: &Ports, plan: &mut Plan) {
        for key in touched {
            let Some(standing) = self.all.get_mut(key) else { continue };
            let leader = standing.claims.first();
            let wanted = leader.map(|claim| ports.get(claim.port).frontend(claim.flags));
            match (wanted, standing.held) {
                (Some(wanted), held) if held != Some(wanted) => {
                    self.held += usize::from(held.is_none());
                    plan.frontends.push((*key, wanted));
                }
                (None, Some(_)) => {
                    self.held -= 1;
                    plan.gone.frontends.push(*key);
                }
                _ => {}
            }
            standing.held = wanted;
            if wanted.is_none() {
                self.all.swap_remove(key);
            }
        }
    }
}
