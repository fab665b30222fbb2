//! Functions of Kubernetes' CEL libraries that crate `cel` does not have (KEP 2876, "list" and "regex" libraries).
//!
//! In: a context. Out: the context with them.

use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine as _;
use cel::extractors::This;
use cel::{Context, ExecutionError, Value};
use regex::Regex;

use crate::custom::format;
use crate::quantity::Quantity;

type Made = Result<Value, ExecutionError>;
type List = Arc<Vec<Value>>;
type Text = Arc<String>;

/// Names of types, which are no variables.
pub(crate) fn is_type(name: &str) -> bool {
    matches!(
        name,
        "bool"
            | "int"
            | "uint"
            | "double"
            | "string"
            | "bytes"
            | "list"
            | "map"
            | "type"
            | "null_type"
            | "optional"
            | "optional_type"
            | "math"
            | "strings"
            | "google"
            | "timestamp"
            | "duration"
    )
}

/// Functions that make objects of Kubernetes' own types.
pub(crate) fn is_missing(name: &str) -> bool {
    let makers = ["semver", "isSemver", "url", "ip", "cidr", "format.named", "authorizer"];
    makers.contains(&name)
}

/// Adds them. A name that the crate itself has stays the crate's.
pub(crate) fn add(context: &mut Context<'_, '_>) {
    let _ = context.add_function("isSorted", is_sorted);
    let _ = context.add_function("sum", sum);
    let _ = context.add_function("min", |list: This<List>| least(&list.0, Ordering::Less, "min"));
    let _ =
        context.add_function("max", |list: This<List>| least(&list.0, Ordering::Greater, "max"));
    for (name, format) in
        [("isIP", &["ipv4", "ipv6"][..]), ("isCIDR", &["cidr"]), ("isURL", &["uri"])]
    {
        let fits = move |text: Text| format.iter().any(|f| format::fits(f, &text));
        let _ = context.add_function(name, fits);
    }
    super::quantity::add(context);
    super::authority::add(context);
    let _ = context.add_function("isQuantity", |text: Text| Quantity::parse(&text).is_some());
    let _ = context.add_function("find", |this: This<Text>, pattern: Text| find(&this.0, &pattern));
    let _ = context
        .add_function("findAll", |this: This<Text>, pattern: Text| find_all(&this.0, &pattern));
}

fn is_sorted(This(list): This<List>) -> Made {
    let pairs = list.windows(2);
    Ok(Value::Bool({ pairs }.all(|p| p[0].partial_cmp(&p[1]).is_some_and(Ordering::is_le))))
}

fn sum(This(list): This<List>) -> Made {
    let mut whole: i64 = 0;
    let mut real: Option<f64> = None;
    for item in list.iter() {
        match item {
            Value::Int(n) => {
                whole = whole
                    .checked_add(*n)
                    .ok_or_else(|| ExecutionError::function_error("sum", "integer overflow"))?;
            }
            Value::Float(f) => real = Some(real.unwrap_or_default() + f),
            other => return Err(ExecutionError::unsupported_target_type(other.clone())),
        }
    }
    Ok(real.map_or(Value::Int(whole), Value::Float))
}

fn least(list: &[Value], wanted: Ordering, name: &str) -> Made {
    let mut items = list.iter();
    let empty = || ExecutionError::function_error(name, "called on empty list");
    let first = items.next().ok_or_else(empty)?;
    let found = items.fold(
        first,
        |best, item| {
            if item.partial_cmp(best) == Some(wanted) { item } else { best }
        },
    );
    Ok(found.clone())
}

fn pattern(text: &str) -> Result<Regex, ExecutionError> {
    Regex::new(text).map_err(|e| ExecutionError::function_error("find", e))
}

fn find(text: &str, wanted: &str) -> Made {
    Ok(Value::from(pattern(wanted)?.find(text).map_or("", |found| found.as_str())))
}

fn find_all(text: &str, wanted: &str) -> Made {
    let found: Vec<Value> =
        pattern(wanted)?.find_iter(text).map(|found| Value::from(found.as_str())).collect();
    Ok(Value::List(Arc::new(found)))
}

/// Text of format `byte`.
pub(crate) fn base64(text: &str) -> Value {
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded.map_or_else(|_| Value::from(text), |bytes| Value::Bytes(Arc::new(bytes)))
}
