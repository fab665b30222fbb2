//! Ownership by writes that are no apply: who changes a field owns it, and nobody else does any more.
//!
//! In: an object before and after. Out: its `managedFields`. Such writes never conflict.

use serde_json::Value;

use super::compare::compare;
use super::managers::{Entry, Managers, Operation, Writer, strip};
use super::schema::Schema;

/// Records who made `new`, whose managers are those of `old`, out of `old` (null: it is new).
///
/// An object that nobody owns anything of stays so: it was made without, or its managers were cleared.
pub fn track(old: &Value, new: &mut Value, schema: Schema, has_status: bool, by: Writer<'_>) {
    let owned = new["metadata"]["managedFields"].as_array().is_some_and(|all| !all.is_empty());
    if !owned && !old.is_null() {
        return;
    }
    let mut compared = compare(old, new, schema);
    for set in [&mut compared.added, &mut compared.modified, &mut compared.removed] {
        strip(set, by.subresource, has_status);
    }
    if compared.is_empty() {
        return;
    }
    let mut managers = Managers::of(new);
    let (written, removed) = compared.written_and_removed();
    let own = managers.take(Operation::Update, by);
    managers.lose(&written);
    managers.lose(&removed);
    let mut fields = own.as_ref().map(|own| own.fields.clone()).unwrap_or_default();
    fields.subtract(&removed);
    fields.unite(&written);
    match own {
        Some(own) if own.fields == fields => managers.0.push(own),
        _ => managers.0.push(Entry::new(Operation::Update, by, fields)),
    }
    managers.put(new);
}
