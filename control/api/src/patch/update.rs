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
    let mut managers = Managers::of(new);
    if managers.0.is_empty() && !old.is_null() {
        return;
    }
    let mut compared = compare(old, new, schema);
    for set in [&mut compared.added, &mut compared.modified, &mut compared.removed] {
        strip(set, by.subresource, has_status);
    }
    let written = compared.written();
    let own = managers.take(Operation::Update, by);
    managers.lose(&written);
    managers.lose(&compared.removed);
    let before = own.as_ref().map(|own| own.fields.clone()).unwrap_or_default();
    let mut fields = before.clone();
    fields.subtract(&compared.removed);
    fields.unite(&written);
    match own {
        Some(own) if fields == before => managers.0.push(own),
        _ => managers.0.push(Entry::new(Operation::Update, by, fields)),
    }
    managers.put(new);
}
