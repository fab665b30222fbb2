//! The question asked before every request, put to `beeline_auth`.

use beeline_api::ApiError;
use beeline_api::selectors::FieldSelector;
use beeline_auth::{Attributes, Authorizer, Target as Wanted};

use crate::options::{Caller, Target};

/// The same of a list or a watch. One of a single name is judged as if it named that object; one of a single node's objects
/// says so.
pub(crate) fn check_all(
    by: &dyn Authorizer,
    caller: &Caller,
    verb: &str,
    target: &Target,
    fields: &FieldSelector,
) -> Result<(), ApiError> {
    let node = fields.single("spec.nodeName").or_else(|| fields.single("nodeName"));
    let node = node.unwrap_or_default();
    match fields.single_name() {
        Some(name) => {
            let named = Target { name: Some(name.to_owned()), ..target.clone() };
            ask(by, caller, verb, &named, node)
        }
        None => ask(by, caller, verb, target, node),
    }
}

/// Asks, and turns a refusal into upstream's 403.
pub(crate) fn check(
    by: &dyn Authorizer,
    caller: &Caller,
    verb: &str,
    target: &Target,
) -> Result<(), ApiError> {
    ask(by, caller, verb, target, "")
}

fn ask(
    by: &dyn Authorizer,
    caller: &Caller,
    verb: &str,
    target: &Target,
    node_selected: &str,
) -> Result<(), ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let wanted = Wanted::Resource {
        group: target.kind.group,
        resource: target.kind.plural,
        subresource: target.subresource.map_or("", |s| s.name()),
        namespace: target.namespace.as_deref().unwrap_or_default(),
        name,
    };
    let wanted = Attributes { node_selected, ..Attributes::new(verb, wanted) };
    if by.allows(&caller.user, &caller.groups, &wanted) {
        return Ok(());
    }
    let denial = wanted.denial_by(by, &caller.user, &caller.groups);
    Err(ApiError::forbidden(target.kind, name, &denial))
}
