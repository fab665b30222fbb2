//! Which flows somebody wants. Travels as JSON to other nodes.

use serde::{Deserialize, Serialize};

use crate::flow::{Flow, Peer, Verdict};

/// All conditions hold; an absent one always does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// At most this many of the newest.
    pub last: Option<usize>,
    /// Not before this: milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// From or to this pod: `namespace/name`.
    pub pod: Option<String>,
    /// Through this Service: `namespace/name`.
    pub service: Option<String>,
    /// One of these verdicts; empty: any.
    pub verdicts: Vec<Verdict>,
    /// This protocol, whatever its case.
    pub protocol: Option<String>,
    /// Go on with new ones as they come.
    pub follow: bool,
}

/// Why a condition was not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueryError {
    /// Not a verdict.
    #[error(
        "unknown verdict {0:?}: use forwarded (all that went on), dropped (all that did not), translated, redirected \
         or refused"
    )]
    Verdict(String),
    /// Not a duration.
    #[error("{0:?} is not a duration: use a number with s, m, h or d, such as 30s or 5m")]
    Since(String),
    /// Not `namespace/name`.
    #[error("{0:?} does not name a {1}: use NAMESPACE/NAME")]
    Name(String, &'static str),
}

impl Query {
    /// Whether a flow is wanted. `last` and `follow` are the asker's business.
    pub fn wants(&self, flow: &Flow) -> bool {
        let is_pod = |peer: &Peer, wanted: &str| match (&peer.namespace, &peer.pod_name) {
            (Some(namespace), Some(name)) => is_name(wanted, namespace, name),
            _ => false,
        };
        self.since_ms.is_none_or(|since| flow.time_ms >= since)
            && self
                .pod
                .as_deref()
                .is_none_or(|pod| is_pod(&flow.source, pod) || is_pod(&flow.destination, pod))
            && self.service.as_deref().is_none_or(|wanted| {
                flow.service
                    .as_ref()
                    .is_some_and(|service| is_name(wanted, &service.namespace, &service.name))
            })
            && (self.verdicts.is_empty() || self.verdicts.contains(&flow.verdict))
            && self
                .protocol
                .as_deref()
                .is_none_or(|protocol| flow.l4.protocol.eq_ignore_ascii_case(protocol))
    }

    /// Check what would otherwise just match nothing.
    pub fn check(&self) -> Result<(), QueryError> {
        for (name, what) in [(&self.pod, "pod"), (&self.service, "Service")] {
            if let Some(name) = name
                && name.split('/').filter(|part| !part.is_empty()).count() != 2
            {
                return Err(QueryError::Name(name.clone(), what));
            }
        }
        Ok(())
    }
}

fn is_name(wanted: &str, namespace: &str, name: &str) -> bool {
    wanted.split_once('/').is_some_and(|(first, second)| first == namespace && second == name)
}

/// A verdict as people ask for it.
pub fn parse_verdict(text: &str) -> Result<Vec<Verdict>, QueryError> {
    use Verdict::{Dropped, Forwarded, Redirected, Refused, Translated};
    Ok(match text.to_ascii_lowercase().as_str() {
        "forwarded" | "forward" => vec![Forwarded, Translated, Redirected],
        "dropped" | "drop" => vec![Dropped, Refused],
        "translated" | "translate" => vec![Translated],
        "redirected" | "redirect" => vec![Redirected],
        "refused" | "refuse" => vec![Refused],
        _ => return Err(QueryError::Verdict(text.to_owned())),
    })
}

/// A duration as people write it, in milliseconds.
pub fn parse_since(text: &str) -> Result<u64, QueryError> {
    let wrong = || QueryError::Since(text.to_owned());
    let (number, unit_ms) = match text.trim() {
        t if t.ends_with("ms") => (t.trim_end_matches("ms"), 1),
        t if t.ends_with('s') => (t.trim_end_matches('s'), 1000),
        t if t.ends_with('m') => (t.trim_end_matches('m'), 60_000),
        t if t.ends_with('h') => (t.trim_end_matches('h'), 3_600_000),
        t if t.ends_with('d') => (t.trim_end_matches('d'), 86_400_000),
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit_ms).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{Query, QueryError, parse_since, parse_verdict};

    #[test]
    fn conditions_that_cannot_match_are_refused() {
        assert_eq!(parse_since("5m"), Ok(300_000));
        assert_eq!(parse_since("250ms"), Ok(250));
        assert_eq!(parse_since("5"), Err(QueryError::Since("5".into())));
        assert!(parse_since("99999999999999999999d").is_err());
        assert_eq!(parse_verdict("DROPPED").unwrap().len(), 2);
        assert!(parse_verdict("denied").is_err());
        let query = Query { pod: Some("client".into()), ..Query::default() };
        assert!(query.check().unwrap_err().to_string().contains("NAMESPACE/NAME"));
    }
}
