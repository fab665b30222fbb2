//! Who owns the fields of what is written: `metadata.managedFields` of every write.
//!
//! In: an object before and after, and who writes. Out: the object with its managers. What admission fills in later and what
//! the server allocates belongs to nobody, as upstream has it.

use beeline_api::patch::{self, Writer};
use beeline_api::{ApiError, time};
use serde_json::Value;

use crate::options::{Caller, Ownership, Subresource, Target, WriteOptions};
use crate::registry::Registry;

/// Records who made `new` out of `old` (null: it is new).
pub(crate) fn track(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    (old, new): (&Value, &mut Value),
    o: &WriteOptions,
) {
    let subresource = match (o.ownership, target.subresource) {
        // Upstream's bindings are no updates either.
        (Ownership::Applied, _) | (_, Some(Subresource::Binding)) => return,
        (Ownership::Scaled, _) => Subresource::Scale.name(),
        (Ownership::Written, part) => part.map_or("", Subresource::name),
    };
    let kind = target.kind;
    let (api_version, time) = (kind.api_version(), time::format(registry.now()));
    let (api_version, time, manager) = (&*api_version, &*time, manager(caller, o));
    let by = Writer { manager, api_version, subresource, time };
    patch::track(old, new, kind.schema(), kind.status_subresource, by);
}

/// Merges what is applied into `live` (null: there is none), with its managers.
pub(crate) fn apply(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    (live, config): (&Value, &Value),
    o: &WriteOptions,
) -> Result<Value, ApiError> {
    let kind = target.kind;
    let (api_version, time) = (kind.api_version(), time::format(registry.now()));
    let (api_version, time, manager) = (&*api_version, &*time, manager(caller, o));
    let subresource = target.subresource.map_or("", Subresource::name);
    let by = Writer { manager, api_version, subresource, time };
    patch::apply(live, config, kind.schema(), kind.status_subresource, by, o.force)
}

/// The one that a write names, else what the client calls itself.
fn manager<'a>(caller: &'a Caller, o: &'a WriteOptions) -> &'a str {
    let named = o.field_manager.as_deref().filter(|manager| !manager.is_empty());
    named.unwrap_or(&caller.manager)
}
