//! Generated worlds and connections, through our programs and through kube-proxy's rules.
//!
//! `BEELINE_SEED` chooses other worlds, `BEELINE_CASES` how many cases. Skips, saying so, where it cannot run.

#[cfg(test)]
#[path = "live/caller.rs"]
mod caller;
#[cfg(test)]
#[path = "live/ground.rs"]
mod ground;
#[cfg(test)]
#[path = "live/servers.rs"]
mod servers;
#[cfg(test)]
#[path = "live/side.rs"]
mod side;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use beeline_test_differential::{
    case::{self, Case, Target},
    cluster::{Cluster, Protocol},
    generate,
    intended::{self, Difference},
    kube_proxy,
    outcome::{Answer, Expected},
    place,
};
use caller::Request;
use side::{Beeline, KubeProxy};

const SEED: u64 = 1;
const CASES: usize = 1_000;
/// Cases of one world: many worlds tell more than many cases of one.
const CASES_OF_WORLD: usize = 28;
/// How long to wait where nothing is to come, and where something is.
const SHORT: Duration = Duration::from_millis(250);
const LONG: Duration = Duration::from_millis(1_500);
/// Failures that are told in full.
const TOLD_MAX: usize = 25;

/// Not a test: the process that stands in a cgroup and a namespace and calls whom it is told to.
#[test]
fn caller_process() {
    caller::serve();
}

/// Both nodes, and what was found so far.
struct Run {
    seed: u64,
    ours: Beeline,
    theirs: KubeProxy,
    cases: usize,
    second_looks: usize,
    differences: BTreeMap<Difference, usize>,
    failures: Vec<String>,
}

/// One case as it came out on one side.
struct Found<'a> {
    case: &'a Case,
    side: &'static str,
    complaint: Option<String>,
    second_look: bool,
}

#[test]
fn outcomes_agree_or_the_difference_is_intended() {
    if side::skip() {
        return;
    }
    let seed = number("BEELINE_SEED", SEED);
    let wanted = usize::try_from(number("BEELINE_CASES", CASES as u64)).unwrap();
    eprintln!("seed {seed}: {wanted} cases (BEELINE_SEED, BEELINE_CASES)");
    let began = Instant::now();
    let mut run = Run {
        seed,
        ours: Beeline::new(),
        theirs: KubeProxy::new(),
        cases: 0,
        second_looks: 0,
        differences: BTreeMap::new(),
        failures: Vec::new(),
    };
    for world in 0.. {
        if run.cases >= wanted {
            break;
        }
        run.world(world, wanted);
    }
    eprintln!("{} cases in {:?}, {} looked at twice", run.cases, began.elapsed(), run.second_looks);
    eprintln!("intended differences: {:?}", run.differences);
    let told = run.failures[..run.failures.len().min(TOLD_MAX)].join("\n");
    assert!(run.failures.is_empty(), "seed {seed}: {} differ\n{told}", run.failures.len());
    if seed == SEED && wanted >= CASES {
        let seen: BTreeSet<_> = run.differences.into_keys().collect();
        assert_eq!(seen, Difference::ALL.into(), "each intended difference comes up");
    }
}

impl Run {
    fn world(&mut self, number: u16, wanted: usize) {
        let (cluster, mut rng) = generate::cluster(self.seed, number);
        let count = CASES_OF_WORLD.min(wanted - self.cases);
        let cases = case::draw(&cluster, count, &mut rng);
        self.ours.load(&cluster);
        self.theirs.load(&cluster);
        let results = self.all(&cluster, &cases);
        for result in results {
            self.second_looks += usize::from(result.second_look);
            if let Some(complaint) = result.complaint {
                let Found { case, side, .. } = result;
                let services = shown(&cluster, case);
                self.failures
                    .push(format!("world {number}, {side}: {case}: {complaint}{services}"));
            }
        }
        for case in &cases {
            for difference in intended::expected(&cluster, case).1 {
                *self.differences.entry(difference).or_default() += 1;
            }
        }
        self.cases += cases.len();
    }

    /// Cases that may disturb each other, because a Service remembers its clients, one after the other; all others side by side.
    fn all<'a>(&self, cluster: &'a Cluster, cases: &'a [Case]) -> Vec<Found<'a>> {
        let mut groups: BTreeMap<(place::Caller, usize), Vec<&Case>> = BTreeMap::new();
        for (index, case) in cases.iter().enumerate() {
            let sticky = service(case).filter(|service| cluster.services[*service].affinity);
            let group = sticky.unwrap_or(cluster.services.len() + index);
            groups.entry((case.caller, group)).or_default().push(case);
        }
        let ours = |case: &Case, request: &Request| self.ours.call(case, request);
        let theirs = |case: &Case, request: &Request| self.theirs.call(case, request);
        std::thread::scope(|scope| {
            let mut running = Vec::new();
            for group in groups.into_values() {
                let other = group.clone();
                running.push(scope.spawn(move || {
                    let expected = |case: &Case| intended::expected(cluster, case).0;
                    one_by_one("beeline", &group, expected, ours)
                }));
                running.push(scope.spawn(move || {
                    let expected = |case: &Case| kube_proxy::expected(cluster, case);
                    one_by_one("kube-proxy", &other, expected, theirs)
                }));
            }
            running.into_iter().flat_map(|thread| thread.join().expect("a case ends")).collect()
        })
    }
}

fn one_by_one<'a>(
    side: &'static str,
    cases: &[&'a Case],
    expected: impl Fn(&Case) -> Expected,
    call: impl Fn(&Case, &Request) -> Vec<Answer>,
) -> Vec<Found<'a>> {
    let look = |case: &&'a Case| {
        let expected = expected(case);
        let request = request(case, &expected);
        let answers = call(case, &request);
        let mut complaint = expected.complaint(case, &answers);
        // A busy machine is slow, never wrong: silence may become an answer, and rare servers may come up.
        let patient = Request { patience: LONG * 2, least: request.most, ..request };
        let second_look = complaint.is_some() && may_be_late(&expected, &answers);
        if second_look {
            complaint = expected.complaint(case, &call(case, &patient));
        }
        Found { case, side, complaint, second_look }
    };
    cases.iter().map(look).collect()
}

fn may_be_late(expected: &Expected, answers: &[Answer]) -> bool {
    *expected != Expected::Dropped
        && (answers.contains(&Answer::Silence) || answers.len() < expected.servers())
}

fn request(case: &Case, expected: &Expected) -> Request {
    let servers = expected.servers();
    // A refusal is told once: kube-proxy's comes while the socket is busy, and again a second later with the next SYN.
    // With this many calls one of n servers is missed once in 10^20.
    let (least, most) = if servers == 0 { (1, 1) } else { (3 * servers + 1, 48 * servers) };
    let source = (!case.caller.is_inside()).then(|| case.caller.address(case.family));
    Request {
        tcp: case.protocol == Protocol::Tcp,
        to: case.address,
        source,
        least,
        most,
        servers,
        patience: if *expected == Expected::Dropped { SHORT } else { LONG },
    }
}

/// The Service that is called, if any.
fn service(case: &Case) -> Option<usize> {
    match case.target {
        Target::Service(index, _) | Target::NodePort(index, _) | Target::OtherPort(index, _) => {
            Some(index)
        }
        Target::Nobody(_) | Target::Server(_) | Target::ClosedPort(_) => None,
    }
}

fn shown(cluster: &Cluster, case: &Case) -> String {
    service(case).map_or(String::new(), |index| format!("\n    {:?}", cluster.services[index]))
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}
