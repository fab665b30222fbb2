//! `pods/log`: which container is meant, whether it has a log yet, and the bytes from its node.

use std::sync::Arc;

use axum::body::Body;
use beeline_api::status::Cause;
use beeline_api::{ApiError, KindInfo};
use beeline_auth::Target;
use beeline_registry::Object;
use futures::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::Value;

use crate::answer::{self, Answer};
use crate::app::App;
use crate::nodes::LogQuery;
use crate::query::Query;
use crate::route::ResourcePath;
use crate::service::Asked;

/// Answers `GET pods/x/log`.
pub(crate) async fn answer(
    app: &Arc<App>,
    asked: &Asked,
    kind: &'static KindInfo,
    path: &ResourcePath,
) -> Result<Answer, ApiError> {
    let namespace = path.namespace.as_deref().unwrap_or_default();
    let name = path.name.as_deref().unwrap_or_default();
    let wanted =
        Target::Resource { group: "", resource: "pods", subresource: "log", namespace, name };
    app.authorize(&asked.caller, "get", wanted)
        .map_err(|reason| ApiError::forbidden(kind, name, &reason))?;
    let pod = app
        .registry()
        .cached(kind, Some(namespace), name)
        .ok_or_else(|| ApiError::not_found(kind, name))?;
    let query = query(&asked.query, &pod)?;
    let node = pod.value["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    has_log(&pod.value["status"], &query)?;
    let nodes =
        app.options.nodes.as_ref().ok_or_else(|| ApiError::unavailable("no way to nodes here"))?;
    let stream = nodes.logs(node, query).await?;
    // Without the end at shutdown a follower would hold the connection for ever.
    let stream = stream.take_until(app.stopping.clone().cancelled_owned());
    let mut response = Response::new(Body::from_stream(stream));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(answer::uncached(response))
}

fn query(query: &Query, pod: &Object) -> Result<LogQuery, ApiError> {
    let (since_seconds, since_time) =
        (query.number("sinceSeconds")?, query.get("sinceTime").map(str::to_owned));
    let (tail_lines, limit_bytes) = (query.number("tailLines")?, query.number("limitBytes")?);
    if since_seconds.is_some() && since_time.is_some() {
        return Err(invalid(
            "sinceSeconds",
            "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified".into(),
        ));
    }
    let checks = [
        ("tailLines", tail_lines, 0),
        ("limitBytes", limit_bytes, 1),
        ("sinceSeconds", since_seconds, 1),
    ];
    for (field, value, least) in checks {
        if let Some(number) = value.filter(|number: &i64| *number < least) {
            return Err(invalid(
                field,
                format!("Invalid value: {number}: must be greater than or equal to {least}"),
            ));
        }
    }
    Ok(LogQuery {
        namespace: pod.namespace().to_owned(),
        pod: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        container: container(query.get("container"), pod)?,
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        since_seconds,
        since_time,
        tail_lines,
        limit_bytes,
    })
}

fn invalid(field: &str, message: String) -> ApiError {
    let text = format!("PodLogOptions \"\" is invalid: {field}: {message}");
    let cause = Cause { reason: "FieldValueInvalid".into(), message, field: field.to_owned() };
    ApiError::new(422, "Invalid", text).with_causes(vec![cause])
}

fn names<'a>(pod: &'a Object, list: &str) -> Vec<&'a str> {
    pod.value["spec"][list]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["name"].as_str())
        .collect()
}

fn container(asked: Option<&str>, pod: &Object) -> Result<String, ApiError> {
    let (main, init) = (names(pod, "containers"), names(pod, "initContainers"));
    let name = pod.name();
    match asked {
        Some(asked) if main.contains(&asked) || init.contains(&asked) => Ok(asked.to_owned()),
        Some(asked) => {
            Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}")))
        }
        None if main.len() == 1 => Ok(main[0].to_owned()),
        None => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                main.join(" ")
            );
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(ApiError::bad_request(text))
        }
    }
}

/// Refuses while there is nothing to read, in the kubelet's words.
fn has_log(status: &Value, query: &LogQuery) -> Result<(), ApiError> {
    let (container, pod) = (&query.container, &query.pod);
    let state = ["containerStatuses", "initContainerStatuses"]
        .iter()
        .flat_map(|list| status[*list].as_array().into_iter().flatten())
        .find(|state| state["name"].as_str() == Some(container));
    let waiting = |reason: &str| {
        let why = match reason {
            "ErrImagePull" => "image can't be pulled",
            "ImagePullBackOff" => "trying and failing to pull image",
            reason => reason,
        };
        ApiError::bad_request(format!(
            "container \"{container}\" in pod \"{pod}\" is waiting to start: {why}"
        ))
    };
    let Some(state) = state else { return Err(waiting("ContainerCreating")) };
    let ended_before = state["lastState"]["terminated"].is_object();
    if query.previous && !ended_before {
        let text =
            format!("previous terminated container \"{container}\" in pod \"{pod}\" not found");
        return Err(ApiError::bad_request(text));
    }
    match state["state"]["waiting"]["reason"].as_str() {
        Some(reason) if !ended_before => Err(waiting(reason)),
        _ => Ok(()),
    }
}
