//! Which flows somebody wants to see. Travels as JSON.

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Flow, Peer};

/// All conditions must hold; those that are absent always do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Only the newest so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
    /// Not older than so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_seconds: Option<u64>,
    /// Source or destination: `namespace/name`, where the name may be the beginning of one; without a slash in `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Through this Service: `namespace/name`; without a slash in `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `forwarded`, `dropped`, `translated`, `refused`, `redirected`; case does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// `tcp`, `udp`, `icmp`, `sctp`; case does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The connection, 16 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<String>,
    /// Go on with what comes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
}

/// A condition that nothing could ever meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery {
    /// The field.
    pub field: &'static str,
    /// What it said.
    pub value: String,
    /// What it may say.
    pub allowed: &'static [&'static str],
}

impl std::fmt::Display for BadQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} is none of {}", self.field, self.value, self.allowed.join(", "))
    }
}

impl std::error::Error for BadQuery {}

const VERDICTS: &[&str] = &["forwarded", "dropped", "translated", "refused", "redirected"];
const PROTOCOLS: &[&str] = &["tcp", "udp", "icmp", "sctp"];

impl Query {
    /// Refuses values that are misspelt rather than finding nothing.
    pub fn check(&self) -> Result<(), BadQuery> {
        one_of("verdict", self.verdict.as_deref(), VERDICTS)?;
        one_of("protocol", self.protocol.as_deref(), PROTOCOLS)?;
        shaped("pod", self.pod.as_deref(), is_name, NAME)?;
        shaped("service", self.service.as_deref(), is_name, NAME)?;
        shaped("flow id", self.flow_id.as_deref(), is_flow_id, FLOW_ID)
    }

    /// Whether a flow is wanted, `last` aside.
    pub fn matches(&self, flow: &Flow, now: Timestamp) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        is(&self.verdict, flow.verdict.name())
            && is(&self.protocol, &flow.l4.protocol)
            && is(&self.flow_id, &flow.flow_id)
            && self.is_recent(flow, now)
            && self
                .pod
                .as_deref()
                .is_none_or(|pod| is_pod(pod, &flow.source) || is_pod(pod, &flow.destination))
            && self.service.as_deref().is_none_or(|service| is_service(service, flow))
    }

    fn is_recent(&self, flow: &Flow, now: Timestamp) -> bool {
        let Some(seconds) = self.since_seconds else { return true };
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        flow.time.as_second() >= now.as_second().saturating_sub(seconds)
    }
}

const NAME: &[&str] = &["NAMESPACE/NAME", "NAME"];
const FLOW_ID: &[&str] = &["16 hex digits"];

fn is_name(text: &str) -> bool {
    let parts: Vec<_> = text.split('/').collect();
    parts.len() <= 2 && parts.iter().all(|part| !part.is_empty())
}

fn is_flow_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn shaped(
    field: &'static str,
    value: Option<&str>,
    good: fn(&str) -> bool,
    allowed: &'static [&'static str],
) -> Result<(), BadQuery> {
    match value {
        Some(value) if !good(value) => Err(BadQuery { field, value: value.to_owned(), allowed }),
        _ => Ok(()),
    }
}

fn one_of(
    field: &'static str,
    value: Option<&str>,
    allowed: &'static [&'static str],
) -> Result<(), BadQuery> {
    match value {
        Some(value) if !allowed.iter().any(|known| known.eq_ignore_ascii_case(value)) => {
            Err(BadQuery { field, value: value.to_owned(), allowed })
        }
        _ => Ok(()),
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("default", name))
}

fn is_pod(wanted: &str, peer: &Peer) -> bool {
    let (namespace, name) = split(wanted);
    !peer.pod_name.is_empty() && *peer.namespace == *namespace && peer.pod_name.starts_with(name)
}

fn is_service(wanted: &str, flow: &Flow) -> bool {
    let (namespace, name) = split(wanted);
    flow.service
        .as_ref()
        .is_some_and(|found| *found.namespace == *namespace && *found.name == *name)
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn what_could_never_match_is_refused() {
        let pod = |name: &str| Query { pod: Some(name.into()), ..Query::default() }.check();
        assert!(pod("web").is_ok() && pod("team/web").is_ok());
        let refused = pod("a/b/c").unwrap_err().to_string();
        assert_eq!(refused, "pod \"a/b/c\" is none of NAMESPACE/NAME, NAME");
        assert!(pod("/web").is_err());
        let id = |id: &str| Query { flow_id: Some(id.into()), ..Query::default() }.check();
        assert!(id("00000000000000ff").is_ok() && id("ff").is_err());
    }
}
