//! `serviceaccounts/token`: a token for whoever may ask for one, bound to a Pod, a Secret or a Node if it says so.

use std::time::{Duration, SystemTime};

use beeline_api::kinds::{NODE, POD, SECRET, SERVICE_ACCOUNT};
use beeline_api::meta::text;
use beeline_api::{ApiError, KindInfo, decode, time, validate};
use beeline_auth::Target;
use beeline_auth::service_account::{Bound, ISSUER, Reference};
use beeline_registry::Object;
use serde_json::{Value, json};

use crate::app::App;
use crate::route::ResourcePath;
use crate::service::Asked;

const API_VERSION: &str = "authentication.k8s.io/v1";
const DEFAULT_SECONDS: i64 = 3_600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What the volumes of Pods ask for: an hour and seven seconds. They get a year, as clients of old never read their
/// token again, and are warned about after the time that was asked for.
const POD_SECONDS: i64 = 3_607;
const EXTENDED_SECONDS: i64 = 365 * 86_400;

/// Answers `POST serviceaccounts/x/token` with the request, its status filled in.
pub(crate) fn answer(
    app: &App,
    asked: &Asked,
    path: &ResourcePath,
    mut body: Value,
) -> Result<Value, ApiError> {
    let (namespace, name) =
        (path.namespace.as_deref().unwrap_or_default(), path.name.as_deref().unwrap_or_default());
    let wanted = Target::Resource {
        group: "",
        resource: "serviceaccounts",
        subresource: "token",
        namespace,
        name,
    };
    app.authorize(&asked.caller, "create", wanted)
        .map_err(|reason| ApiError::forbidden(&SERVICE_ACCOUNT, name, &reason))?;
    decode::expect(&mut body, API_VERSION, "TokenRequest")?;
    let issuer = app
        .options
        .tokens
        .as_ref()
        .ok_or_else(|| ApiError::unavailable("this server makes no service account tokens"))?;
    let account = found(app, &SERVICE_ACCOUNT, Some(namespace), name)?;
    let seconds = lifetime(&body["spec"]["expirationSeconds"])?;
    let mut bound = bound(app, namespace, &account, &body["spec"]["boundObjectRef"])?;
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
    app: &App,
    kind: &'static KindInfo,
    namespace: Option<&str>,
    name: &str,
) -> Result<std::sync::Arc<Object>, ApiError> {
    app.registry().cached(kind, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))
}

/// What the token dies with.
fn bound(app: &App, namespace: &str, account: &Object, wanted: &Value) -> Result<Bound, ApiError> {
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
            let pod = fitting(app, &POD, Some(namespace), wanted)?;
            if text(&pod.value["spec"], "serviceAccountName") != account.name() {
                let text = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    account.name()
                );
                return Err(ApiError::bad_request(text));
            }
            let node = text(&pod.value["spec"], "nodeName");
            bound.node = app.registry().cached(&NODE, None, node).map(|node| reference(&node));
            bound.pod = Some(reference(&pod));
        }
        ("v1", "Secret") => {
            bound.secret = Some(reference(&*fitting(app, &SECRET, Some(namespace), wanted)?));
        }
        ("v1", "Node") => bound.node = Some(reference(&*fitting(app, &NODE, None, wanted)?)),
        (version, kind) => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token to {version} {kind} {name:?}: only to a v1 Pod, Secret or Node"
            )));
        }
    }
    Ok(bound)
}

fn fitting(
    app: &App,
    kind: &'static KindInfo,
    namespace: Option<&str>,
    wanted: &Value,
) -> Result<std::sync::Arc<Object>, ApiError> {
    let (name, uid) = (text(wanted, "name"), text(wanted, "uid"));
    let object = found(app, kind, namespace, name)?;
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
