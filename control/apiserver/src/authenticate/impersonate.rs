//! Impersonation: headers that name somebody else, for those who have the verb `impersonate` on each part of the name.

use std::collections::BTreeMap;

use beeline_api::ApiError;
use beeline_auth::{IN_PROCESS_GROUP, Identity, Target};
use http::HeaderMap;

use crate::app::{self, App};
use crate::query::percent_decode;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The identity that the headers ask for, if `own` may have it; none if they ask for none.
pub(crate) fn wanted(
    app: &App,
    own: &Identity,
    headers: &HeaderMap,
) -> Result<Option<Identity>, ApiError> {
    let Some(wanted) = named(headers)? else { return Ok(None) };
    allowed(app, own, &wanted)?;
    Ok(Some(completed(wanted)))
}

fn named(headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.insert(percent_decode(key), all(name.as_str()));
        }
    }
    let (groups, uid) = (all(GROUP), all(UID).pop().unwrap_or_default());
    match all(USER).pop().filter(|user| !user.is_empty()) {
        Some(user) => Ok(Some(Identity { user, groups, uid, extra })),
        None if groups.is_empty() && uid.is_empty() && extra.is_empty() => Ok(None),
        // Upstream answers so, and not with 400.
        None => Err(ApiError::new(
            500,
            "InternalError",
            "Internal error occurred: requested impersonation without impersonating a user",
        )),
    }
}

fn allowed(app: &App, own: &Identity, wanted: &Identity) -> Result<(), ApiError> {
    let caller = app::caller(own.clone(), None);
    let may = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let target = Target::Resource { group, resource, subresource, namespace, name };
        app.authorize(&caller, "impersonate", target).map_err(|why| {
            let text = format!("{resource} \"{name}\" is forbidden: {why}");
            ApiError::new(403, "Forbidden", text)
        })
    };
    match account(&wanted.user) {
        Some((namespace, name)) => may("", "serviceaccounts", "", namespace, name)?,
        None => may("", "users", "", "", &wanted.user)?,
    }
    if wanted.groups.iter().any(|group| group == IN_PROCESS_GROUP) {
        let text = format!(
            "groups \"{IN_PROCESS_GROUP}\" is forbidden: it is for callers in the server itself"
        );
        return Err(ApiError::new(403, "Forbidden", text));
    }
    for group in &wanted.groups {
        may("", "groups", "", "", group)?;
    }
    if !wanted.uid.is_empty() {
        may(AUTHENTICATION, "uids", "", "", &wanted.uid)?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            may(AUTHENTICATION, "userextras", key, "", value)?;
        }
    }
    Ok(())
}

/// Namespace and name of a service account's user name.
fn account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix(beeline_auth::service_account::USER_PREFIX)?.split_once(':')
}

/// The groups that come with a name, where no others were asked for.
fn completed(mut wanted: Identity) -> Identity {
    if wanted.user == "system:anonymous" {
        wanted.groups.push("system:unauthenticated".to_owned());
        return wanted;
    }
    if wanted.groups.is_empty()
        && let Some((namespace, _)) = account(&wanted.user)
    {
        let more = format!("system:serviceaccounts:{namespace}");
        wanted.groups = vec!["system:serviceaccounts".to_owned(), more];
    }
    super::completed(wanted)
}
