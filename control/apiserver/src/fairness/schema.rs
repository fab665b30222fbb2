//! Stored FlowSchemas and PriorityLevelConfigurations as what decides about a request.
//!
//! In: objects that have passed validation. Out: which schema takes a request, and which flow it is of. Pure.

use beeline_api::meta::{list, text};
use serde_json::Value;

use super::queues::Shape;
use super::shares::Share;
use crate::info::{RequestInfo, Resource};

/// One FlowSchema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) level: String,
    pub(super) precedence: i64,
    by: Distinguisher,
    rules: Vec<Rule>,
}

/// One PriorityLevelConfiguration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LevelSpec {
    pub(super) name: String,
    pub(super) uid: String,
    /// None: its requests never wait.
    pub(super) shape: Option<Shape>,
    pub(super) share: Share,
}

/// What tells flows of one schema apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Distinguisher {
    /// All are one flow.
    #[default]
    None,
    User,
    Namespace,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
    /// A user's name, or what the names of a namespace's accounts begin with.
    Account {
        name: String,
        all: bool,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

impl Schema {
    pub(super) fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        Self {
            name: text(&object["metadata"], "name").to_owned(),
            uid: text(&object["metadata"], "uid").to_owned(),
            level: text(&spec["priorityLevelConfiguration"], "name").to_owned(),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or_default(),
            by: match text(&spec["distinguisherMethod"], "type") {
                "ByUser" => Distinguisher::User,
                "ByNamespace" => Distinguisher::Namespace,
                _ => Distinguisher::None,
            },
            rules: list(spec, "rules").iter().map(Rule::read).collect(),
        }
    }

    /// Whether it takes the request of `user`.
    pub(super) fn takes(&self, user: &str, groups: &[String], info: &RequestInfo<'_>) -> bool {
        self.rules.iter().any(|rule| rule.is_about(info) && rule.is_of(user, groups))
    }

    /// The part of a flow's name that is not the schema's.
    pub(super) fn flow<'a>(&self, user: &'a str, info: &RequestInfo<'a>) -> &'a str {
        match self.by {
            Distinguisher::None => "",
            Distinguisher::User => user,
            Distinguisher::Namespace => info.resource.map_or("", |of| of.namespace),
        }
    }
}

impl LevelSpec {
    pub(super) fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let limited = &spec["limited"];
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let size = |value: &Value| number(value).map_or(0, |n| n as usize);
        let exempt = text(spec, "type") == "Exempt";
        let source = if exempt { &spec["exempt"] } else { limited };
        let queuing = &limited["limitResponse"]["queuing"];
        let shape = Shape {
            queues: size(&queuing["queues"]),
            hand: size(&queuing["handSize"]),
            length_max: size(&queuing["queueLengthLimit"]),
        };
        Self {
            name: text(&object["metadata"], "name").to_owned(),
            uid: text(&object["metadata"], "uid").to_owned(),
            shape: (!exempt).then_some(shape),
            share: Share {
                nominal: number(&source["nominalConcurrencyShares"]).unwrap_or_default(),
                lendable_percent: number(&source["lendablePercent"]).unwrap_or_default().min(100),
                borrowing_percent: number(&limited["borrowingLimitPercent"]),
            },
        }
    }
}

impl Rule {
    fn read(rule: &Value) -> Self {
        Self {
            subjects: list(rule, "subjects").iter().filter_map(Subject::read).collect(),
            resources: list(rule, "resourceRules").iter().map(ResourceRule::read).collect(),
            paths: list(rule, "nonResourceRules").iter().map(PathRule::read).collect(),
        }
    }

    fn is_of(&self, user: &str, groups: &[String]) -> bool {
        self.subjects.iter().any(|subject| match subject {
            Subject::User(name) => name == "*" || name == user,
            Subject::Group(name) => name == "*" || groups.contains(name),
            Subject::Account { name, all: true } => user.starts_with(name.as_str()),
            Subject::Account { name, all: false } => user == name,
        })
    }

    fn is_about(&self, info: &RequestInfo<'_>) -> bool {
        match &info.resource {
            Some(of) => self.resources.iter().any(|rule| rule.is_about(info.verb, of)),
            None => self.paths.iter().any(|rule| rule.is_about(info.verb, info.path)),
        }
    }
}

impl Subject {
    fn read(subject: &Value) -> Option<Self> {
        match text(subject, "kind") {
            "User" => Some(Self::User(text(&subject["user"], "name").to_owned())),
            "Group" => Some(Self::Group(text(&subject["group"], "name").to_owned())),
            "ServiceAccount" => {
                let account = &subject["serviceAccount"];
                let (namespace, name) = (text(account, "namespace"), text(account, "name"));
                let all = name == "*";
                let name = if all { "" } else { name };
                let name = beeline_auth::service_account::user_name(namespace, name);
                Some(Self::Account { name, all })
            }
            _ => None,
        }
    }
}

impl ResourceRule {
    fn read(rule: &Value) -> Self {
        Self {
            verbs: texts(rule, "verbs"),
            groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            namespaces: texts(rule, "namespaces"),
            cluster: rule["clusterScope"] == true,
        }
    }

    fn is_about(&self, verb: &str, of: &Resource<'_>) -> bool {
        let scope = match of.namespace {
            "" => self.cluster,
            namespace => holds(&self.namespaces, namespace),
        };
        scope
            && holds(&self.verbs, verb)
            && holds(&self.groups, of.group)
            && self.resources.iter().any(|one| is_resource(one, of))
    }
}

impl PathRule {
    fn read(rule: &Value) -> Self {
        Self { verbs: texts(rule, "verbs"), paths: texts(rule, "nonResourceURLs") }
    }

    fn is_about(&self, verb: &str, path: &str) -> bool {
        let fits = |one: &String| match one.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => one == path,
        };
        holds(&self.verbs, verb) && self.paths.iter().any(fits)
    }
}

fn texts(of: &Value, field: &str) -> Vec<String> {
    list(of, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn holds(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

/// `pods`, or `pods/status` of a part.
fn is_resource(rule: &str, of: &Resource<'_>) -> bool {
    rule == "*"
        || match (rule.split_once('/'), of.subresource) {
            (None, "") => rule == of.resource,
            (Some((resource, part)), wanted) => resource == of.resource && part == wanted,
            (None, _) => false,
        }
}

#[cfg(test)]
mod tests {
    use beeline_api::kinds::flowcontrol;
    use http::Method;

    use super::*;
    use crate::query::Query;
    use crate::route;

    fn taken_by(user: &str, groups: &[&str], request: &str) -> String {
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (route, query) = (route::parse(path), Query::parse(query));
        let info = RequestInfo::of(&method.parse::<Method>().unwrap(), &query, path, &route);
        let groups: Vec<String> = groups.iter().map(|one| (*one).to_owned()).collect();
        let mut all: Vec<Schema> = flowcontrol::schemas().iter().map(Schema::read).collect();
        all.sort_by_key(|one| one.precedence);
        let schema = all.iter().find(|one| one.takes(user, &groups, &info)).unwrap();
        format!("{} {} {}", schema.name, schema.level, schema.flow(user, &info))
    }

    #[test]
    fn upstreams_schemas_sort_requests_as_upstream_does() {
        let known = ["system:authenticated"];
        let node = ["system:nodes", "system:authenticated"];
        let account = ["system:serviceaccounts", "system:authenticated"];
        let dns = "system:serviceaccount:kube-system:dns";
        let app = "system:serviceaccount:shop:app";
        let lease = "/apis/coordination.k8s.io/v1/namespaces/x/leases/l";
        let table = [
            (taken_by("root", &["system:masters"], "GET /api/v1/pods"), "exempt exempt "),
            (
                taken_by("system:anonymous", &["system:unauthenticated"], "GET /readyz"),
                "probes exempt ",
            ),
            (taken_by("bob", &known, "GET /healthz"), "probes exempt "),
            (taken_by("bob", &known, "GET /version"), "global-default global-default bob"),
            (taken_by("bob", &known, "POST /healthz"), "global-default global-default bob"),
            (
                taken_by("system:node:n", &node, &format!("PUT {lease}")),
                "system-node-high node-high system:node:n",
            ),
            (
                taken_by("system:node:n", &node, "PATCH /api/v1/nodes/n/status"),
                "system-node-high node-high system:node:n",
            ),
            (
                taken_by("system:node:n", &node, "GET /api/v1/pods"),
                "system-nodes system system:node:n",
            ),
            (
                taken_by("system:kube-scheduler", &known, &format!("PUT {lease}")),
                "system-leader-election leader-election system:kube-scheduler",
            ),
            (
                taken_by("system:kube-scheduler", &known, "GET /api/v1/namespaces/x/pods"),
                "kube-scheduler workload-high x",
            ),
            (
                taken_by(dns, &account, "GET /api/v1/namespaces/x/pods"),
                "kube-system-service-accounts workload-high x",
            ),
            (
                taken_by(app, &account, "GET /api/v1/pods"),
                "service-accounts workload-low system:serviceaccount:shop:app",
            ),
        ];
        for (got, expected) in &table {
            assert_eq!(got, expected);
        }
    }
}
