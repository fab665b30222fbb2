//! One request from its arrival to its answer: who asks, what for, which handler, how it went.

use std::any::Any;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use beeline_api::ApiError;
use beeline_auth::{Identity, Target};
use beeline_registry::Caller;
use futures::FutureExt as _;
use http::header::{ACCEPT, ALLOW, ETAG, HeaderMap, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;

use crate::answer::{self, Answer};
use crate::app::{self, App};
use crate::audit::{Subject, Trail};
use crate::fairness::Arrival;
use crate::info::RequestInfo;
use crate::metrics::Outcome;
use crate::query::Query;
use crate::resource::Verb;
use crate::route::{self, Route};
use crate::{aggregate, authenticate, body, flows, grpc, health, labels, media, resource};

/// Who has not been recognised.
static NOBODY: Identity = Identity {
    user: String::new(),
    groups: Vec::new(),
    uid: String::new(),
    extra: std::collections::BTreeMap::new(),
};

/// Everything about a request but its body.
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    /// The connection, for protocols that take it over.
    pub(crate) upgrade: Option<OnUpgrade>,
}

impl Asked {
    pub(crate) fn accept(&self) -> Option<&str> {
        self.headers.get(ACCEPT).and_then(|value| value.to_str().ok())
    }

    fn info<'a>(&'a self, route: &'a Route) -> RequestInfo<'a> {
        RequestInfo::of(&self.method, &self.query, self.uri.path(), route)
    }

    fn verb(&self, route: &Route) -> &'static str {
        verb_of(&self.method, &self.query, route)
    }

    fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

/// An answer and how it is counted.
pub(crate) struct Done {
    pub(crate) answer: Answer,
    /// `GET`, `LIST`, `WATCH`, ...
    pub(crate) verb: &'static str,
    pub(crate) streaming: bool,
    /// For how long it stood in a queue.
    pub(crate) waited: Duration,
}

impl Done {
    pub(crate) fn new(verb: &'static str, answer: Answer) -> Self {
        Self { answer, verb, streaming: false, waited: Duration::ZERO }
    }

    /// One whose answer lasts as long as the client likes.
    pub(crate) fn stream(verb: &'static str, answer: Answer) -> Self {
        Self { streaming: true, ..Self::new(verb, answer) }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Of its verified certificate.
    pub(crate) identity: Option<Identity>,
    /// None within this process.
    pub(crate) address: Option<IpAddr>,
}

/// Answers one request.
pub(crate) async fn handle(app: &Arc<App>, peer: &Peer, request: Request<Body>) -> Answer {
    if grpc::is_grpc(request.headers()) {
        return grpc::answer(app, peer.identity.as_ref(), request).await;
    }
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let audit_id = parts.headers.get("audit-id").filter(|id| !id.is_empty()).cloned();
    let audit_id = audit_id.or_else(|| HeaderValue::from_str(&new_audit_id()).ok());
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let route = route::parse(parts.uri.path());
    let info = RequestInfo::of(&parts.method, &query, parts.uri.path(), &route);
    let own = authenticate::identify(app, peer.identity.as_ref(), &parts.headers);
    let acting = match &own {
        Ok(own) => authenticate::acting(app, own, &parts.headers),
        Err(error) => Err(error.clone()),
    };
    let subject = Subject {
        audit_id: audit_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default(),
        own: own.as_ref().unwrap_or(&NOBODY),
        acting: acting.as_ref().ok().and_then(Option::as_ref),
        info,
        uri: parts.uri.path_and_query().map_or("/", PathAndQuery::as_str),
        headers: &parts.headers,
        peer: peer.address,
    };
    let trail = app.options.audit.as_ref().and_then(|audit| audit.begin(&subject));
    let identity = own.and_then(|own| acting.map(|acting| acting.unwrap_or(own)));
    let mut answer = match identity {
        Ok(identity) => {
            let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
            let caller = app::caller(identity, agent);
            let Parts { method, uri, headers, .. } = parts;
            let asked = Asked { caller, method, uri, headers, query, upgrade };
            recognized(app, &asked, &route, body, trail, started).await
        }
        Err(error) => {
            let refused = answer::error(&error);
            let (verb, code) = (verb_of(&parts.method, &query, &route), refused.status().as_u16());
            if let Some(trail) = trail {
                trail.refused(code, &error.message);
            }
            let labels = labels::of_path(&route, verb);
            app.metrics.requests.answered(labels, Outcome::of(code, started.elapsed()));
            refused
        }
    };
    if let Some(id) = audit_id {
        answer.headers_mut().insert("audit-id", id);
    }
    answer
}

/// Answers one whose caller is known.
async fn recognized(
    app: &Arc<App>,
    asked: &Asked,
    route: &Route,
    body: Body,
    mut trail: Option<Trail>,
    started: Instant,
) -> Answer {
    let info = asked.info(route);
    if let Some(trail) = &mut trail {
        let (allowed, reason) = app.decision(&asked.caller, &info);
        trail.authorized(allowed, &reason);
    }
    let limit = asked.query.timeout(app.options.request_timeout);
    let _inflight = app.metrics.requests.begin(!info.is_read());
    let handled = tokio::time::timeout(limit, dispatch(app, asked, route, body, trail.as_mut()));
    let handled = AssertUnwindSafe(handled).catch_unwind().await;
    let done = match handled {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => {
            let text = "Timeout: request did not complete within requested timeout - context deadline exceeded";
            Done::new(asked.verb(route), answer::error(&ApiError::new(504, "Timeout", text)))
        }
        Err(panic) => return panicked(app, asked, route, trail, &*panic, started),
    };
    let Done { mut answer, verb, streaming, waited } = done;
    let took = started.elapsed();
    let code = answer.status().as_u16();
    let bytes = answer.body().size_hint().exact();
    let outcome = Outcome { code, took, waited, bytes, streaming };
    app.metrics.requests.answered(labels::of(app, asked, route, verb), outcome);
    if let Some(trail) = trail {
        answer = match streaming {
            true => trail.stream(answer),
            false => trail.complete(answer).await,
        };
    }
    tracing::debug!(
        verb,
        path = asked.uri.path(),
        user = asked.caller.user,
        code,
        ?took,
        "request"
    );
    answer
}

/// A handler that broke an invariant breaks its own request alone. Upstream's words.
fn panicked(
    app: &App,
    asked: &Asked,
    route: &Route,
    trail: Option<Trail>,
    panic: &(dyn Any + Send),
    started: Instant,
) -> Answer {
    let text =
        panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(|s| &**s));
    tracing::error!(path = asked.uri.path(), panic = text.unwrap_or("?"), "a handler panicked");
    let message = "This request caused apiserver to panic. Look in the logs for details.";
    if let Some(trail) = trail {
        trail.panicked(&format!("APIServer panic'd: {}", text.unwrap_or("?")));
    }
    let labels = labels::of(app, asked, route, asked.verb(route));
    app.metrics.requests.answered(labels, Outcome::of(500, started.elapsed()));
    answer::error(&ApiError::new(500, "InternalError", message))
}

async fn dispatch(
    app: &Arc<App>,
    asked: &Asked,
    route: &Route,
    body: Body,
    trail: Option<&mut Trail>,
) -> Done {
    let path = asked.uri.path();
    let anonymous = asked.caller.user == "system:anonymous";
    if anonymous && app.authorize(&asked.caller, "get", Target::Path(path)).is_err() {
        return Done::new(asked.verb(route), answer::error(&answer::unauthorized()));
    }
    let arrival = Arrival {
        user: &asked.caller.user,
        groups: &asked.caller.groups,
        info: asked.info(route),
        query: &asked.query,
        timeout: asked.query.timeout(app.options.request_timeout),
    };
    let admitted = app.fairness.enter(app.registry(), &arrival).await;
    let mut done = match &admitted.ticket {
        Ok(_seats) => handler(app, asked, route, body, trail).await,
        Err(refused) => Done::new(asked.verb(route), answer::error(refused)),
    };
    admitted.mark(&mut done.answer);
    done.waited = admitted.waited;
    done
}

async fn handler(
    app: &Arc<App>,
    asked: &Asked,
    route: &Route,
    body: Body,
    trail: Option<&mut Trail>,
) -> Done {
    if let Some(entry) = app.remote().of_path(asked.uri.path()) {
        return aggregate::handle(app, asked, (route, entry), body).await;
    }
    let body = match trail.filter(|trail| trail.wants_request()) {
        None => body,
        Some(trail) => match body::read(body).await {
            Ok(bytes) => {
                trail.request(&asked.headers, &bytes);
                Body::from(bytes)
            }
            Err(error) => return Done::new(asked.verb(route), answer::error(&error)),
        },
    };
    match route {
        Route::Resource(target) => resource::handle(app, asked, target, body).await,
        other => Done::new(asked.verb(route), document(app, asked, other).await),
    }
}

/// Paths that are no objects: all of them are only read.
async fn document(app: &Arc<App>, asked: &Asked, route: &Route) -> Answer {
    if let Err(reason) = app.authorize(&asked.caller, "get", Target::Path(asked.uri.path())) {
        return answer::error(&answer::forbidden_path(&reason));
    }
    if !asked.is_read() && *route != Route::Unknown {
        let mut refused = answer::error(&ApiError::method_not_allowed());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let verbose = asked.query.has("verbose");
    match route {
        Route::Health { endpoint, check } => {
            health::answer(app, endpoint, check.as_deref(), verbose)
        }
        Route::Version => app.described().documents.version(),
        Route::CaCerts => answer::with_type(
            StatusCode::OK,
            "application/x-pem-file",
            app.options.ca_pem.clone().into(),
        ),
        Route::Metrics => answer::with_type(
            StatusCode::OK,
            "text/plain; version=0.0.4",
            app.metrics_page().into(),
        ),
        Route::Index => index(),
        Route::TokenIssuer => token_issuer(app),
        Route::TokenKeys => token_keys(app),
        Route::OpenApiV2 => openapi_v2(app, asked),
        Route::OpenApiV3 { document: None } => {
            answer::uncached(answer::json(StatusCode::OK, app.described().openapi.index()))
        }
        Route::OpenApiV3 { document: Some(document) } => openapi_v3(app, document),
        Route::LegacyVersions => discovery(app, asked, true),
        Route::Groups => discovery(app, asked, false),
        Route::Group(group) => app.described().documents.group(group),
        Route::Resources { group, version } => {
            app.described().documents.resources(group.clone(), version.clone())
        }
        Route::Flows => flows::answer(app, asked).await.unwrap_or_else(|e| answer::error(&e)),
        Route::Resource(_) | Route::Unknown => answer::page_not_found(),
    }
}

fn discovery(app: &App, asked: &Asked, core: bool) -> Answer {
    match media::discovery(asked.accept()) {
        Ok(form) => app.described().documents.root(core, form, &asked.headers),
        Err(error) => answer::error(&error),
    }
}

fn openapi_v2(app: &App, asked: &Asked) -> Answer {
    if media::prefers_protobuf(asked.accept()) {
        let kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        return answer::with_type(StatusCode::OK, kind, app.described().openapi.v2_protobuf());
    }
    answer::json(StatusCode::OK, &app.described().openapi.v2_json())
}

fn openapi_v3(app: &App, document: &str) -> Answer {
    let described = app.described();
    let Some((bytes, hash)) = described.openapi.document(document) else {
        return answer::page_not_found();
    };
    let mut answer = answer::json_bytes(StatusCode::OK, bytes);
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        answer.headers_mut().insert(ETAG, etag);
    }
    answer.headers_mut().insert("cache-control", HeaderValue::from_static("public, immutable"));
    answer
}

/// OpenID Connect discovery 1.0, as far as upstream fills it in.
fn token_issuer(app: &App) -> Answer {
    if app.options.tokens.is_none() {
        return answer::page_not_found();
    }
    let keys = format!("https://{}/openid/v1/jwks", app.options.address);
    answer::json(
        StatusCode::OK,
        &serde_json::json!({
            "issuer": beeline_auth::service_account::ISSUER, "jwks_uri": keys,
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }),
    )
}

fn token_keys(app: &App) -> Answer {
    let Some(tokens) = &app.options.tokens else { return answer::page_not_found() };
    let keys = serde_json::to_vec(&tokens.key_set()).unwrap_or_default();
    answer::with_type(StatusCode::OK, "application/jwk-set+json", keys.into())
}

fn index() -> Answer {
    let paths = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/cacerts",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    answer::json(StatusCode::OK, &serde_json::json!({ "paths": paths }))
}

/// As metrics name it.
fn verb_of(method: &Method, query: &Query, route: &Route) -> &'static str {
    if let Route::Resource(at) = route {
        return Verb::of(method, query, at).map_or("OTHER", Verb::label);
    }
    match *method {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

/// Unique per process run; looks like the UUIDs that upstream sends.
fn new_audit_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let start = START.get_or_init(|| {
        let since =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        since.as_secs().wrapping_mul(1_000_003) ^ u64::from(std::process::id())
    });
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{:04x}-4000-8000-{:012x}", start >> 16 & 0xffff_ffff, start & 0xffff, next)
}
