//! Query parameters into the registry's options.
//!
//! In: a query string, and for deletions a body. Out: options, or a 400 that names the parameter. Pure.

use std::time::Duration;

use beeline_api::selectors::{FieldSelector, LabelSelector};
use beeline_api::status::Cause;
use beeline_api::{ApiError, KindInfo};
use beeline_registry::{
    DeleteOptions, FieldValidation, ListOptions, Preconditions, Propagation, VersionMatch,
    WatchOptions, WriteOptions,
};
use serde_json::Value;

/// Field managers longer than this are refused, as upstream does.
const FIELD_MANAGER_CHARS_MAX: usize = 128;

/// Decoded parameters in their order; unknown ones are ignored by never being asked for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |s: &str| percent_decode(&s.replace('+', " "));
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| (decode(key), decode(value)))
            .collect();
        Self { pairs }
    }

    /// The first non-empty value.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// Whether the parameter is there, with or without a value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(k, _)| k == key)
    }

    /// `true`, `1`, or there without a value.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.pairs
            .iter()
            .any(|(k, v)| k == key && !matches!(v.as_str(), "0" | "false" | "False" | "f" | "F"))
    }

    pub(crate) fn number<N: std::str::FromStr>(&self, key: &str) -> Result<Option<N>, ApiError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                ApiError::bad_request(format!("invalid value {text:?} for parameter {key}"))
            })
        };
        self.get(key).map(parse).transpose()
    }

    fn labels(&self) -> Result<LabelSelector, ApiError> {
        LabelSelector::parse(self.get("labelSelector").unwrap_or_default())
    }

    fn fields(&self, kind: &KindInfo) -> Result<FieldSelector, ApiError> {
        FieldSelector::parse(self.get("fieldSelector").unwrap_or_default(), kind)
    }

    fn version_match(&self) -> Result<Option<VersionMatch>, ApiError> {
        match self.get("resourceVersionMatch") {
            None => Ok(None),
            Some("NotOlderThan") => Ok(Some(VersionMatch::NotOlderThan)),
            Some("Exact") => Ok(Some(VersionMatch::Exact)),
            Some(other) => Err(invalid_option(
                "ListOptions",
                "resourceVersionMatch",
                other,
                &["Exact", "NotOlderThan"],
            )),
        }
    }

    fn dry_run(&self) -> Result<bool, ApiError> {
        dry_run(self.pairs.iter().filter(|(k, _)| k == "dryRun").map(|(_, v)| v.as_str()))
    }

    /// `?timeout=` of a request that is no stream, at most `most`.
    pub(crate) fn timeout(&self, most: Duration) -> Duration {
        self.get("timeout")
            .and_then(go_duration)
            .filter(|t| !t.is_zero())
            .map_or(most, |t| t.min(most))
    }

    pub(crate) fn list(&self, kind: &KindInfo) -> Result<ListOptions, ApiError> {
        if self.has("sendInitialEvents") {
            let text = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list";
            let cause = Cause {
                reason: "FieldValueForbidden".into(),
                message: "Forbidden: sendInitialEvents is forbidden for list".to_owned(),
                field: "sendInitialEvents".to_owned(),
            };
            return Err(ApiError::new(422, "Invalid", text).with_causes(vec![cause]));
        }
        Ok(ListOptions {
            labels: self.labels()?,
            fields: self.fields(kind)?,
            limit: self.number("limit")?.unwrap_or(0),
            continue_token: self.get("continue").map(str::to_owned),
            resource_version: self.get("resourceVersion").map(str::to_owned),
            version_match: self.version_match()?,
        })
    }

    pub(crate) fn watch(&self, kind: &KindInfo) -> Result<WatchOptions, ApiError> {
        Ok(WatchOptions {
            labels: self.labels()?,
            fields: self.fields(kind)?,
            resource_version: self.get("resourceVersion").map(str::to_owned),
            version_match: self.version_match()?,
            bookmarks: self.flag("allowWatchBookmarks"),
            send_initial_events: self
                .get("sendInitialEvents")
                .map(|_| self.flag("sendInitialEvents")),
            timeout: self.number("timeoutSeconds")?.filter(|s| *s > 0).map(Duration::from_secs),
        })
    }

    pub(crate) fn write(&self) -> Result<WriteOptions, ApiError> {
        let field_validation = match self.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                return Err(invalid_option(
                    "CreateOptions",
                    "fieldValidation",
                    other,
                    &["Ignore", "Strict", "Warn"],
                ));
            }
        };
        let field_manager = self.get("fieldManager").map(str::to_owned);
        if field_manager.as_ref().is_some_and(|m| m.chars().count() > FIELD_MANAGER_CHARS_MAX) {
            return Err(ApiError::bad_request(
                "fieldManager: Too long: may not be more than 128 characters",
            ));
        }
        Ok(WriteOptions {
            dry_run: self.dry_run()?,
            field_manager,
            field_validation,
            force: self.flag("force"),
            ..WriteOptions::default()
        })
    }

    /// Deletion options; a body wins over parameters.
    pub(crate) fn delete(&self, body: Option<&Value>) -> Result<DeleteOptions, ApiError> {
        let mut options = DeleteOptions {
            dry_run: self.dry_run()?,
            grace_period_seconds: self.number("gracePeriodSeconds")?,
            propagation: self.get("propagationPolicy").map(propagation).transpose()?,
            ..DeleteOptions::default()
        };
        if self.has("orphanDependents") && options.propagation.is_none() {
            options.propagation = Some(orphan(self.flag("orphanDependents")));
        }
        let Some(body) = body else { return Ok(options) };
        if let Some(all) = body["dryRun"].as_array() {
            options.dry_run |= dry_run(all.iter().filter_map(Value::as_str))?;
        }
        if let Some(seconds) = body["gracePeriodSeconds"].as_i64() {
            options.grace_period_seconds = Some(seconds);
        }
        if let Some(policy) = body["propagationPolicy"].as_str() {
            options.propagation = Some(propagation(policy)?);
        } else if let Some(flag) = body["orphanDependents"].as_bool() {
            options.propagation = Some(orphan(flag));
        }
        let text = |field: &str| body["preconditions"][field].as_str().map(str::to_owned);
        options.preconditions =
            Preconditions { uid: text("uid"), resource_version: text("resourceVersion") };
        Ok(options)
    }
}

fn dry_run<'a>(mut values: impl Iterator<Item = &'a str>) -> Result<bool, ApiError> {
    values.try_fold(false, |_, value| match value {
        "All" => Ok(true),
        other => Err(invalid_option("CreateOptions", "dryRun", other, &["All"])),
    })
}

fn propagation(text: &str) -> Result<Propagation, ApiError> {
    match text {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            Err(invalid_option("DeleteOptions", "propagationPolicy", other, &known))
        }
    }
}

fn orphan(flag: bool) -> Propagation {
    if flag { Propagation::Orphan } else { Propagation::Background }
}

fn invalid_option(options: &str, field: &str, value: &str, supported: &[&str]) -> ApiError {
    let known: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
    let message = format!("Unsupported value: {value:?}: supported values: {}", known.join(", "));
    let text = format!("{options}.meta.k8s.io \"\" is invalid: {field}: {message}");
    let cause = Cause { reason: "FieldValueNotSupported".into(), message, field: field.to_owned() };
    ApiError::new(422, "Invalid", text).with_causes(vec![cause])
}

/// `1m30s`, `500ms`, `32s`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let (unit, length) = match after {
            a if a.starts_with("ms") => (0.001, 2),
            a if a.starts_with("us") => (0.000_001, 2),
            a if a.starts_with('h') => (3600.0, 1),
            a if a.starts_with('m') => (60.0, 1),
            a if a.starts_with('s') => (1.0, 1),
            _ => return None,
        };
        total += Duration::try_from_secs_f64(amount * unit).ok()?;
        rest = &after[length..];
    }
    Some(total)
}

/// Resolves `%41`; malformed escapes stay as they are.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_decode() {
        let query =
            Query::parse("labelSelector=a%3Db%2Cc&watch=1&limit=500&dryRun=All&x=&force=false");
        assert_eq!(query.get("labelSelector"), Some("a=b,c"));
        assert!(query.flag("watch") && !query.flag("force"));
        assert_eq!(query.number("limit"), Ok(Some(500)));
        assert!(query.write().unwrap().dry_run);
        assert_eq!(Query::parse("limit=x").number::<u64>("limit").unwrap_err().code, 400);
        assert_eq!(Query::parse("fieldValidation=Maybe").write().unwrap_err().code, 422);
    }

    #[test]
    fn deletion_options_from_both_places() {
        let query = Query::parse("gracePeriodSeconds=3&propagationPolicy=Orphan");
        assert_eq!(query.delete(None).unwrap().grace_period_seconds, Some(3));
        let body = json!({"propagationPolicy": "Background", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}});
        let options = query.delete(Some(&body)).unwrap();
        assert_eq!(options.propagation, Some(Propagation::Background));
        assert_eq!(options.grace_period_seconds, Some(0));
        assert_eq!(options.preconditions.uid.as_deref(), Some("u"));
    }

    #[test]
    fn durations() {
        assert_eq!(go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(go_duration("5"), None);
        assert_eq!(
            Query::parse("timeout=10h").timeout(Duration::from_secs(60)),
            Duration::from_secs(60)
        );
    }
}
