//! Resource quantities: `100m`, `1.5Gi`, `2e3`; compared and stored in canonical form.
//!
//! In: text. Out: an exact number of milli-units, or canonical text. Sub-milli amounts round up.

use serde_json::{Map, Value};

/// Which suffixes a quantity was written with; kept in canonical form as upstream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// A parsed quantity.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    milli: i128,
    form: Form,
}

/// What upstream says of text that is no quantity.
pub const PATTERN: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, u32); 6] = [("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

impl Quantity {
    /// Parses; None if it is no quantity.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (negative, digits) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |s: &str| s.bytes().all(|c| c.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty())
            || !plain(whole)
            || !plain(fraction)
            || fraction.len() > 18
        {
            return None;
        }
        let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()?;
        let (milli, form) = apply_suffix(mantissa, scale, suffix)?;
        Some(Self { milli: if negative { -milli } else { milli }, form })
    }

    /// The sum, written as the first of the two is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { milli: self.milli.saturating_add(other.milli), form: self.form }
    }

    /// The difference, written as the first of the two is.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { milli: self.milli.saturating_sub(other.milli), form: self.form }
    }

    /// So many units.
    pub fn whole(n: i64) -> Self {
        Self { milli: i128::from(n) * 1000, form: Form::Decimal }
    }

    /// In thousandths of a unit, clamped to what fits.
    pub fn milli(&self) -> i64 {
        i64::try_from(self.milli).unwrap_or(if self.milli > 0 { i64::MAX } else { i64::MIN })
    }

    /// In whole units, rounded up.
    pub fn value(&self) -> i64 {
        let up = self.milli.div_euclid(1000) + i128::from(self.milli.rem_euclid(1000) != 0);
        i64::try_from(up).unwrap_or(i64::MAX)
    }

    /// Canonical text: the largest suffix that keeps it whole.
    pub fn canonical(&self) -> String {
        if self.milli == 0 {
            return "0".to_owned();
        }
        if self.form == Form::Binary && self.milli % 1000 == 0 && (self.milli / 1000).abs() >= 1024
        {
            let units = self.milli / 1000;
            let best = BINARY.iter().rev().find(|(_, shift)| units % (1_i128 << shift) == 0);
            return best
                .map_or_else(|| units.to_string(), |(s, shift)| format!("{}{s}", units >> shift));
        }
        if self.milli % 1000 != 0 {
            return format!("{}m", self.milli);
        }
        let units = self.milli / 1000;
        let best = DECIMAL.iter().rev().find(|(_, power)| units % 10_i128.pow(*power) == 0);
        match (best, self.form) {
            (None, _) => units.to_string(),
            (Some((_, power)), Form::Exponent) => {
                format!("{}e{power}", units / 10_i128.pow(*power))
            }
            (Some((s, power)), _) if self.form == Form::Decimal => {
                format!("{}{s}", units / 10_i128.pow(*power))
            }
            _ => units.to_string(),
        }
    }
}

fn apply_suffix(mantissa: i128, scale: i32, suffix: &str) -> Option<(i128, Form)> {
    if let Some((_, shift)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        let product = mantissa.checked_mul(1_i128 << shift)?.checked_mul(1000)?;
        return Some((
            divide_up(product, 10_i128.checked_pow(u32::try_from(scale).ok()?)?),
            Form::Binary,
        ));
    }
    let (power, form) = match suffix {
        "" => (0, Form::Decimal),
        "n" => (-9, Form::Decimal),
        "u" => (-6, Form::Decimal),
        "m" => (-3, Form::Decimal),
        other => match DECIMAL.iter().find(|(s, _)| *s == other) {
            Some((_, power)) => (i32::try_from(*power).ok()?, Form::Decimal),
            None => (other.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?, Form::Exponent),
        },
    };
    let exponent = power.checked_add(3)?.checked_sub(scale)?;
    let factor = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let milli =
        if exponent >= 0 { mantissa.checked_mul(factor)? } else { divide_up(mantissa, factor) };
    Some((milli, form))
}

fn divide_up(a: i128, b: i128) -> i128 {
    a.div_euclid(b) + i128::from(a.rem_euclid(b) != 0)
}

impl Default for Quantity {
    fn default() -> Self {
        Self::whole(0)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.milli.cmp(&other.milli)
    }
}

/// The quantity in a JSON value, text or number.
pub fn of(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(s) => Quantity::parse(s),
        Value::Number(n) => Quantity::parse(&n.to_string()),
        _ => None,
    }
}

/// Rewrites every value of a resource list in canonical form; what is no quantity stays for validation to refuse.
pub fn canonicalize(list: &mut Map<String, Value>) {
    for value in list.values_mut() {
        if let Some(q) = of(value) {
            *value = Value::String(q.canonical());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn canonical_forms() {
        let cases = [
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("100m", "100m"),
            ("0", "0"),
            ("1500", "1500"),
            ("2000", "2k"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
            ("0.0001", "1m"),
            ("1n", "1m"),
            ("512", "512"),
            ("0.5Gi", "512Mi"),
            ("-1", "-1"),
            ("1000Ki", "1000Ki"),
            ("0Mi", "0"),
        ];
        for (from, to) in cases {
            assert_eq!(Quantity::parse(from).map(|q| q.canonical()), Some(to.to_owned()), "{from}");
        }
        for bad in ["", "m", "1x", "1..2", "--1", "1 Gi", "Gi", "1e"] {
            assert!(Quantity::parse(bad).is_none(), "{bad}");
        }
        assert!(Quantity::parse("1Gi") > Quantity::parse("1G"));
        assert_eq!(Quantity::parse("1.5").map(|q| (q.milli(), q.value())), Some((1500, 2)));
    }
}
