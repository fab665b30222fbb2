//! `audit.k8s.io/v1` Policy: what of which request is recorded.
//!
//! In: a file's text, requests. Out: a level and the stages that are left out. The first rule that fits decides.
//! Refuses: files with fields, levels or stages that there are not, naming the rule and what would do. Pure.

use beeline_api::decode;
use serde::Deserialize;
use serde_json::Value;

use crate::info::{RequestInfo, Resource};

/// How much is recorded, from nothing to everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// When something is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// What is recorded of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) level: Level,
    omitted: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

/// A policy that has been checked.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    rules: Vec<Rule>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPolicy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    rules: Vec<Value>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Policy {
    /// Reads a file's text. An error names the rule.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value = decode::yaml(text.as_bytes()).map_err(|e| e.message)?.value;
        let raw: RawPolicy = serde_json::from_value(value).map_err(|e| {
            format!("{e}; a policy has apiVersion, kind, rules, omitStages and omitManagedFields")
        })?;
        if (raw.api_version.as_str(), raw.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            return Err(format!(
                "it is {} {}: give apiVersion audit.k8s.io/v1 and kind Policy",
                raw.api_version, raw.kind
            ));
        }
        if raw.rules.is_empty() {
            return Err("it has 0 rules, so nothing would be recorded: give one such as \
                        `- level: Metadata`"
                .to_owned());
        }
        let rule = |(i, value): (usize, Value)| {
            let rule: Rule = serde_json::from_value(value).map_err(|e| {
                format!(
                    "rules[{i}]: {e}; levels are None, Metadata, Request, RequestResponse, stages \
                     RequestReceived, ResponseStarted, ResponseComplete, Panic"
                )
            })?;
            rule.check().map_err(|why| format!("rules[{i}].{why}")).map(|()| rule)
        };
        let rules = raw.rules.into_iter().enumerate().map(rule).collect::<Result<_, String>>()?;
        let RawPolicy { omit_stages, omit_managed_fields, .. } = raw;
        Ok(Self { rules, omit_stages, omit_managed_fields })
    }

    /// What is recorded of a request by `user`.
    pub(super) fn decide(&self, user: &str, groups: &[String], info: &RequestInfo<'_>) -> Decision {
        let fits = |rule: &&Rule| rule.fits(user, groups, info);
        let Some(rule) = self.rules.iter().find(fits) else { return Decision::default() };
        Decision {
            level: rule.level,
            omitted: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Decision {
    pub(super) fn records(&self, stage: Stage) -> bool {
        self.level > Level::None && !self.omitted.contains(&stage)
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let of_objects = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_objects && !self.paths.is_empty() {
            return Err("nonResourceURLs: rules cannot apply to both regular resources and \
                        non-resource URLs: make it two rules"
                .to_owned());
        }
        for path in self.paths.iter().filter(|path| *path != "*") {
            let wrong = if !path.starts_with('/') {
                "non-resource URL rules must begin with a '/' character"
            } else if path[..path.len() - 1].contains('*') {
                "non-resource URL wildcards '*' must be the final character of the rule"
            } else {
                continue;
            };
            return Err(format!("nonResourceURLs: {path:?}: {wrong}"));
        }
        for (i, one) in self.resources.iter().enumerate() {
            if !one.resource_names.is_empty() && one.resources.is_empty() {
                return Err(format!(
                    "resources[{i}].resourceNames: using resourceNames requires at least one resource"
                ));
            }
            if one.group.contains('/') {
                return Err(format!(
                    "resources[{i}].group: {:?} has a version: give the group alone",
                    one.group
                ));
            }
        }
        Ok(())
    }

    fn fits(&self, user: &str, groups: &[String], info: &RequestInfo<'_>) -> bool {
        let names = |list: &[String], one: &str| list.is_empty() || list.iter().any(|x| x == one);
        let in_group = self.user_groups.is_empty()
            || self.user_groups.iter().any(|group| groups.contains(group));
        let of_objects = !self.resources.is_empty() || !self.namespaces.is_empty();
        let about = match &info.resource {
            Some(of) if of_objects => self.is_about(of),
            None if !self.paths.is_empty() => {
                self.paths.iter().any(|rule| is_path(rule, info.path))
            }
            _ => !of_objects && self.paths.is_empty(),
        };
        about && in_group && names(&self.users, user) && names(&self.verbs, info.verb)
    }

    fn is_about(&self, of: &Resource<'_>) -> bool {
        let named = |one: &GroupResources| {
            one.resource_names.is_empty() || one.resource_names.iter().any(|name| name == of.name)
        };
        let holds = |one: &GroupResources| {
            one.group == of.group
                && (one.resources.is_empty()
                    || (named(one) && one.resources.iter().any(|rule| is_resource(rule, of))))
        };
        (self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == of.namespace))
            && (self.resources.is_empty() || self.resources.iter().any(holds))
    }
}

fn is_path(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => rule == path,
    }
}

/// `pods`, `pods/log`, `pods/*` with all its parts, `*/status` of everything, `*`.
fn is_resource(rule: &str, of: &Resource<'_>) -> bool {
    match rule.split_once('/') {
        None => rule == "*" || (rule == of.resource && of.subresource.is_empty()),
        Some((resource, "*")) => resource == of.resource,
        Some((resource, part)) => {
            (resource == "*" || resource == of.resource)
                && part == of.subresource
                && !of.subresource.is_empty()
        }
    }
}

#[cfg(test)]
mod tests;
