//! Schedules of CronJobs: five fields, or one of the words with `@`.
//!
//! In: text. Out: what is wrong with it, in the words of the parser that upstream uses (robfig/cron). When a schedule is
//! due is not decided here.

/// The fields in order: least, greatest, names.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const WORDS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with a schedule.
pub fn problem(text: &str) -> Option<String> {
    if text.starts_with('@') {
        let every = text.strip_prefix("@every ").is_some_and(|d| !d.is_empty());
        return (!every && !WORDS.contains(&text))
            .then(|| format!("unrecognized descriptor: {text}"));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let found = fields.len();
        return Some(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" ")));
    }
    fields.iter().zip(FIELDS).find_map(|(field, (least, greatest, names))| {
        field.split(',').find_map(|part| range(part, least, greatest, names).err())
    })
}

/// `*`, `a`, `a-b`, each with `/step`.
fn range(text: &str, least: u32, greatest: u32, names: &[&str]) -> Result<(), String> {
    let (span, step) = match text.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (text, None),
    };
    let mut last = greatest;
    let mut first = least;
    if !matches!(span, "*" | "?") {
        let (low, high) = span.split_once('-').unwrap_or((span, span));
        first = number(low, least, names)?;
        last = number(high, least, names)?;
        if step.is_some() && !span.contains('-') {
            last = greatest;
        }
    }
    if step.is_some_and(|s| s.contains('/')) {
        return Err(format!("too many slashes: {text}"));
    }
    let step = step.map(|s| number(s, 0, &[])).transpose()?.unwrap_or(1);
    if first < least {
        return Err(format!("beginning of range ({first}) below minimum ({least}): {text}"));
    }
    if last > greatest {
        return Err(format!("end of range ({last}) above maximum ({greatest}): {text}"));
    }
    if first > last {
        return Err(format!("beginning of range ({first}) beyond end of range ({last}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number(text: &str, least: u32, names: &[&str]) -> Result<u32, String> {
    if let Some(at) = names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
        return Ok(least + u32::try_from(at).unwrap_or_default());
    }
    text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax")
    })
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn schedules() {
        for good in ["* * * * *", "*/5 0-6,12 1 jan-mar MON", "@hourly", "@every 1h", "0 0 ? * 0"] {
            assert_eq!(problem(good), None, "{good}");
        }
        let bad = [
            ("x", "expected exactly 5 fields, found 1: [x]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@often", "unrecognized descriptor: @often"),
        ];
        for (text, words) in bad {
            assert_eq!(problem(text).as_deref(), Some(words));
        }
    }
}
