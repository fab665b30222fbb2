//! Lists: a page of one snapshot, whatever is written meanwhile.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use beeline_api::ApiError;
use beeline_store::Revision;
use serde_json::{Value, json};

use crate::bucket::{Bucket, Objects, under};
use crate::object::{List, Object};
use crate::options::{ListOptions, Target, VersionMatch};
use crate::registry::Registry;

/// The selected part of a snapshot.
struct Page {
    objects: Objects,
    revision: Revision,
    /// Keys from here on.
    start: String,
}

/// One page.
pub(crate) async fn list(
    registry: &Registry,
    target: &Target,
    o: &ListOptions,
) -> Result<List, ApiError> {
    let bucket = registry.inner.cache.bucket(target.kind);
    let scope = bucket.scope(target.namespace.as_deref());
    let page = match &o.continue_token {
        Some(token) if !token.is_empty() => continued(registry, &bucket, &scope, token, o)?,
        _ => first(registry, &bucket, &scope, o).await?,
    };
    Ok(select(target, &scope, &page, o))
}

/// Checks a resourceVersion parameter.
pub(crate) fn version(text: &str) -> Result<Revision, ApiError> {
    text.parse().map(Revision).map_err(|_| {
        let field = "resourceVersion";
        let message = format!(
            "Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
        );
        ApiError::bad_request(format!("{field}: {message}"))
    })
}

fn forbidden_match(why: &str) -> ApiError {
    let cause = beeline_api::validate::forbidden("resourceVersionMatch", why);
    let message =
        format!("ListOptions.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
    ApiError::new(422, "Invalid", message).with_causes(vec![cause])
}

async fn first(
    registry: &Registry,
    bucket: &Bucket,
    scope: &str,
    o: &ListOptions,
) -> Result<Page, ApiError> {
    let cache = &registry.inner.cache;
    let asked = o.resource_version.as_deref().unwrap_or_default();
    if asked.is_empty() {
        if o.version_match.is_some() {
            return Err(forbidden_match(
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        cache.reach(registry.inner.store.revision()).await?;
        return Ok(now(registry, bucket, scope));
    }
    let revision = version(asked)?;
    if revision.0 == 0 {
        if o.version_match == Some(VersionMatch::Exact) {
            return Err(forbidden_match(
                "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        return Ok(now(registry, bucket, scope));
    }
    cache.reach(revision).await?;
    let exact =
        o.version_match == Some(VersionMatch::Exact) || (o.version_match.is_none() && o.limit > 0);
    if !exact {
        return Ok(now(registry, bucket, scope));
    }
    let state = bucket.read();
    let objects = state.at(revision).ok_or_else(|| {
        ApiError::expired(format!(
            "The resourceVersion for the provided list is too old: {revision} ({})",
            state.oldest
        ))
    })?;
    Ok(Page { objects, revision, start: scope.to_owned() })
}

/// The snapshot of this moment, with a revision that covers it and nothing more.
fn now(registry: &Registry, bucket: &Bucket, scope: &str) -> Page {
    let state = bucket.read();
    let revision = registry.inner.cache.applied().max(state.newest);
    Page { objects: state.objects.clone(), revision, start: scope.to_owned() }
}

fn continued(
    registry: &Registry,
    bucket: &Bucket,
    scope: &str,
    token: &str,
    o: &ListOptions,
) -> Result<Page, ApiError> {
    if o.version_match.is_some() {
        return Err(forbidden_match("resourceVersionMatch is forbidden when continue is provided"));
    }
    let bad = || ApiError::bad_request("continue key is not valid: continue key is not valid");
    if !matches!(o.resource_version.as_deref(), None | Some("" | "0")) {
        return Err(ApiError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let raw = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let token: Value = serde_json::from_slice(&raw).map_err(|_| bad())?;
    let (start, rv) =
        (token["start"].as_str().ok_or_else(bad)?, token["rv"].as_i64().ok_or_else(bad)?);
    if token["v"] != "meta.k8s.io/v1" || start.contains("..") {
        return Err(bad());
    }
    let start = format!("{scope}{start}");
    let Ok(revision) = u64::try_from(rv) else {
        // -1: from there on in whatever there is now.
        return Ok(Page { start, ..now(registry, bucket, scope) });
    };
    let revision = Revision(revision);
    let state = bucket.read();
    match state.at(revision) {
        Some(objects) => Ok(Page { objects, revision, start }),
        None => {
            let mut error = ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            );
            error.continue_token = Some(encode(-1, &start[scope.len()..]).into());
            Err(error)
        }
    }
}

fn encode(rv: i64, start: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({ "v": "meta.k8s.io/v1", "rv": rv, "start": start }).to_string())
}

fn select(target: &Target, scope: &str, page: &Page, o: &ListOptions) -> List {
    let matches = |object: &Object| {
        (o.labels.is_empty() || o.labels.matches(object.labels()))
            && (o.fields.is_empty() || o.fields.matches(target.kind, &object.value))
    };
    let mut range = under(&page.objects, &page.start, scope);
    let mut items: Vec<Arc<Object>> = Vec::new();
    let mut last = String::new();
    let max = if o.limit == 0 { usize::MAX } else { o.limit };
    for (key, object) in range.by_ref() {
        if !matches(object) {
            continue;
        }
        last = key.to_string();
        items.push(Arc::clone(object));
        if items.len() == max {
            break;
        }
    }
    let unfiltered = o.labels.is_empty() && o.fields.is_empty();
    let more = match (items.len() == max, unfiltered) {
        (false, _) => 0,
        (true, true) => range.count(),
        // That there are more is all that anybody is told of a selection.
        (true, false) => usize::from(range.any(|(_, object)| matches(object))),
    };
    let token = (more > 0).then(|| {
        encode(
            i64::try_from(page.revision.0).unwrap_or(i64::MAX),
            &format!("{}\0", &last[scope.len()..]),
        )
    });
    let remaining = (more > 0 && unfiltered).then_some(more as u64);
    List { items, revision: page.revision, continue_token: token, remaining }
}
