//! One module per reconciler.
//!
//! In: what the registry's cache holds, and the time. Out: writes through the registry. Every reconciler is a pure
//! `plan` over a state, read from the cache and executed by [`execute`](mod@execute); none knows why it runs.
//! Those that belong to Services look at the Services that differ since they last looked, as there may be many.
//! Refuses: talking to nodes or to the store, and calling another reconciler.

pub mod apiservice;
pub mod certificates;
pub mod clusterrole;
pub mod definition;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod event_ttl;
pub mod events;
mod execute;
mod follow;
pub mod garbage;
pub mod loadbalancer;
mod mirroring;
pub mod namespace;
pub mod node;
pub mod objects;
mod read;
pub mod replicaset;
pub mod resourcequota;
pub mod serviceaccount;
mod sources;
pub mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beeline_alloc::PodCidrs;
use beeline_api::time::{Timestamp, from_system};
use beeline_api::{KindInfo, kinds};
use beeline_kit::{Clock, Tasks, reconcile_loop};
use beeline_registry::Client;
use tokio::sync::Notify;

use crate::follow::{Follower, Planner};

/// What the controllers are told.
#[derive(Clone)]
pub struct Config {
    /// The pod networks, one of each family, of which each node gets pieces.
    pub networks: Vec<PodCidrs>,
    /// Services of type LoadBalancer get the addresses of nodes.
    pub load_balancer: bool,
    /// Signs certificate requests; without it they stay undecided.
    pub certificates: Option<certificates::Authority>,
    /// The certificate that API clients in Pods trust.
    pub ca_pem: Option<String>,
    /// What extension servers are told of whom to believe; without it, nothing.
    pub authorities: Option<apiservice::Authorities>,
    /// Since when Leases count; the time of start.
    pub started: Timestamp,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// All reconcilers.
#[derive(Debug)]
pub struct Controllers;

/// Runs when something with a time in it may be due.
const OFTEN: Duration = Duration::from_secs(1);
/// Runs to mend what a lost race left, should no change wake it.
const SELDOM: Duration = Duration::from_secs(15);
/// Changes come in bursts: a run over everything waits for the burst.
const CALM: Duration = Duration::from_millis(50);
/// The longest pause after a run over everything.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// After a write was refused.
const RETRY: Duration = Duration::from_millis(200);

impl Controllers {
    /// Start all of them; they end with `tasks`.
    pub fn start(client: &Client, config: &Config, tasks: &Tasks) {
        let run =
            Run { client: client.clone(), tasks: tasks.clone(), clock: Arc::clone(&config.clock) };
        run.start(
            "deployments",
            &[&kinds::DEPLOYMENT, &kinds::REPLICA_SET, &kinds::POD],
            OFTEN,
            None,
            |client: &Client, now| deployment::plan(&read::deployments(client), now),
        );
        run.start(
            "replicasets",
            &[&kinds::REPLICA_SET, &kinds::POD],
            OFTEN,
            None,
            |client: &Client, now| replicaset::plan(&read::replica_sets(client), now),
        );
        run.start(
            "disruptions",
            &[&kinds::POD_DISRUPTION_BUDGET, &kinds::POD, &kinds::REPLICA_SET, &kinds::DEPLOYMENT],
            SELDOM,
            Some(CALM),
            |client: &Client, now| disruption::plan(&read::disruptions(client), now),
        );
        run.start(
            "clusterroles",
            &[&kinds::CLUSTER_ROLE],
            SELDOM,
            Some(CALM),
            |client: &Client, _| clusterrole::plan(&client.cached()),
        );
        run.services(config.load_balancer);
        run.start("event-ttl", &[], Duration::from_secs(60), None, |client: &Client, now| {
            event_ttl::plan(&client.cached(), now)
        });
        if let Some(authority) = config.certificates.clone() {
            let kinds: &[&'static KindInfo] = &[&kinds::CERTIFICATE_SIGNING_REQUEST];
            run.start("certificates", kinds, SELDOM, None, move |client: &Client, now| {
                let is_node = |request: &_| certificates::is_node(client, &authority, request);
                certificates::plan(&client.cached(), &is_node, &*authority.sign, now)
            });
        }
        run.of_all_kinds();
        let nodes = config.clone();
        run.start(
            "nodes",
            &[&kinds::NODE, &kinds::POD],
            OFTEN,
            None,
            move |client: &Client, now| node::plan(&read::nodes(client, &nodes), now),
        );
        let authorities = config.authorities.clone();
        // Definitions are what makes group versions come and go.
        let of_groups: &[&'static KindInfo] =
            &[&kinds::API_SERVICE, &kinds::CUSTOM_RESOURCE_DEFINITION];
        run.start("apiservices", of_groups, SELDOM, Some(CALM), move |client: &Client, now| {
            apiservice::plan(&read::api_services(client, authorities.clone()), now)
        });
        let ca_pem = config.ca_pem.clone();
        run.start(
            "serviceaccounts",
            &[&kinds::NAMESPACE, &kinds::SERVICE_ACCOUNT, &kinds::CONFIG_MAP],
            SELDOM,
            None,
            move |client: &Client, _| serviceaccount::plan(&read::accounts(client, ca_pem.clone())),
        );
    }
}

impl Config {
    /// The machine's clock, and everything heard from now on.
    pub fn new(networks: Vec<PodCidrs>, ca_pem: Option<String>) -> Self {
        let clock = beeline_kit::SystemClock;
        let started = from_system(clock.now());
        Self {
            networks,
            load_balancer: true,
            certificates: None,
            ca_pem,
            authorities: None,
            started,
            clock: Arc::new(clock),
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("networks", &self.networks).finish_non_exhaustive()
    }
}

fn locked<P>(plan: &Mutex<P>) -> MutexGuard<'_, P> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every reconciler's loop needs.
struct Run {
    client: Client,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
}

impl Run {
    /// The reconcilers of what belongs to Services.
    fn services(&self, load_balancer: bool) {
        self.start(
            "endpointslices",
            &[
                &kinds::SERVICE,
                &kinds::POD,
                &kinds::ENDPOINT_SLICE,
                &kinds::ENDPOINTS,
                &kinds::NODE,
            ],
            SELDOM,
            None,
            Follower::slices(),
        );
        self.start(
            "endpoints",
            &[&kinds::SERVICE, &kinds::POD, &kinds::ENDPOINTS],
            SELDOM,
            Some(CALM),
            Follower::endpoints(),
        );
        if load_balancer {
            let mut balanced = read::Balanced::default();
            self.start(
                "load-balancers",
                &[&kinds::SERVICE, &kinds::NODE, &kinds::ENDPOINT_SLICE],
                SELDOM,
                Some(CALM),
                move |client: &Client, now| loadbalancer::plan(&balanced.read(client), now),
            );
        }
    }

    /// The reconcilers that look at objects of any kind, also of those that are defined later.
    fn of_all_kinds(&self) {
        let everything: Vec<&'static KindInfo> = beeline_api::Kinds::builtin()
            .iter()
            .filter(|k| *k != &kinds::EVENT && *k != &kinds::LEASE)
            .collect();
        let any = || self.client.changed_or_defined(&everything);
        let definitions: &[&'static KindInfo] = &[&kinds::CUSTOM_RESOURCE_DEFINITION];
        self.start("definitions", definitions, SELDOM, None, |client: &Client, now| {
            definition::plan(&read::definitions(client), now)
        });
        let of_defined = self.client.changed_or_defined(definitions);
        self.run("definition-ends", of_defined, SELDOM, Some(CALM), |client: &Client, now| {
            definition::endings(&read::ending_definitions(client), now)
        });
        self.run("namespaces", any(), SELDOM, Some(CALM), |client: &Client, _| {
            namespace::plan(&read::namespaces(client))
        });
        self.run("resourcequotas", any(), SELDOM, Some(CALM), |client: &Client, _| {
            resourcequota::plan(&read::quotas(client))
        });
        let mut dependents = read::Dependents::default();
        self.run("garbage", any(), SELDOM, Some(CALM), move |client: &Client, _| {
            garbage::plan(&dependents.read(client))
        });
    }

    /// A loop that plans and executes after every change of these kinds, and at the latest after `interval`.
    fn start<P>(
        &self,
        name: &'static str,
        woken_by: &[&'static KindInfo],
        interval: Duration,
        calm: Option<Duration>,
        plan: P,
    ) where
        P: Planner + 'static,
    {
        self.run(name, self.client.changed(woken_by), interval, calm, plan);
    }

    /// The same after every nudge.
    fn run<P>(
        &self,
        name: &'static str,
        nudge: Arc<Notify>,
        interval: Duration,
        calm: Option<Duration>,
        plan: P,
    ) where
        P: Planner + 'static,
    {
        // One run at a time: the lock is never waited for.
        let plan = Arc::new(Mutex::new(plan));
        let (client, clock) = (self.client.clone(), Arc::clone(&self.clock));
        let again = Arc::clone(&nudge);
        let step = move || {
            let (client, clock, plan) = (client.clone(), Arc::clone(&clock), Arc::clone(&plan));
            let again = Arc::clone(&again);
            async move {
                if let Some(calm) = calm {
                    tokio::time::sleep(calm).await;
                }
                let begun = clock.monotonic();
                let writes = locked(&plan).plan(&client, from_system(clock.now()));
                let cost = clock.monotonic().saturating_duration_since(begun);
                if !writes.is_empty() {
                    tracing::debug!(name, writes = writes.len(), "plan");
                    if !execute::execute(&client, writes).await {
                        locked(&plan).failed();
                        tokio::time::sleep(RETRY).await;
                        again.notify_one();
                    }
                }
                if calm.is_some() {
                    // A look at everything may take a tenth of a core, however much there is.
                    tokio::time::sleep((9 * cost).min(PAUSE_MAX)).await;
                }
            }
        };
        self.tasks.spawn(name, reconcile_loop(name, self.tasks.token(), interval, nudge, step));
    }
}
