//! core/v1 Endpoints.

use k8s_openapi::api::core::v1::Endpoints;
use serde_json::Value;

use super::KindInfo;
use super::rules::{self, AGE, BASE, NAME, col};
use crate::decode::strict;
use crate::meta::{self, list, or_set, text};

/// Endpoints.
pub static ENDPOINTS: KindInfo = KindInfo {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    create_on_update: true,
    columns: &[NAME, col("Endpoints"), AGE],
    cells: |o, now| vec![rules::name_cell(o), addresses(o).into(), rules::age_cell(o, now)],
    check: strict::check::<Endpoints>,
    default,
    ..BASE
};

fn default(object: &mut Value) {
    for subset in meta::items(object, "subsets") {
        for port in meta::items(subset, "ports").filter_map(Value::as_object_mut) {
            or_set(port, "protocol", "TCP");
        }
    }
}

fn addresses(o: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(o, "subsets") {
        let ports = list(subset, "ports");
        for address in list(subset, "addresses") {
            let ip = text(address, "ip");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|p| format!("{ip}:{}", p["port"])));
        }
    }
    shortened(&all)
}

/// At most three, then how many more.
pub(super) fn shortened(all: &[String]) -> String {
    match all {
        [] => "<none>".to_owned(),
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a},{b},{c} + {} more...", rest.len()),
        few => few.join(","),
    }
}
