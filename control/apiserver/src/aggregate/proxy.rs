//! Requests that are passed on to an extension server, with who asks in headers.
//!
//! In: a request that was authenticated here. Out: the server's answer as it comes, streams and upgraded connections included;
//! upstream's words if there is none. What the caller said of himself is not passed on.

use axum::body::Body;
use beeline_auth::Target;
use beeline_registry::Caller;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::{Entry, call};
use crate::answer::{self, Answer};
use crate::app::App;
use crate::resource;
use crate::route::{self, Route};
use crate::service::{Asked, Done};

/// Headers of one connection alone (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Authorizes the request and passes it on.
pub(crate) async fn handle(
    app: &App,
    asked: &Asked,
    (route, entry): (&Route, &Entry),
    body: Body,
) -> Done {
    let (label, allowed) = match route {
        Route::Resource(path) => {
            let Some((verb, label)) = resource::verb(asked, path) else {
                let refused = answer::error(&beeline_api::ApiError::method_not_allowed());
                return Done::new("OTHER", refused);
            };
            let wanted = Target::Resource {
                group: &path.group,
                resource: &path.resource,
                subresource: path.subresource.as_deref().unwrap_or_default(),
                namespace: path.namespace.as_deref().unwrap_or_default(),
                name: path.name.as_deref().unwrap_or_default(),
            };
            let allowed = app.authorize(&asked.caller, verb, wanted);
            (label, allowed.map_err(|why| forbidden(path, &why)))
        }
        _ => {
            let verb = asked.method.as_str().to_ascii_lowercase();
            let allowed = app.authorize(&asked.caller, &verb, Target::Path(asked.uri.path()));
            ("GET", allowed.map_err(|why| answer::forbidden_path(&why)))
        }
    };
    if let Err(refused) = allowed {
        return Done::new(label, answer::error(&refused));
    }
    let answer = match pass_on(app, asked, entry, body).await {
        Ok(answer) => answer,
        Err(why) => answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    let streaming = label == "WATCH" || answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    Done { streaming, ..Done::new(label, answer) }
}

/// As for our own kinds, of which this is none.
fn forbidden(path: &route::ResourcePath, why: &str) -> beeline_api::ApiError {
    let resource = format!("{}.{}", path.resource, path.group);
    let name = path.name.as_deref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    beeline_api::ApiError::new(403, "Forbidden", format!("{resource}{name} is forbidden: {why}"))
}

async fn pass_on(app: &App, asked: &Asked, entry: &Entry, body: Body) -> Result<Answer, String> {
    if !entry.available {
        return Err("service unavailable".to_owned());
    }
    let reach = |why: String| format!("error trying to reach service: {why}");
    let service = &entry.service;
    let path = asked.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = Request::new(body);
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = path.parse().map_err(|why: http::uri::InvalidUri| why.to_string())?;
    *request.headers_mut() = headers(asked, &service.host());
    let mut sender = call::connect(app.registry(), service, &app.tasks).await.map_err(reach)?;
    let answer = sender.send_request(request).await.map_err(|why| reach(why.to_string()))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(upgraded(app, asked, answer));
    }
    let (mut parts, body) = answer.into_parts();
    HOP_BY_HOP.iter().for_each(|name| drop(parts.headers.remove(*name)));
    parts.version = http::Version::default();
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// Joins both connections until one ends.
fn upgraded(app: &App, asked: &Asked, mut answer: Response<Incoming>) -> Answer {
    let theirs = hyper::upgrade::on(&mut answer);
    if let Some(ours) = asked.upgrade.clone() {
        let token = app.tasks.token();
        app.tasks.spawn("apiserver-upgraded", async move {
            let joined = async {
                if let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) {
                    let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
                    let _ = copy_bidirectional(&mut ours, &mut theirs).await;
                }
            };
            let _ = token.run_until_cancelled(joined).await;
        });
    }
    let (parts, _) = answer.into_parts();
    Response::from_parts(parts, Body::empty())
}

/// What the caller sent, without what is between him and us, and with who he is.
fn headers(asked: &Asked, host: &str) -> HeaderMap {
    let mut headers = asked.headers.clone();
    let named: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    let upgrade = headers.get(UPGRADE).cloned().filter(|_| asked.upgrade.is_some());
    named.into_iter().for_each(|name| drop(headers.remove(name)));
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.append(name, value);
        }
    };
    set(HOST, host);
    let Caller { user, groups, uid, extra, .. } = &asked.caller;
    set(HeaderName::from_static("x-remote-user"), user);
    if !uid.is_empty() {
        set(HeaderName::from_static("x-remote-uid"), uid);
    }
    groups.iter().for_each(|group| set(HeaderName::from_static("x-remote-group"), group));
    for (key, values) in extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        values.iter().for_each(|value| set(name.clone(), value));
    }
    headers
}

/// Whether a header of the caller is not for the server behind.
fn is_ours(name: &HeaderName) -> bool {
    let text = name.as_str();
    HOP_BY_HOP.contains(&text)
        || name == AUTHORIZATION
        || name == HOST
        || text.starts_with("x-remote-")
        || text.starts_with("impersonate-")
}

/// Keys of `extra` may hold what names of headers may not: upstream's percent encoding of them.
fn escaped(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.to_ascii_lowercase().bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}
