//! The gate over the usual configuration.

use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use http::Method;
use serde_json::json;

use super::*;
use crate::query::Query;
use crate::route;

fn gate(seats: u32) -> Fairness {
    let gate = Fairness::new(seats);
    gate.configure(&flowcontrol::schemas(), &flowcontrol::levels());
    gate
}

fn current_seats(gate: &Fairness) -> Vec<(String, u32)> {
    let current = gate.current.load();
    let limited = current.levels.values().filter(|level| !level.is_exempt());
    limited.map(|level| (level.name.clone(), level.seats_max())).collect()
}

fn way(gate: &Fairness, user: &str, groups: &[&str], path: &str) -> Arc<Way> {
    let groups: Vec<String> = groups.iter().map(|one| (*one).to_owned()).collect();
    let (route, query) = (route::parse(path), Query::default());
    let info = RequestInfo::of(&Method::GET, &query, path, &route);
    let timeout = Duration::from_secs(60);
    let arrival = Arrival { user, groups: &groups, info, query: &query, timeout };
    gate.find(&arrival).unwrap()
}

#[tokio::test]
async fn levels_have_their_shares_and_lend() {
    let gate = gate(600);
    let nominal = current_seats(&gate);
    assert!(nominal.contains(&("workload-low".to_owned(), 245)), "{nominal:?}");
    let busy = way(&gate, "bob", &["system:authenticated"], "/api/v1/pods");
    let enter = || busy.level.enter(&busy.counts, 1, || 7, Duration::from_secs(1)).now_or_never();
    let held: Vec<_> = (0..60).filter_map(|_| enter()).collect();
    assert_eq!(held.len(), 49);
    lend(&gate.current.load(), gate.seats, true);
    let seats = busy.level.seats_max();
    assert!(seats > 49, "{seats}");
}

#[test]
fn a_change_keeps_levels_and_counters_and_the_mandatory_cannot_go() {
    let gate = gate(100);
    let before = way(&gate, "bob", &["system:authenticated"], "/api/v1/pods");
    before.counts.dispatched.store(5, Ordering::Relaxed);
    gate.configure(&flowcontrol::schemas(), &flowcontrol::levels());
    let after = way(&gate, "bob", &["system:authenticated"], "/api/v1/pods");
    assert!(Arc::ptr_eq(&before.level, &after.level));
    assert_eq!(after.counts.dispatched.load(Ordering::Relaxed), 5);
    let mut emptied = flowcontrol::schemas();
    emptied.retain(|one| one["metadata"]["name"] == "exempt");
    emptied[0]["spec"]["rules"] = json!([]);
    gate.configure(&emptied, &[]);
    let root = way(&gate, "root", &["system:masters"], "/api/v1/pods");
    assert_eq!(root.level.name, "exempt");
    assert_eq!(way(&gate, "bob", &[], "/api/v1/pods").level.name, "catch-all");
}

#[test]
fn a_schema_without_its_level_takes_nothing() {
    let gate = gate(100);
    let mut schemas = flowcontrol::schemas();
    for one in &mut schemas {
        if one["metadata"]["name"] == "global-default" {
            one["spec"]["priorityLevelConfiguration"]["name"] = json!("nowhere");
        }
    }
    gate.configure(&schemas, &flowcontrol::levels());
    let way = way(&gate, "bob", &["system:authenticated"], "/api/v1/pods");
    assert_eq!(way.schema.name, "catch-all");
}

#[test]
fn an_uncontended_request_leaves_nothing_behind() {
    let gate = gate(600);
    let path = "/api/v1/namespaces/x/pods/p";
    let (route, query) = (route::parse(path), Query::default());
    let groups = ["system:authenticated".to_owned()];
    for _ in 0..1000 {
        let info = RequestInfo::of(&Method::GET, &query, path, &route);
        let timeout = Duration::from_secs(60);
        let arrival = Arrival { user: "bob", groups: &groups, info, query: &query, timeout };
        let way = gate.find(&arrival).unwrap();
        let entered = way.level.enter(&way.counts, 1, || 0, timeout).now_or_never();
        assert!(entered.is_some_and(|ticket| ticket.is_ok()));
    }
    let way = way(&gate, "bob", &["system:authenticated"], path);
    assert_eq!(way.counts.dispatched.load(Ordering::Relaxed), 1000);
    assert_eq!(way.counts.running.load(Ordering::Relaxed), 0);
    assert_eq!(way.level.seats_used(), 0);
}
