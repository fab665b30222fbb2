//! A number or a percentage, as `maxSurge` and `maxUnavailable` take it.

use serde_json::Value;

/// Which way a percentage of a whole is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// To the next whole number.
    Up,
    /// To the one before.
    Down,
}

/// Scales `value` (`3`, `"25%"`) to `total`. None if it is neither.
pub fn scaled(value: &Value, total: i64, round: Round) -> Option<i64> {
    if let Some(n) = value.as_i64() {
        return Some(n);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let product = percent.checked_mul(total)?;
    Some(match round {
        Round::Up => product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0),
        Round::Down => product.div_euclid(100),
    })
}

/// What is wrong with it, in upstream's words.
pub fn problem(value: &Value) -> Option<&'static str> {
    match value {
        Value::Number(n) if n.as_i64().is_some_and(|n| n < 0) => {
            Some("must be greater than or equal to 0")
        }
        Value::String(s) => {
            let percent = s
                .strip_suffix('%')
                .filter(|d| !d.is_empty() && d.bytes().all(|c| c.is_ascii_digit()));
            percent.is_none().then_some("a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Round, scaled};
    use serde_json::json;

    #[test]
    fn percentages_round_as_asked() {
        assert_eq!(scaled(&json!("25%"), 3, Round::Up), Some(1));
        assert_eq!(scaled(&json!("25%"), 3, Round::Down), Some(0));
        assert_eq!(scaled(&json!(2), 3, Round::Down), Some(2));
        assert_eq!(scaled(&json!("x"), 3, Round::Down), None);
    }
}
