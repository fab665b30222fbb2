//! What one validation of a policy says of a write.
//!
//! In: an expression with its messages, and variables. Out: nothing, or a denial with reason and message. Pure.

use beeline_api::ApiError;
use beeline_api::expression::{Expression, Scope};
use beeline_api::meta::text;
use serde_json::Value;

use super::VARIABLES;
use crate::admission::conditions::Compiled;
use crate::admission::request::Request;

/// Longest message that an expression may make.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// One validation.
#[derive(Debug)]
pub(crate) struct Validation {
    text: String,
    expression: Compiled,
    message: String,
    says: Option<Compiled>,
    reason: String,
}

/// Why a write is not wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) message: String,
    reason: String,
}

impl Validation {
    pub(crate) fn parse(stored: &Value) -> Self {
        let says = text(stored, "messageExpression").trim();
        Self {
            text: text(stored, "expression").trim().to_owned(),
            expression: Expression::compile(text(stored, "expression"), &VARIABLES),
            message: text(stored, "message").trim().to_owned(),
            says: (!says.is_empty()).then(|| Expression::compile(says, &VARIABLES)),
            reason: text(stored, "reason").to_owned(),
        }
    }

    /// Judges; `ignored`: what cannot be evaluated is let through.
    pub(crate) fn judge(&self, scope: &Scope, ignored: bool) -> Option<Denial> {
        let outcome = match &self.expression {
            Ok(expression) => expression.evaluate(scope),
            Err(why) => Err(why.clone()),
        };
        match outcome {
            Ok(outcome) if outcome.is_true() => None,
            Ok(_) => Some(Denial { message: self.said(scope), reason: self.reason.clone() }),
            Err(_) if ignored => None,
            Err(why) => Some(Denial::of_error(why)),
        }
    }

    /// The message: computed, given, or made of the expression.
    fn said(&self, scope: &Scope) -> String {
        let computed = self.says.as_ref().and_then(|says| says.as_ref().ok()?.evaluate(scope).ok());
        let computed = computed.as_ref().and_then(|outcome| outcome.text()).map(str::trim);
        let usable = |said: &&str| {
            !said.is_empty() && said.len() <= MESSAGE_BYTES_MAX && !said.contains('\n')
        };
        match computed.filter(usable) {
            Some(said) => said.to_owned(),
            None if self.message.is_empty() => format!("failed expression: {}", self.text),
            None => self.message.clone(),
        }
    }
}

impl Denial {
    /// Of what could not be evaluated.
    pub(crate) fn of_error(why: String) -> Self {
        Self { message: why, reason: String::new() }
    }

    /// As the caller is told.
    pub(crate) fn error(&self, request: &Request<'_>, said: &str) -> ApiError {
        let (code, reason) = match self.reason.as_str() {
            "Unauthorized" => (401, "Unauthorized"),
            "Forbidden" => (403, "Forbidden"),
            "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
            _ => (422, "Invalid"),
        };
        let mut error =
            ApiError::forbidden(request.resource, request.name, said).with_cause("", said, "");
        error.code = code;
        error.reason = reason.into();
        error
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(validation: &Value, ignored: bool) -> Option<String> {
        let mut scope = Scope::default();
        scope.set("object", &json!({ "n": 3 }));
        Validation::parse(validation).judge(&scope, ignored).map(|denial| denial.message)
    }

    #[test]
    fn messages_are_computed_given_or_made() {
        let expression = "object.n < 3";
        let cases = [
            (json!({ "expression": expression }), "failed expression: object.n < 3"),
            (json!({ "expression": expression, "message": "too many" }), "too many"),
            (
                json!({ "expression": expression, "message": "m", "messageExpression": "'n is ' + string(object.n)" }),
                "n is 3",
            ),
            (
                json!({ "expression": expression, "message": "m", "messageExpression": "object.absent" }),
                "m",
            ),
            (
                json!({ "expression": expression, "message": "m", "messageExpression": "'a\\nb'" }),
                "m",
            ),
        ];
        for (validation, message) in cases {
            assert_eq!(judged(&validation, false).as_deref(), Some(message), "{validation}");
        }
        assert_eq!(judged(&json!({ "expression": "object.n == 3" }), false), None);
    }

    #[test]
    fn errors_deny_unless_failures_are_ignored() {
        let wrong = json!({ "expression": "object.absent > 1" });
        let said = "expression 'object.absent > 1' resulted in error: no such key: absent";
        assert_eq!(judged(&wrong, false).as_deref(), Some(said));
        assert_eq!(judged(&wrong, true), None);
    }
}
