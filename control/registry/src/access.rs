//! The question asked before every request, put to `beeline_auth`.

use beeline_api::ApiError;
use beeline_api::selectors::FieldSelector;
use beeline_auth::{Attributes, Authorizer, Target as Wanted};

use crate::options::{Caller, Target};

/// The same of a list or a watch. One of a single name is judged as if it named that object.
pub(crate) fn check_all(
    by: &dyn Authorizer,
    caller: &Caller,
    verb: &str,
    target: &Target,
    fields: &FieldSelector,
) -> Result<(), ApiError> {
    match fields.single_name() {
        Some(name) => {
            let named = Target { name: Some(name.to_owned()), ..target.clone() };
            check(by, caller, verb, &named)
        }
        None => check(by, caller, verb, target),
    }
}

/// Asks, and turns a refusal into upstream's 403.
pub(crate) fn check(
    by: &dyn Authorizer,
    caller: &Caller,
    verb: &str,
    target: &Target,
) -> Result<(), ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let wanted = Attributes {
        verb,
        target: Wanted::Resource {
            group: target.kind.group,
            resource: target.kind.plural,
            subresource: target.subresource.map_or("", |s| s.name()),
            namespace: target.namespace.as_deref().unwrap_or_default(),
            name,
        },
    };
    if by.allows(&caller.user, &caller.groups, &wanted) {
        return Ok(());
    }
    Err(ApiError::forbidden(target.kind, name, &wanted.denial(&caller.user)))
}
