//! Tokens of service accounts, for whoever may ask for one; bound to a Pod, a Secret or a Node if the request says so.
//!
//! In: a TokenRequest. Out: the same with its status filled in, or a refusal in upstream's words. Whether the caller may ask
//! for tokens of the account is decided before; what a node may ask for is decided here, with a look at its Pod.

use std::time::{Duration, SystemTime};

use beeline_api::kinds::{NODE, POD, SECRET, SERVICE_ACCOUNT};
use beeline_api::meta::{list, text};
use beeline_api::{ApiError, KindInfo, decode, time, validate};
use beeline_auth::service_account::{Bound, ISSUER, Issuer, Reference};
use serde_json::{Value, json};

use crate::object::Object;
use crate::registry::Registry;

const API_VERSION: &str = "authentication.k8s.io/v1";
const DEFAULT_SECONDS: i64 = 3_600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What the volumes of Pods ask for: an hour and seven seconds. They get a year, as clients of old never read their
/// token again, and are warned about after the time that was asked for.
const POD_SECONDS: i64 = 3_607;
const EXTENDED_SECONDS: i64 = 365 * 86_400;

/// Answers the request `body` for the account `namespace/name`.
pub(crate) fn issue(
    registry: &Registry,
    issuer: &Issuer,
    (namespace, name): (&str, &str),
    mut body: Value,
) -> Result<Value, ApiError> {
    decode::expect(&mut body, API_VERSION, "TokenRequest")?;
    let account = found(registry, &SERVICE_ACCOUNT, Some(namespace), name)?;
    let seconds = lifetime(&body["spec"]["expirationSeconds"])?;
    let mut bound = bound(registry, namespace, &account, &body["spec"]["boundObjectRef"])?;
    let audiences = audiences(&body["spec"]["audiences"]);
    let now = SystemTime::now();
    let lifetime = match extended(seconds, &bound, &audiences) {
        true => {
            bound.warnafter = u64::try_from(time::from_system(now).as_second() + seconds).ok();
            EXTENDED_SECONDS
        }
        false => seconds,
    };
    let lifetime = Duration::from_secs(lifetime.unsigned_abs());
    let (token, _) = issuer
        .issue(bound, audiences.clone(), lifetime, now)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    // The status tells what was asked for, so that the kubelet asks again in time.
    let until = now + Duration::from_secs(seconds.unsigned_abs());
    body["spec"]["expirationSeconds"] = json!(seconds);
    body["spec"]["audiences"] = json!(audiences);
    body["metadata"] = json!({ "name": name, "namespace": namespace, "creationTimestamp": time::format(time::from_system(now)) });
    body["status"] =
        json!({ "token": token, "expirationTimestamp": time::format(time::from_system(until)) });
    Ok(body)
}

/// What a node may ask for: tokens bound to a Pod that runs on it, for an audience that the Pod's volumes name.
pub(crate) fn check_node(
    registry: &Registry,
    node: &str,
    (namespace, name): (&str, &str),
    body: &Value,
) -> Result<(), ApiError> {
    let refuse = |why: &str| Err(ApiError::forbidden(&SERVICE_ACCOUNT, name, why));
    let spec = &body["spec"];
    let wanted = &spec["boundObjectRef"];
    if text(wanted, "apiVersion") != "v1"
        || text(wanted, "kind") != "Pod"
        || text(wanted, "name").is_empty()
    {
        return refuse("node requested token not bound to a pod");
    }
    let uid = text(wanted, "uid");
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = found(registry, &POD, Some(namespace), text(wanted, "name"))?;
    if uid != pod.uid() {
        return refuse(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if text(&pod.value["spec"], "nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audience = match list(spec, "audiences") {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    let volumes = list(&pod.value["spec"], "volumes");
    let tokens = volumes.iter().flat_map(|volume| list(&volume["projected"], "sources"));
    let mut tokens = tokens.map(|source| &source["serviceAccountToken"]);
    if !tokens.any(|token| token.is_object() && text(token, "audience") == audience) {
        return refuse(&format!("audience {audience:?} not found in pod spec volume"));
    }
    Ok(())
}

fn extended(seconds: i64, bound: &Bound, audiences: &[String]) -> bool {
    seconds == POD_SECONDS && bound.pod.is_some() && audiences.iter().any(|one| one == ISSUER)
}

fn audiences(asked: &Value) -> Vec<String> {
    let all: Vec<String> = asked
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if all.is_empty() { vec![ISSUER.to_owned()] } else { all }
}

fn lifetime(asked: &Value) -> Result<i64, ApiError> {
    let seconds = asked.as_i64().unwrap_or(DEFAULT_SECONDS);
    let why = match seconds {
        ..MIN_SECONDS => "may not specify a duration less than 10 minutes",
        MIN_SECONDS..=MAX_SECONDS => return Ok(seconds),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let cause = validate::invalid("spec.expirationSeconds", seconds, why);
    let text = format!(
        "TokenRequest.authentication.k8s.io \"\" is invalid: {}: {}",
        cause.field, cause.message
    );
    Err(ApiError::new(422, "Invalid", text).with_causes(vec![cause]))
}

fn found(
    registry: &Registry,
    kind: &'static KindInfo,
    namespace: Option<&str>,
    name: &str,
) -> Result<std::sync::Arc<Object>, ApiError> {
    registry.cached(kind, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))
}

/// What the token dies with.
fn bound(
    registry: &Registry,
    namespace: &str,
    account: &Object,
    wanted: &Value,
) -> Result<Bound, ApiError> {
    let mut bound = Bound {
        namespace: namespace.to_owned(),
        serviceaccount: reference(account),
        ..Bound::default()
    };
    if !wanted.is_object() {
        return Ok(bound);
    }
    let name = text(wanted, "name");
    match (text(wanted, "apiVersion"), text(wanted, "kind")) {
        ("v1", "Pod") => {
            let pod = fitting(registry, &POD, Some(namespace), wanted)?;
            if text(&pod.value["spec"], "serviceAccountName") != account.name() {
                let text = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    account.name()
                );
                return Err(ApiError::bad_request(text));
            }
            let node = text(&pod.value["spec"], "nodeName");
            bound.node = registry.cached(&NODE, None, node).map(|node| reference(&node));
            bound.pod = Some(reference(&pod));
        }
        ("v1", "Secret") => {
            bound.secret = Some(reference(&*fitting(registry, &SECRET, Some(namespace), wanted)?));
        }
        ("v1", "Node") => bound.node = Some(reference(&*fitting(registry, &NODE, None, wanted)?)),
        (version, kind) => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token to {version} {kind} {name:?}: only to a v1 Pod, Secret or Node"
            )));
        }
    }
    Ok(bound)
}

fn fitting(
    registry: &Registry,
    kind: &'static KindInfo,
    namespace: Option<&str>,
    wanted: &Value,
) -> Result<std::sync::Arc<Object>, ApiError> {
    let (name, uid) = (text(wanted, "name"), text(wanted, "uid"));
    let object = found(registry, kind, namespace, name)?;
    if !uid.is_empty() && uid != object.uid() {
        let have = object.uid();
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated ({have})"
        );
        return Err(ApiError::conflict(kind, name, &why));
    }
    Ok(object)
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.name().to_owned(), uid: object.uid().to_owned() }
}
