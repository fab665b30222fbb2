//! Tells the cluster when a map of the dataplane is nearly full: a Warning about the node, once each time.
//!
//! In: the maps that are pressed. Out: Events. Says nothing when the pressure ends; the metric does.

use std::{collections::BTreeSet, time::SystemTime};

use beeline_datapath::{Datapath, Usage};
use beeline_kit::Tasks;
use beeline_uplink::Uplink;
use k8s_openapi::api::core::v1::{Event, ObjectReference};

use super::warning::Warning;

const COMPONENT: &str = "beeline-datapath";
const REASON: &str = "DataplaneMapPressure";

/// Follow until `tasks` stop.
pub fn follow(datapath: &Datapath, uplink: Uplink, node_name: &str, tasks: &Tasks) {
    let mut pressed = datapath.pressed();
    let node_name = node_name.to_owned();
    let token = tasks.token();
    tasks.spawn("map-pressure", async move {
        let mut told = BTreeSet::new();
        while let Some(Ok(())) = token.run_until_cancelled(pressed.changed()).await {
            let now = pressed.borrow_and_update().clone();
            told.retain(|map| now.contains_key(map));
            for usage in now.values() {
                if told.insert(usage.map) {
                    uplink.event(&event(usage, &node_name, SystemTime::now()));
                }
            }
        }
    });
}

fn event(usage: &Usage, node: &str, now: SystemTime) -> Event {
    let Usage { map, entries, limit } = usage;
    let about = ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(node.to_owned()),
        // Upstream's tools look for a node's events under its name.
        uid: Some(node.to_owned()),
        ..ObjectReference::default()
    };
    let message = format!(
        "map {map} holds {entries} of {limit} entries: start the agent with a larger --map-size {map}=N after draining the node"
    );
    Warning { about, reason: REASON, message, component: COMPONENT, node }.event(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_names_map_and_remedy() {
        let usage = Usage { map: "CONNTRACK", entries: 90, limit: 100 };
        let event = event(&usage, "n1", SystemTime::UNIX_EPOCH);
        assert_eq!(event.involved_object.name.as_deref(), Some("n1"));
        let message = event.message.unwrap();
        assert!(
            message.contains("CONNTRACK holds 90 of 100")
                && message.contains("--map-size CONNTRACK=N")
        );
    }
}
