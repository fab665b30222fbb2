//! `audit.k8s.io/v1` Events: what is known of a request at each stage, as upstream writes it.
//!
//! In: a request and how it went. Out: JSON. Pure: times are arguments.

use beeline_api::time::{self, Timestamp};
use beeline_auth::Identity;
use http::HeaderMap;
use http::header::USER_AGENT;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

use super::policy::{Level, Stage};
use crate::info::RequestInfo;

/// Who asks for what.
pub(crate) struct Subject<'a> {
    pub(crate) audit_id: &'a str,
    /// Whoever was recognised.
    pub(crate) own: &'a Identity,
    /// Whom he wants to be taken for, if anybody else.
    pub(crate) acting: Option<&'a Identity>,
    pub(crate) info: RequestInfo<'a>,
    pub(crate) uri: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: Option<IpAddr>,
}

/// What is the same at all stages.
pub(super) fn begin(of: &Subject<'_>, level: Level, received: Timestamp) -> Map<String, Value> {
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
    put("kind", "Event".into());
    put("apiVersion", "audit.k8s.io/v1".into());
    put("level", format!("{level:?}").into());
    put("auditID", of.audit_id.into());
    put("stage", Value::Null);
    put("requestURI", of.uri.into());
    put("verb", of.info.verb.into());
    put("user", user(of.own));
    if let Some(acting) = of.acting {
        put("impersonatedUser", user(acting));
    }
    let ips = source_ips(of.headers, of.peer);
    if !ips.is_empty() {
        put("sourceIPs", ips.into());
    }
    if let Some(agent) = of.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        put("userAgent", agent.chars().take(1024).collect::<String>().into());
    }
    if let Some(reference) = reference(&of.info) {
        put("objectRef", reference);
    }
    put("requestReceivedTimestamp", time::format_micro(received).into());
    event
}

/// The event of a stage.
pub(super) fn at(base: &Map<String, Value>, stage: Stage, now: Timestamp) -> Map<String, Value> {
    let mut event = base.clone();
    event.insert("stage".to_owned(), format!("{stage:?}").into());
    event.insert("stageTimestamp".to_owned(), time::format_micro(now).into());
    event
}

/// What a body tells of the object that its request is about, where the path did not.
pub(super) fn complete_reference(event: &mut Map<String, Value>, body: &Value) {
    let Some(reference) = event.get_mut("objectRef").and_then(Value::as_object_mut) else { return };
    for field in ["namespace", "name", "uid", "resourceVersion"] {
        let value = &body["metadata"][field];
        if !reference.contains_key(field) && value.as_str().is_some_and(|text| !text.is_empty()) {
            reference.insert(field.to_owned(), value.clone());
        }
    }
}

/// How it went: of a `Status` all that it says, else the code alone.
pub(super) fn response_status(code: u16, body: Option<&Value>) -> Value {
    let mut status = json!({ "metadata": {} });
    if let Some(body) = body.filter(|body| body["kind"] == "Status") {
        for field in ["status", "message", "reason", "details"] {
            if !body[field].is_null() {
                status[field] = body[field].clone();
            }
        }
    }
    status["code"] = code.into();
    status
}

/// Without who owns which field: of an object, the items of a list or the rows of a table.
pub(super) fn without_managed_fields(mut body: Value) -> Value {
    let strip = |object: &mut Value| {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
    };
    strip(&mut body);
    for field in ["items", "rows"] {
        for one in body.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            strip(one);
            if let Some(object) = one.get_mut("object") {
                strip(object);
            }
        }
    }
    body
}

fn user(of: &Identity) -> Value {
    let mut user = json!({ "username": of.user });
    if !of.uid.is_empty() {
        user["uid"] = of.uid.as_str().into();
    }
    if !of.groups.is_empty() {
        user["groups"] = of.groups.clone().into();
    }
    if !of.extra.is_empty() {
        user["extra"] = json!(of.extra);
    }
    user
}

fn reference(info: &RequestInfo<'_>) -> Option<Value> {
    let of = info.resource?;
    let parts = [
        ("resource", of.resource),
        ("namespace", of.namespace),
        ("name", of.name),
        ("apiGroup", of.group),
        ("apiVersion", of.version),
        ("subresource", of.subresource),
    ];
    let given = parts.into_iter().filter(|(_, value)| !value.is_empty());
    Some(given.map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
}

/// From the client to the last that passed it on.
fn source_ips(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let named = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = named("x-forwarded-for").into_iter().flat_map(|list| list.split(','));
    let all = forwarded.chain(named("x-real-ip"));
    let mut ips: Vec<IpAddr> = all.filter_map(|ip| ip.trim().parse().ok()).collect();
    ips.extend(peer);
    ips.dedup();
    ips.iter().map(IpAddr::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{query::Query, route};

    #[test]
    fn events_read_like_upstreams() {
        let path = "/apis/apps/v1/namespaces/x/deployments";
        let (route, query) = (route::parse(path), Query::default());
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "192.0.2.1, 192.0.2.2".parse().unwrap());
        headers.insert(USER_AGENT, "kubectl/v1.33".parse().unwrap());
        let own = Identity::new("root", ["system:masters"]);
        let acting = Identity { uid: "7".to_owned(), ..Identity::new("bob", []) };
        let subject = Subject {
            audit_id: "id",
            own: &own,
            acting: Some(&acting),
            info: RequestInfo::of(&http::Method::POST, &query, path, &route),
            uri: "/apis/apps/v1/namespaces/x/deployments?dryRun=All",
            headers: &headers,
            peer: Some(IpAddr::from([192, 0, 2, 2])),
        };
        let mut base = begin(&subject, Level::Metadata, Timestamp::UNIX_EPOCH);
        complete_reference(&mut base, &json!({ "metadata": { "name": "web", "namespace": "y" } }));
        let event = at(&base, Stage::ResponseComplete, Timestamp::UNIX_EPOCH);
        let expected = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "id",
            "stage": "ResponseComplete", "requestURI": "/apis/apps/v1/namespaces/x/deployments?dryRun=All",
            "verb": "create", "user": { "username": "root", "groups": ["system:masters"] },
            "impersonatedUser": { "username": "bob", "uid": "7" },
            "sourceIPs": ["192.0.2.1", "192.0.2.2"], "userAgent": "kubectl/v1.33",
            "objectRef": {
                "resource": "deployments", "namespace": "x", "name": "web", "apiGroup": "apps",
                "apiVersion": "v1",
            },
            "requestReceivedTimestamp": "1970-01-01T00:00:00.000000Z",
            "stageTimestamp": "1970-01-01T00:00:00.000000Z",
        });
        assert_eq!(Value::Object(event), expected);
    }

    #[test]
    fn a_status_is_told_and_an_object_is_not() {
        let failure = json!({ "kind": "Status", "status": "Failure", "reason": "NotFound",
            "message": "no", "metadata": {}, "code": 404 });
        assert_eq!(
            response_status(404, Some(&failure)),
            json!({ "metadata": {}, "status": "Failure", "reason": "NotFound", "message": "no", "code": 404 })
        );
        let pod = json!({ "kind": "Pod", "status": {} });
        assert_eq!(response_status(200, Some(&pod)), json!({ "metadata": {}, "code": 200 }));
    }

    #[test]
    fn managed_fields_go_wherever_they_are() {
        let object = || json!({ "metadata": { "name": "a", "managedFields": [1] } });
        let bare = json!({ "metadata": { "name": "a" } });
        assert_eq!(without_managed_fields(object()), bare);
        let list = without_managed_fields(json!({ "items": [object()] }));
        assert_eq!(list["items"][0], bare);
        let table = without_managed_fields(json!({ "rows": [{ "object": object() }] }));
        assert_eq!(table["rows"][0]["object"], bare);
    }
}
