//! What a request is about, as upstream's filters see it: a verb, and an object or a path.
//!
//! In: a request's route, method and query. Out: borrowed attributes for fairness, audit and metrics. Whether the kind is
//! served does not matter here.

use http::Method;

use crate::query::Query;
use crate::resource::Verb;
use crate::route::{ResourcePath, Route};

/// One request's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestInfo<'a> {
    /// `get`, `list`, `deletecollection`, ...; of a path that is no object, the method in lower case.
    pub(crate) verb: &'static str,
    pub(crate) path: &'a str,
    pub(crate) resource: Option<Resource<'a>>,
}

/// The object of a request. Empty parts are not given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Resource<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) name: &'a str,
}

/// Parts that are streams for as long as somebody holds them open.
const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

impl<'a> RequestInfo<'a> {
    pub(crate) fn of(method: &Method, query: &'a Query, path: &'a str, route: &'a Route) -> Self {
        match route {
            Route::Resource(at) => Self {
                verb: Verb::of(method, query, at).map_or("", Verb::name),
                path,
                resource: Some(Resource::of(at, query)),
            },
            _ => Self { verb: method_name(method), path, resource: None },
        }
    }

    /// Whether it lasts as long as the client likes.
    pub(crate) fn is_long_running(&self) -> bool {
        let streams = |of: Resource<'_>| STREAMS.contains(&of.subresource);
        self.verb == "watch" || self.resource.is_some_and(streams)
    }

    /// Whether it changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch" | "head" | "options")
    }
}

impl<'a> Resource<'a> {
    fn of(at: &'a ResourcePath, query: &'a Query) -> Self {
        let name = at.name.as_deref().or_else(|| named(query)).unwrap_or_default();
        // A namespace is in itself, as upstream has it.
        let own = if at.resource == "namespaces" { at.name.as_deref() } else { None };
        Self {
            group: &at.group,
            version: &at.version,
            namespace: at.namespace.as_deref().or(own).unwrap_or_default(),
            resource: &at.resource,
            subresource: at.subresource.as_deref().unwrap_or_default(),
            name,
        }
    }
}

/// The one object that a selector leaves.
fn named(query: &Query) -> Option<&str> {
    let (field, name) = query.get("fieldSelector")?.split_once('=')?;
    let name = name.strip_prefix('=').unwrap_or(name);
    (field == "metadata.name" && !name.contains([',', '='])).then_some(name)
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route;

    #[test]
    fn paths_and_queries_make_attributes() {
        let table = [
            ("GET /api/v1/namespaces/a/pods", "list /v1 a pods//"),
            ("GET /api/v1/namespaces/a/pods?watch=true", "watch /v1 a pods//"),
            ("GET /api/v1/pods?fieldSelector=metadata.name%3Dp", "list /v1  pods//p"),
            ("GET /api/v1/pods?fieldSelector=metadata.name%3Dp,spec.x%3Dy", "list /v1  pods//"),
            (
                "DELETE /apis/apps/v1/namespaces/a/deployments",
                "deletecollection apps/v1 a deployments//",
            ),
            ("PATCH /api/v1/namespaces/a", "patch /v1 a namespaces//a"),
            ("GET /api/v1/namespaces/a/pods/p/log", "get /v1 a pods/log/p long"),
            ("POST /version", "post"),
            ("GET /apis", "get"),
        ];
        for (request, expected) in table {
            let (method, target) = request.split_once(' ').unwrap();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let (route, query) = (route::parse(path), Query::parse(query));
            let info = RequestInfo::of(&method.parse().unwrap(), &query, path, &route);
            let mut shown = info.verb.to_owned();
            if let Some(r) = info.resource {
                shown += &format!(
                    " {}/{} {} {}/{}/{}",
                    r.group, r.version, r.namespace, r.resource, r.subresource, r.name
                );
            }
            if info.is_long_running() && info.verb != "watch" {
                shown += " long";
            }
            assert_eq!(shown, expected, "{request}");
        }
    }
}
