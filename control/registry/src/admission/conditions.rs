//! Match conditions: expressions that say whether a webhook or a policy wants to know of a write.
//!
//! In: stored conditions, compiled once; then variables. Out: whether all hold, or why that is not known. Pure.

use std::sync::Arc;

use beeline_api::KindInfo;
use beeline_api::expression::{Authority, Expression, Question, Scope};
use beeline_api::meta::{list, text};
use beeline_auth::service_account::user_name;
use beeline_auth::{Attributes, Authorizer as _, Target};
use serde_json::Value;

use super::request::Request;

/// What an expression compiled to. Those that do not are refused when written, but may have been stored before.
pub(crate) type Compiled = Result<Expression, String>;

/// All conditions of a webhook or policy.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Vec<Compiled>);

impl Conditions {
    pub(crate) fn parse(of: &Value, variables: &[&str]) -> Self {
        let all = list(of, "matchConditions").iter();
        Self(all.map(|one| Expression::compile(text(one, "expression"), variables)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not decides, whatever is wrong with others.
    pub(crate) fn hold(&self, scope: &Scope) -> Result<bool, String> {
        let mut wrong: Vec<String> = Vec::new();
        for condition in &self.0 {
            match condition.as_ref().map(|expression| expression.evaluate(scope)) {
                Ok(Ok(outcome)) if outcome.is_true() => {}
                Ok(Ok(_)) => return Ok(false),
                Ok(Err(why)) => wrong.push(why),
                Err(why) => wrong.push(why.clone()),
            }
        }
        match wrong.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            all => Err(format!("[{}]", all.join(", "))),
        }
    }
}

/// The variables that all expressions have.
pub(crate) fn scope(
    request: &Request<'_>,
    kind: &KindInfo,
    (object, old): (Option<&Value>, Option<&Value>),
) -> Scope {
    let mut scope = Scope::default();
    scope.set("object", object.unwrap_or(&Value::Null));
    scope.set("oldObject", old.unwrap_or(&Value::Null));
    scope.set("request", &Value::Object(request.described(kind)));
    scope.set_authority(authority(request));
    scope
}

/// Who answers what the caller, or a service account, may do.
fn authority(request: &Request<'_>) -> Authority {
    let (access, caller) = (request.access.clone(), request.caller.clone());
    Arc::new(move |question: &Question| {
        let target = match &question.path {
            Some(path) => Target::Path(path),
            None => Target::Resource {
                group: &question.group,
                resource: &question.resource,
                subresource: &question.subresource,
                namespace: &question.namespace,
                name: &question.name,
            },
        };
        let wanted = Attributes::new(&question.verb, target);
        match &question.account {
            None => access.allows(&caller.user, &caller.groups, &wanted),
            Some((namespace, name)) => {
                let groups = [
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ];
                access.allows(&user_name(namespace, name), &groups, &wanted)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_that_does_not_hold_decides() {
        let conditions = |all: &[&str]| {
            let all: Vec<Value> = all.iter().map(|one| json!({ "expression": one })).collect();
            Conditions::parse(&json!({ "matchConditions": all }), &["object"])
        };
        let mut scope = Scope::default();
        scope.set("object", &json!({ "a": 1 }));
        assert_eq!(conditions(&[]).hold(&scope), Ok(true));
        assert_eq!(conditions(&["object.a == 1"]).hold(&scope), Ok(true));
        assert_eq!(conditions(&["object.b == 1", "object.a == 2"]).hold(&scope), Ok(false));
        let wrong = conditions(&["object.b == 1", "object.a == 1"]).hold(&scope).unwrap_err();
        assert_eq!(wrong, "expression 'object.b == 1' resulted in error: no such key: b");
    }
}
