//! URLs into what they ask for.
//!
//! In: a path. Out: a [`Route`]. Trailing slashes are accepted. Pure; knows no kinds.

use crate::query::percent_decode;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/healthz`, `/livez`, `/readyz`, with an optional single check.
    Health { endpoint: String, check: Option<String> },
    /// `/version`
    Version,
    /// `/cacerts`
    CaCerts,
    /// `/metrics`
    Metrics,
    /// `/`: the paths there are.
    Index,
    /// `/.well-known/openid-configuration`
    TokenIssuer,
    /// `/openid/v1/jwks`
    TokenKeys,
    /// `/openapi/v2`
    OpenApiV2,
    /// `/openapi/v3` and the documents below it.
    OpenApiV3 { document: Option<String> },
    /// `/api`
    LegacyVersions,
    /// `/apis`
    Groups,
    /// `/apis/{group}`
    Group(String),
    /// `/api/v1` and `/apis/{group}/{version}`
    Resources { group: String, version: String },
    /// Anything below.
    Resource(ResourcePath),
    /// `/beeline/v1/flows`
    Flows,
    /// Nothing we know.
    Unknown,
}

/// An object, a collection or a part of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// The deprecated `/watch/` prefix.
    pub(crate) legacy_watch: bool,
}

/// Reads a path.
pub(crate) fn parse(path: &str) -> Route {
    let segments: Vec<String> =
        path.split('/').filter(|s| !s.is_empty()).map(percent_decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [] => Route::Index,
        [endpoint @ ("healthz" | "livez" | "readyz")] => {
            Route::Health { endpoint: (*endpoint).to_owned(), check: None }
        }
        [endpoint @ ("healthz" | "livez" | "readyz"), check] => {
            Route::Health { endpoint: (*endpoint).to_owned(), check: Some((*check).to_owned()) }
        }
        ["version"] => Route::Version,
        ["cacerts"] => Route::CaCerts,
        ["metrics"] => Route::Metrics,
        [".well-known", "openid-configuration"] => Route::TokenIssuer,
        ["openid", "v1", "jwks"] => Route::TokenKeys,
        ["openapi", "v2"] => Route::OpenApiV2,
        ["openapi", "v3"] => Route::OpenApiV3 { document: None },
        ["openapi", "v3", rest @ ..] => Route::OpenApiV3 { document: Some(rest.join("/")) },
        ["api"] => Route::LegacyVersions,
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group((*group).to_owned()),
        ["api", version] => {
            Route::Resources { group: String::new(), version: (*version).to_owned() }
        }
        ["apis", group, version] => {
            Route::Resources { group: (*group).to_owned(), version: (*version).to_owned() }
        }
        ["api", version, rest @ ..] => resource("", version, rest),
        ["apis", group, version, rest @ ..] => resource(group, version, rest),
        ["beeline", "v1", "flows"] => Route::Flows,
        _ => Route::Unknown,
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Route {
    let (legacy_watch, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let own = |s: &str| Some(s.to_owned());
    // A namespace is an object itself, with parts of its own.
    let (namespace, resource, name, subresource) = match rest {
        ["namespaces", name] => (None, "namespaces", own(name), None),
        ["namespaces", name, part @ ("status" | "finalize")] => {
            (None, "namespaces", own(name), own(part))
        }
        ["namespaces", namespace, resource] => (own(namespace), *resource, None, None),
        ["namespaces", namespace, resource, name] => (own(namespace), *resource, own(name), None),
        ["namespaces", namespace, resource, name, part @ ..] => {
            (own(namespace), *resource, own(name), Some(part.join("/")))
        }
        [resource] => (None, *resource, None, None),
        [resource, name] => (None, *resource, own(name), None),
        [resource, name, part @ ..] => (None, *resource, own(name), Some(part.join("/"))),
        [] => return Route::Unknown,
    };
    Route::Resource(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace,
        resource: resource.to_owned(),
        name,
        subresource,
        legacy_watch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(path: &str) -> String {
        match parse(path) {
            Route::Resource(p) => format!(
                "{}/{} ns={} {} name={} sub={}{}",
                p.group,
                p.version,
                p.namespace.unwrap_or_default(),
                p.resource,
                p.name.unwrap_or_default(),
                p.subresource.unwrap_or_default(),
                if p.legacy_watch { " watch" } else { "" }
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths() {
        let cases = [
            ("/api/v1/pods", "/v1 ns= pods name= sub="),
            ("/api/v1/namespaces", "/v1 ns= namespaces name= sub="),
            ("/api/v1/namespaces/a", "/v1 ns= namespaces name=a sub="),
            ("/api/v1/namespaces/a/finalize", "/v1 ns= namespaces name=a sub=finalize"),
            ("/api/v1/namespaces/a/pods/", "/v1 ns=a pods name= sub="),
            ("/api/v1/namespaces/a/pods/p/log", "/v1 ns=a pods name=p sub=log"),
            ("/api/v1/watch/namespaces/a/pods", "/v1 ns=a pods name= sub= watch"),
            (
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "apps/v1 ns=a deployments name=d sub=scale",
            ),
            ("/api/v1/nodes/n%3A1/status", "/v1 ns= nodes name=n:1 sub=status"),
            ("/version/", "Version"),
            ("/apis/", "Groups"),
            ("/nothing", "Unknown"),
            ("/readyz/ping", "Health { endpoint: \"readyz\", check: Some(\"ping\") }"),
            ("/openapi/v3/apis/apps/v1", "OpenApiV3 { document: Some(\"apis/apps/v1\") }"),
        ];
        for (path, expected) in cases {
            assert_eq!(show(path), expected, "{path}");
        }
    }
}
