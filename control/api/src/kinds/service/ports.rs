//! The ports of a Service, one by one and against each other.

use serde_json::{Value, json};

use super::Shape;
use crate::kinds::Causes;
use crate::kinds::rules::one_of;
use crate::meta::{list, text};
use crate::validate::{self, duplicate, forbidden, invalid, required};

/// Names, numbers, protocols, targets.
pub(super) fn each(shape: &Shape<'_>, causes: &mut Causes) {
    let all = list(shape.spec, "ports");
    let mut names = Vec::new();
    for (i, port) in all.iter().enumerate() {
        let at = format!("spec.ports[{i}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = validate::dns_label(name, false);
            causes.extend(problems.iter().map(|p| invalid(&format!("{at}.name"), name, p)));
            if names.contains(&name) {
                causes.push(duplicate(&format!("{at}.name"), name));
            }
            names.push(name);
        } else if all.len() > 1 {
            causes.push(required(&format!("{at}.name"), ""));
        }
        let number = port["port"].as_i64().unwrap_or(0);
        let problem = validate::port_number(number);
        causes.extend(problem.map(|p| invalid(&format!("{at}.port"), number, p)));
        one_of(&port["protocol"], &format!("{at}.protocol"), &["SCTP", "TCP", "UDP"], causes);
        target(&port["targetPort"], &format!("{at}.targetPort"), causes);
        if let Some(protocol) = port["appProtocol"].as_str() {
            let problems = validate::label_key(protocol);
            let field = format!("{at}.appProtocol");
            causes.extend(problems.iter().map(|p| invalid(&field, protocol, p)));
        }
    }
}

fn target(target: &Value, field: &str, causes: &mut Causes) {
    match target {
        Value::Number(n) => {
            let n = n.as_i64().unwrap_or(0);
            causes.extend(validate::port_number(n).map(|p| invalid(field, n, p)));
        }
        Value::String(s) => {
            causes.extend(validate::port_name(s).iter().map(|p| invalid(field, s.as_str(), p)));
        }
        _ => {}
    }
}

/// Node ports where there are none, and pairs of protocol and port that occur twice.
pub(super) fn together(shape: &Shape<'_>, causes: &mut Causes) {
    let all = list(shape.spec, "ports");
    let node_port = |port: &Value| port["nodePort"].as_i64().filter(|n| *n != 0);
    if shape.kind == "ClusterIP" {
        for (i, _) in all.iter().enumerate().filter(|(_, port)| node_port(port).is_some()) {
            let field = format!("spec.ports[{i}].nodePort");
            causes.push(forbidden(&field, "may not be used when `type` is 'ClusterIP'"));
        }
    }
    let mut seen = Vec::new();
    for (i, port) in all.iter().enumerate() {
        let Some(number) = node_port(port) else { continue };
        let pair = (number, text(port, "protocol"));
        if seen.contains(&pair) {
            causes.push(duplicate(&format!("spec.ports[{i}].nodePort"), number));
        }
        seen.push(pair);
    }
    let mut seen = Vec::new();
    for (i, port) in all.iter().enumerate() {
        let pair = (port["port"].as_i64().unwrap_or(0), text(port, "protocol"));
        if seen.contains(&pair) {
            let value = json!({ "port": pair.0, "protocol": pair.1 });
            causes.push(duplicate(&format!("spec.ports[{i}]"), value));
        }
        seen.push(pair);
    }
}
