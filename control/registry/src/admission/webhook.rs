//! One admission webhook: when it wants to be asked, the call, and what its answer means.
//!
//! In: a stored webhook, parsed once; then writes. Out: a patch, nothing, or a refusal in upstream's words.
//! Refuses: deciding in which order webhooks are asked.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::kinds::CONDITION_VARIABLES;
use beeline_api::meta::{list, text};
use beeline_api::status::{Cause, Details};
use beeline_api::{ApiError, KindInfo};
use serde_json::Value;

use super::conditions::{self, Conditions};
use super::matching::Matcher;
use super::request::{Request, review};
use crate::options::Warnings;
use crate::registry::Registry;
use crate::webhooks;

/// Which of the two kinds it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Mutating,
    Validating,
}

/// A webhook of a configuration.
#[derive(Debug)]
pub(crate) struct Webhook {
    name: String,
    pub(crate) sort: Sort,
    pub(crate) matcher: Matcher,
    conditions: Conditions,
    client: Value,
    /// What it is asked about goes on if it cannot be asked.
    ignored: bool,
    timeout: Duration,
    /// Of the reviews that it understands.
    version: &'static str,
    /// Wants to see what others changed after it.
    pub(crate) reinvoked: bool,
}

/// An answer that allows.
struct Answer {
    patch: Option<Value>,
    warnings: Vec<String>,
    refusal: Option<ApiError>,
}

impl Webhook {
    pub(crate) fn parse(webhook: &Value, sort: Sort) -> Self {
        let versions = list(webhook, "admissionReviewVersions").iter().filter_map(Value::as_str);
        let known = |version| ["v1", "v1beta1"].into_iter().find(|known| *known == version);
        Self {
            name: text(webhook, "name").to_owned(),
            sort,
            matcher: Matcher::of_webhook(webhook),
            conditions: Conditions::parse(webhook, &CONDITION_VARIABLES),
            client: webhook["clientConfig"].clone(),
            ignored: webhook["failurePolicy"] == "Ignore",
            timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10)),
            version: { versions }.find_map(known).unwrap_or("v1"),
            reinvoked: webhook["reinvocationPolicy"] == "IfNeeded",
        }
    }

    /// Whether its conditions hold for these objects.
    pub(crate) fn cares(
        &self,
        request: &Request<'_>,
        kind: &KindInfo,
        objects: (Option<&Value>, Option<&Value>),
    ) -> Result<bool, ApiError> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        match self.conditions.hold(&conditions::scope(request, kind, objects)) {
            Ok(hold) => Ok(hold),
            Err(why) if self.ignored => {
                tracing::warn!(webhook = self.name, "not asked: match conditions: {why}");
                Ok(false)
            }
            Err(why) => Err(ApiError::forbidden(request.resource, request.name, &why)),
        }
    }

    /// Asks it; the patch that it wants.
    pub(crate) async fn ask(
        &self,
        registry: &Registry,
        request: &Request<'_>,
        kind: &KindInfo,
        objects: (Option<&Value>, Option<&Value>),
        warnings: &Warnings,
    ) -> Result<Option<Value>, ApiError> {
        let uid = uuid::Uuid::new_v4().to_string();
        let body = review(request, kind, objects, (&uid, self.version));
        let answer = match self.call(registry, &body).await {
            Ok(answer) => self.read(&answer, &uid),
            Err(why) => Err(format!("failed to call webhook: {why}")),
        };
        match answer {
            Ok(answer) => {
                answer.warnings.into_iter().for_each(|warning| warnings.push(warning));
                answer.refusal.map_or(Ok(answer.patch), Err)
            }
            Err(why) if self.ignored => {
                tracing::warn!(webhook = self.name, "failed, and is ignored: {why}");
                Ok(None)
            }
            Err(why) => Err(ApiError::internal(self.failed(&why))),
        }
    }

    /// A failure of it in upstream's words.
    pub(crate) fn failed(&self, why: &str) -> String {
        format!("failed calling webhook {:?}: {why}", self.name)
    }

    /// It wants to change what cannot be changed.
    pub(crate) fn may_not_modify(&self) -> ApiError {
        ApiError::internal(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            self.name
        ))
    }

    async fn call(&self, registry: &Registry, body: &Value) -> Result<Vec<u8>, String> {
        let Some(caller) = &registry.inner.options.webhooks else {
            return Err("no webhooks are called here".to_owned());
        };
        let mut endpoint = webhooks::endpoint(registry, &self.client, self.timeout)?;
        let and = if endpoint.path.contains('?') { '&' } else { '?' };
        endpoint.path = format!("{}{and}timeout={}s", endpoint.path, self.timeout.as_secs());
        caller.call(&endpoint, body.to_string().into_bytes()).await
    }

    fn read(&self, answer: &[u8], uid: &str) -> Result<Answer, String> {
        let invalid = |why: String| format!("received invalid webhook response: {why}");
        let review: Value = serde_json::from_slice(answer).map_err(|e| invalid(e.to_string()))?;
        let response = &review["response"];
        self.verify(&review, uid).map_err(invalid)?;
        let warnings = list(response, "warnings").iter().filter_map(Value::as_str);
        let warnings = warnings.map(str::to_owned).collect();
        if response["allowed"] != true {
            let refusal = Some(refusal(&self.name, &response["status"]));
            return Ok(Answer { patch: None, warnings, refusal });
        }
        let patch = match text(response, "patch") {
            "" => None,
            encoded => {
                let bytes = STANDARD.decode(encoded).map_err(|e| invalid(e.to_string()))?;
                Some(serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?)
            }
        };
        Ok(Answer { patch, warnings, refusal: None })
    }

    /// What has to be right about an answer before it is read.
    fn verify(&self, review: &Value, uid: &str) -> Result<(), String> {
        let response = &review["response"];
        if !response.is_object() {
            return Err("webhook response was absent".to_owned());
        }
        let (patch, sort) = (!text(response, "patch").is_empty(), &response["patchType"]);
        if self.version == "v1" {
            let said = text(response, "uid");
            if said != uid {
                return Err(format!("expected response.uid={uid:?}, got {said:?}"));
            }
            let (version, kind) = (text(review, "apiVersion"), text(review, "kind"));
            if (version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
                return Err(format!(
                    "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {version}, Kind={kind}"
                ));
            }
            match self.sort {
                Sort::Validating if patch => {
                    return Err("validating webhook may not return response.patch".to_owned());
                }
                Sort::Validating if !sort.is_null() => {
                    return Err("validating webhook may not return response.patchType".to_owned());
                }
                Sort::Mutating if patch && sort.is_null() => {
                    let why = "webhook returned response.patch but not response.patchType";
                    return Err(why.to_owned());
                }
                Sort::Mutating if !patch && !sort.is_null() => {
                    let why = "webhook returned response.patchType but not response.patch";
                    return Err(why.to_owned());
                }
                Sort::Mutating | Sort::Validating => {}
            }
        }
        if patch && !sort.is_null() && *sort != "JSONPatch" {
            let sort = sort.as_str().unwrap_or_default();
            return Err(format!("webhook returned invalid response.patchType of {sort:?}"));
        }
        Ok(())
    }
}

/// A refusal: the webhook's own code, reason and details, and its words after upstream's.
fn refusal(name: &str, status: &Value) -> ApiError {
    let denied = format!("admission webhook {name:?} denied the request");
    let (message, reason) = (text(status, "message"), text(status, "reason"));
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let mut refusal = ApiError::new(code, reason.to_owned(), message);
    refusal.details = details(&status["details"]);
    refusal
}

fn details(of: &Value) -> Option<Box<Details>> {
    let own = |of: &Value, field: &str| text(of, field).to_owned();
    let causes = list(of, "causes").iter().map(|cause| Cause {
        reason: Cow::Owned(own(cause, "reason")),
        message: own(cause, "message"),
        field: own(cause, "field"),
    });
    of.is_object().then(|| {
        Box::new(Details {
            name: own(of, "name"),
            group: own(of, "group"),
            kind: own(of, "kind"),
            uid: own(of, "uid"),
            causes: causes.collect(),
            retry_after_seconds: of["retryAfterSeconds"]
                .as_u64()
                .and_then(|seconds| u32::try_from(seconds).ok())
                .unwrap_or(0),
        })
    })
}

#[cfg(test)]
mod tests;
