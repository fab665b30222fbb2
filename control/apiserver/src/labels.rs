//! The labels of a request's metrics: the words of kinds and routes, so that nothing that a client sends becomes one.

use beeline_api::KindInfo;
use beeline_registry::Target;
use http::header::CONTENT_TYPE;

use crate::app::App;
use crate::metrics::Labels;
use crate::review;
use crate::route::{ResourcePath, Route};
use crate::service::Asked;

/// Of any request. A kind that is not served has no name here.
pub(crate) fn of(app: &App, asked: &Asked, route: &Route, verb: &'static str) -> Labels {
    let Route::Resource(at) = route else { return of_path(route, verb) };
    let verb = if verb == "PATCH" && applies(asked) { "APPLY" } else { verb };
    let dry_run = asked.query.get("dryRun") == Some("All");
    let part = at.subresource.as_deref().unwrap_or_default();
    let labels = Labels { verb, dry_run, scope: scope(at, verb), ..Labels::default() };
    if let Some(kind) = app.registry().kinds().by_resource(&at.group, &at.version, &at.resource) {
        let subresource = kind.subresource(part).map_or("", |sub| sub.name);
        return Labels { subresource, ..of_kind(kind, labels) };
    }
    match review::find(&at.group, &at.version, &at.resource) {
        Some(info) => {
            Labels { group: info.group, version: info.version, resource: info.plural, ..labels }
        }
        None => labels,
    }
}

/// Of a path that is no object.
pub(crate) fn of_path(route: &Route, verb: &'static str) -> Labels {
    let subresource = match route {
        Route::Health { endpoint, .. } => match endpoint.as_str() {
            "healthz" => "/healthz",
            "livez" => "/livez",
            _ => "/readyz",
        },
        Route::Version => "/version",
        Route::CaCerts => "/cacerts",
        Route::Metrics => "/metrics",
        Route::Index => "/",
        Route::TokenIssuer => "/.well-known/openid-configuration",
        Route::TokenKeys => "/openid/v1/jwks",
        Route::OpenApiV2 => "/openapi/v2",
        Route::OpenApiV3 { .. } => "/openapi/v3",
        Route::LegacyVersions => "/api",
        Route::Groups | Route::Group(_) | Route::Resources { .. } => "/apis",
        Route::Flows => "/beeline/v1/flows",
        Route::Resource(_) | Route::Unknown => "",
    };
    Labels { verb, subresource, ..Labels::default() }
}

/// Of a watch that is open.
pub(crate) fn of_watch(target: &Target) -> Labels {
    let scope = match (&target.name, &target.namespace) {
        (Some(_), _) => "resource",
        (None, Some(_)) => "namespace",
        (None, None) => "cluster",
    };
    of_kind(target.kind, Labels { verb: "WATCH", scope, ..Labels::default() })
}

fn of_kind(kind: &'static KindInfo, labels: Labels) -> Labels {
    Labels { group: kind.group, version: kind.version, resource: kind.plural, ..labels }
}

fn scope(at: &ResourcePath, verb: &str) -> &'static str {
    match (&at.name, &at.namespace) {
        (Some(_), _) => "resource",
        // What is created has a name, although the path does not.
        _ if verb == "POST" => "resource",
        (None, Some(_)) => "namespace",
        (None, None) => "cluster",
    }
}

fn applies(asked: &Asked) -> bool {
    let content_type = asked.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    content_type.is_some_and(|text| text.starts_with(b"application/apply-patch"))
}
