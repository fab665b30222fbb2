//! Quantities in expressions, as Kubernetes' CEL library has them: `quantity('1Gi').isLessThan(quantity('2Gi'))`.
//!
//! In: a context. Out: the context with their functions.

use std::cmp::Ordering;
use std::sync::Arc;

use cel::extractors::This;
use cel::objects::Opaque;
use cel::{Context, ExecutionError, Value};

use crate::quantity::Quantity;

type Object = Arc<dyn Opaque>;
type Made<T> = Result<T, ExecutionError>;

#[derive(Debug, PartialEq, Eq)]
struct Amount(Quantity);

impl Opaque for Amount {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.Quantity"
    }
}

/// Adds them.
pub(super) fn add(context: &mut Context<'_, '_>) {
    let _ = context.add_function("quantity", |text: Arc<String>| {
        let why = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        let parsed = Quantity::parse(&text);
        parsed.map(made).ok_or_else(|| ExecutionError::function_error("quantity", why))
    });
    let _ = context.add_function("isLessThan", |This(a): This<Object>, b: Object| {
        compare(&a, &b).map(|order| order == Ordering::Less)
    });
    let _ = context.add_function("isGreaterThan", |This(a): This<Object>, b: Object| {
        compare(&a, &b).map(|order| order == Ordering::Greater)
    });
    let _ = context.add_function("compareTo", |This(a): This<Object>, b: Object| {
        compare(&a, &b).map(|order| order as i64)
    });
    let _ = context.add_function("add", |This(a): This<Object>, b: Value| {
        Ok::<_, ExecutionError>(made(of(&a)?.plus(whole_or(b)?)))
    });
    let _ = context.add_function("sub", |This(a): This<Object>, b: Value| {
        Ok::<_, ExecutionError>(made(of(&a)?.minus(whole_or(b)?)))
    });
    let _ =
        context.add_function("sign", |This(a): This<Object>| of(&a).map(|q| q.milli().signum()));
    let _ = context
        .add_function("isInteger", |This(a): This<Object>| of(&a).map(|q| q.milli() % 1000 == 0));
    let _ = context.add_function("asInteger", |This(a): This<Object>| match of(&a)? {
        q if q.milli() % 1000 == 0 => Ok(q.value()),
        _ => Err(ExecutionError::function_error("asInteger", "cannot convert value to integer")),
    });
    #[expect(clippy::cast_precision_loss, reason = "approximate, as its name says")]
    let float = |This(a): This<Object>| of(&a).map(|q| q.milli() as f64 / 1000.0);
    let _ = context.add_function("asApproximateFloat", float);
}

fn made(quantity: Quantity) -> Object {
    Arc::new(Amount(quantity))
}

fn of(object: &Object) -> Made<Quantity> {
    let found = object.downcast_ref::<Amount>().map(|amount| amount.0);
    found.ok_or_else(|| ExecutionError::unsupported_target_type(Value::Opaque(Arc::clone(object))))
}

/// A quantity, or so many units.
fn whole_or(value: Value) -> Made<Quantity> {
    match value {
        Value::Opaque(object) => of(&object),
        Value::Int(n) => Ok(Quantity::whole(n)),
        other => Err(ExecutionError::unsupported_target_type(other)),
    }
}

fn compare(a: &Object, b: &Object) -> Made<Ordering> {
    Ok(of(a)?.cmp(&of(b)?))
}
