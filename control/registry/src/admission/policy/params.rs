//! Parameters of a policy's binding: the objects that its expressions read as `params`.
//!
//! In: the kind that the policy names and the reference of the binding. Out: the objects, or why there are none.

use std::sync::Arc;

use beeline_api::KindInfo;
use beeline_api::meta::text;
use beeline_api::selectors::LabelSelector;
use serde_json::Value;

use crate::admission::asking::Asking;
use crate::object::Object;

/// Kind of the parameters, as a policy names it.
#[derive(Debug)]
pub(crate) struct ParamKind {
    api_version: String,
    kind: String,
}

/// What expressions see.
pub(crate) enum Params {
    /// The policy is evaluated once, without.
    None,
    /// Once with each of them.
    Each(Vec<Arc<Object>>),
}

/// Why there are no parameters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    Policy(String),
    Binding(String),
}

impl ParamKind {
    pub(crate) fn parse(stored: &Value) -> Option<Self> {
        let own = |field: &str| text(stored, field).to_owned();
        stored.is_object().then(|| Self { api_version: own("apiVersion"), kind: own("kind") })
    }
}

impl Params {
    pub(crate) fn each(&self) -> Vec<&Value> {
        match self {
            Self::None => vec![&Value::Null],
            Self::Each(all) => all.iter().map(|object| &*object.value).collect(),
        }
    }
}

/// The parameters of a binding.
pub(crate) fn find(
    kind: Option<&ParamKind>,
    reference: &Value,
    asking: &Asking<'_>,
) -> Result<Params, Error> {
    let Some(named) = kind else { return Ok(Params::None) };
    let ParamKind { api_version, kind } = named;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(kind) = asking.registry.kinds().by_kind(group, version, kind) else {
        return Err(Error::Policy(format!(
            "failed to find resource referenced by paramKind: '{api_version}, Kind={}'",
            named.kind
        )));
    };
    if !reference.is_object() {
        return Ok(Params::None);
    }
    let namespace = namespace(kind, reference, asking.request.namespace)?;
    let registry = asking.registry;
    let found: Vec<Arc<Object>> = match text(reference, "name") {
        "" => {
            let selector = LabelSelector::from_object(&reference["selector"]).unwrap_or_default();
            let all = registry.snapshot(kind, namespace);
            all.into_iter().filter(|object| selector.matches(object.labels())).collect()
        }
        name => registry.cached(kind, namespace, name).into_iter().collect(),
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
        return Err(Error::Binding(why.to_owned()));
    }
    Ok(Params::Each(found))
}

/// Where parameters are looked for.
fn namespace<'a>(
    kind: &KindInfo,
    reference: &'a Value,
    of_request: &'a str,
) -> Result<Option<&'a str>, Error> {
    match (kind.namespaced, text(reference, "namespace")) {
        (false, "") => Ok(None),
        (false, _) => Err(Error::Binding(
            "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned(),
        )),
        (true, "") if of_request.is_empty() => Err(Error::Binding(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                .to_owned(),
        )),
        (true, "") => Ok(Some(of_request)),
        (true, named) => Ok(Some(named)),
    }
}
