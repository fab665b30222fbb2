//! Which rule takes which request, and what a wrong file is told.

use http::Method;

use super::*;
use crate::query::Query;
use crate::route;

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:kube-proxy]
  verbs: [watch]
  resources: [{group: '', resources: [endpoints, services]}]
- level: None
  userGroups: [system:authenticated]
  nonResourceURLs: ['/api*', /version]
- level: Request
  namespaces: [kube-system]
  resources: [{group: '', resources: [configmaps], resourceNames: [special]}]
- level: Metadata
  resources: [{group: '', resources: [secrets, configmaps, 'serviceaccounts/token']}]
  omitManagedFields: true
- level: RequestResponse
  resources: [{group: '', resources: ['pods/*']}, {group: apps}]
  omitStages: [ResponseStarted]
- level: Metadata
  namespaces: ['']
  resources: [{group: '', resources: ['*/status']}]
- level: Request
  nonResourceURLs: ['*']
";

fn level(policy: &Policy, user: &str, request: &str) -> Level {
    let (method, target) = request.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (route, query) = (route::parse(path), Query::parse(query));
    let info = RequestInfo::of(&method.parse::<Method>().unwrap(), &query, path, &route);
    policy.decide(user, &["system:authenticated".to_owned()], &info).level
}

#[test]
fn the_first_rule_that_fits_decides() {
    let policy = Policy::parse(POLICY).unwrap();
    let table = [
        ("system:kube-proxy", "GET /api/v1/services?watch=1", Level::None),
        ("bob", "GET /api/v1/services?watch=1", Level::None),
        ("bob", "GET /apis", Level::None),
        ("bob", "GET /version", Level::None),
        ("bob", "GET /versions", Level::Request),
        ("bob", "GET /api/v1/namespaces/kube-system/configmaps/special", Level::Request),
        ("bob", "GET /api/v1/namespaces/kube-system/configmaps/other", Level::Metadata),
        ("bob", "GET /api/v1/namespaces/x/configmaps/special", Level::Metadata),
        ("bob", "POST /api/v1/namespaces/x/serviceaccounts/a/token", Level::Metadata),
        ("bob", "GET /api/v1/namespaces/x/serviceaccounts/a", Level::None),
        ("bob", "GET /api/v1/namespaces/x/pods/p/log", Level::RequestResponse),
        ("bob", "GET /api/v1/namespaces/x/pods/p", Level::RequestResponse),
        ("bob", "GET /apis/apps/v1/deployments", Level::RequestResponse),
        ("bob", "PUT /api/v1/nodes/n/status", Level::Metadata),
        ("bob", "GET /apis/batch/v1/jobs", Level::None),
    ];
    for (user, request, expected) in table {
        assert_eq!(level(&policy, user, request), expected, "{user} {request}");
    }
}

#[test]
fn stages_of_the_policy_and_of_the_rule_are_left_out() {
    let policy = Policy::parse(POLICY).unwrap();
    let (route, query) = (route::parse("/apis/apps/v1/deployments"), Query::default());
    let info = RequestInfo::of(&Method::GET, &query, "/apis/apps/v1/deployments", &route);
    let decision = policy.decide("bob", &[], &info);
    let recorded = [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete]
        .map(|stage| decision.records(stage));
    assert_eq!(recorded, [false, false, true]);
    assert!(!Decision::default().records(Stage::ResponseComplete));
}

#[test]
fn a_wrong_file_is_told_where_and_what_would_do() {
    let policy = |rules: &str| format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}");
    let table = [
        ("kind: Policy\n".to_owned(), "apiVersion"),
        (policy("[]").replace("/v1", "/v1beta1"), "give apiVersion audit.k8s.io/v1"),
        (policy("[]"), "0 rules"),
        (policy("[{level: Metadata}, {level: All}]"), "rules[1]: unknown variant `All`"),
        (policy("[{levl: None}]"), "rules[0]: unknown field `levl`"),
        (policy("[{level: None, omitStages: [Now]}]"), "unknown variant `Now`"),
        (policy("[{level: None, nonResourceURLs: [x]}]"), "begin with a '/'"),
        (policy("[{level: None, nonResourceURLs: ['/a*b']}]"), "final character"),
        (policy("[{level: None, nonResourceURLs: ['*'], namespaces: [a]}]"), "make it two rules"),
        (policy("[{level: None, resources: [{resourceNames: [a]}]}]"), "at least one resource"),
        (policy("[{level: None, resources: [{group: apps/v1}]}]"), "give the group alone"),
    ];
    for (text, word) in table {
        let why = Policy::parse(&text).unwrap_err();
        assert!(why.contains(word), "{word:?} is not in {why}");
    }
}
