//! Requests about objects: which verb, which options, which shape of answer.

use std::sync::Arc;

use axum::body::Body;
use beeline_api::{ApiError, KindInfo, status};
use beeline_registry::{Deleted, Object, Patch, Subresource, Target, Warnings};
use bytes::Bytes;
use http::{Method, StatusCode};

use crate::answer::{self, Answer};
use crate::app::App;
use crate::media::{self, Form};
use crate::query::Query;
use crate::render::Renderer;
use crate::review::{self, ReviewInfo};
use crate::route::ResourcePath;
use crate::service::{Asked, Done};
use crate::{body, logs, tokens, watch};

/// What a method means on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) fn of(method: &Method, query: &Query, path: &ResourcePath) -> Option<Self> {
        let named = path.name.is_some();
        let watch = path.subresource.is_none() && (path.legacy_watch || query.flag("watch"));
        Some(match *method {
            Method::GET | Method::HEAD if watch => Self::Watch,
            Method::GET | Method::HEAD if named => Self::Get,
            Method::GET | Method::HEAD => Self::List,
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE if named => Self::Delete,
            Method::DELETE => Self::DeleteCollection,
            _ => return None,
        })
    }

    /// As the kind's table of verbs has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// As metrics name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::List => "LIST",
            Self::Watch => "WATCH",
            Self::Create => "POST",
            Self::Update => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::DeleteCollection => "DELETECOLLECTION",
        }
    }
}

/// The verb of a request, as access is decided by and as metrics name it.
pub(crate) fn verb(asked: &Asked, path: &ResourcePath) -> Option<(&'static str, &'static str)> {
    Verb::of(&asked.method, &asked.query, path).map(|verb| (verb.name(), verb.label()))
}

/// Answers a request about an object, a collection or a part of an object.
pub(crate) async fn handle(app: &Arc<App>, asked: &Asked, path: &ResourcePath, body: Body) -> Done {
    let Some(verb) = Verb::of(&asked.method, &asked.query, path) else {
        return Done::new("OTHER", answer::error(&ApiError::method_not_allowed()));
    };
    let label = verb.label();
    if let Some(info) = review::find(&path.group, &path.version, &path.resource) {
        return Done::new(label, or_error(review_answer(app, asked, info, verb, path, body).await));
    }
    let Some(kind) = app.registry().kinds().by_resource(&path.group, &path.version, &path.resource)
    else {
        return Done::new(label, answer::page_not_found());
    };
    let scoped_wrong = if kind.namespaced {
        path.name.is_some() && path.namespace.is_none()
    } else {
        path.namespace.is_some()
    };
    if scoped_wrong {
        return Done::new(label, answer::page_not_found());
    }
    if kind.plural == "pods" && path.subresource.as_deref() == Some("log") && verb == Verb::Get {
        let answer = or_error(logs::answer(app, asked, kind, path).await);
        return Done::stream("CONNECT", answer);
    }
    if kind.plural == "serviceaccounts" && path.subresource.as_deref() == Some("token") {
        return Done::new(label, or_error(token_answer(app, asked, verb, path, body).await));
    }
    match target(kind, path, verb) {
        Ok(target) if verb == Verb::Watch => {
            let answer = or_error(watch::answer(app, asked, &target).await);
            Done::stream(label, answer)
        }
        Ok(target) => Done::new(label, or_error(perform(app, asked, verb, &target, body).await)),
        Err(error) => Done::new(label, answer::error(&error)),
    }
}

fn or_error(result: Result<Answer, ApiError>) -> Answer {
    result.unwrap_or_else(|error| answer::error(&error))
}

/// Checks that the verb is offered there.
fn target(kind: &'static KindInfo, path: &ResourcePath, verb: Verb) -> Result<Target, ApiError> {
    let (namespace, name) = (path.namespace.clone(), path.name.clone());
    let mut target = Target { kind, namespace, name, subresource: None };
    let verbs = match &path.subresource {
        None => kind.verbs,
        Some(name) => {
            let sub = kind.subresource(name).ok_or_else(ApiError::no_such_resource)?;
            target.subresource = Subresource::parse(name);
            if target.subresource.is_none() {
                return Err(ApiError::method_not_allowed());
            }
            sub.verbs
        }
    };
    // Creating under a name is for parts only, and collections of all namespaces are read only.
    let shape_fits = match verb {
        Verb::Create => {
            target.subresource.is_some() == target.name.is_some()
                && (!kind.namespaced || target.namespace.is_some())
        }
        Verb::Update | Verb::Patch => target.name.is_some(),
        Verb::DeleteCollection => !kind.namespaced || target.namespace.is_some(),
        Verb::Get | Verb::List | Verb::Watch | Verb::Delete => true,
    };
    if shape_fits && verbs.contains(&verb.name()) {
        Ok(target)
    } else {
        Err(ApiError::method_not_allowed())
    }
}

async fn perform(
    app: &App,
    asked: &Asked,
    verb: Verb,
    target: &Target,
    body: Body,
) -> Result<Answer, ApiError> {
    let form = media::form(asked.accept())?;
    let renderer = Renderer::new(target.kind, form, &asked.query)?;
    let registry = app.registry();
    let caller = &asked.caller;
    match verb {
        Verb::Get => Ok(object(&renderer, StatusCode::OK, &*registry.get(caller, target).await?)),
        Verb::List => {
            let list = registry.list(caller, target, &asked.query.list(target.kind)?).await?;
            Ok(found(renderer.list(&list)))
        }
        Verb::Create => create(app, asked, target, &renderer, body).await,
        Verb::Update => update(app, asked, target, &renderer, body).await,
        Verb::Patch => patch(app, asked, target, &renderer, body).await,
        Verb::Delete => {
            let sent = body::delete_options(&asked.headers, &body::read(body).await?)?;
            let options = asked.query.delete(sent.as_ref())?;
            let gone = registry.delete(caller, target, &options).await?;
            Ok(warned(deleted(target.kind, &renderer, &gone), &options.warnings))
        }
        Verb::DeleteCollection => {
            let sent = body::delete_options(&asked.headers, &body::read(body).await?)?;
            let (options, which) =
                (asked.query.delete(sent.as_ref())?, asked.query.list(target.kind)?);
            let list = registry.delete_collection(caller, target, &options, &which).await?;
            Ok(warned(found(renderer.list(&list)), &options.warnings))
        }
        Verb::Watch => Err(ApiError::internal("a watch is not answered here")),
    }
}

async fn create(
    app: &App,
    asked: &Asked,
    target: &Target,
    renderer: &Renderer,
    body: Body,
) -> Result<Answer, ApiError> {
    let mut options = asked.query.write()?;
    let parsed = object_body(asked, target, &body::read(body).await?)?;
    options.duplicates = parsed.duplicates;
    let made = app.registry().create(&asked.caller, target, parsed.value, &options).await?;
    Ok(warned(object(renderer, StatusCode::CREATED, &made), &options.warnings))
}

async fn update(
    app: &App,
    asked: &Asked,
    target: &Target,
    renderer: &Renderer,
    body: Body,
) -> Result<Answer, ApiError> {
    let mut options = asked.query.write()?;
    let parsed = object_body(asked, target, &body::read(body).await?)?;
    options.duplicates = parsed.duplicates;
    let code = if target.kind.create_on_update {
        created_unless_known(app, target)
    } else {
        StatusCode::OK
    };
    let made = app.registry().update(&asked.caller, target, parsed.value, &options).await?;
    Ok(warned(object(renderer, code, &made), &options.warnings))
}

async fn patch(
    app: &App,
    asked: &Asked,
    target: &Target,
    renderer: &Renderer,
    body: Body,
) -> Result<Answer, ApiError> {
    let mut options = asked.query.write()?;
    let (patch, duplicates) = body::patch(&asked.headers, &body::read(body).await?)?;
    options.duplicates = duplicates;
    let code = if matches!(patch, Patch::Apply(_)) {
        created_unless_known(app, target)
    } else {
        StatusCode::OK
    };
    let made = app.registry().patch(&asked.caller, target, patch, &options).await?;
    Ok(warned(object(renderer, code, &made), &options.warnings))
}

fn object_body(
    asked: &Asked,
    target: &Target,
    bytes: &Bytes,
) -> Result<beeline_api::decode::Parsed, ApiError> {
    let part = target.subresource.and_then(|sub| target.kind.subresource(sub.name()));
    let api_version = match part.and_then(|p| p.group_version) {
        Some((group, version)) => crate::discovery::group_version(group, version),
        None => target.kind.api_version(),
    };
    let kind = part.map_or(target.kind.kind, |p| p.kind);
    body::object(&asked.headers, bytes, (&api_version, kind))
}

/// The registry says what the object is now, not whether it was there before.
fn created_unless_known(app: &App, target: &Target) -> StatusCode {
    let name = target.name.as_deref().unwrap_or_default();
    match app.registry().cached(target.kind, target.namespace.as_deref(), name) {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    }
}

fn object(renderer: &Renderer, code: StatusCode, object: &Object) -> Answer {
    answer::uncached(answer::json_bytes(code, renderer.object(object)))
}

fn found(bytes: Bytes) -> Answer {
    answer::uncached(answer::json_bytes(StatusCode::OK, bytes))
}

/// What is gone is told as a `Status`; what only begins to go is shown.
fn deleted(kind: &KindInfo, renderer: &Renderer, deleted: &Deleted) -> Answer {
    match deleted {
        Deleted::Pending(held) => object(renderer, StatusCode::OK, held),
        Deleted::Gone(last) if renderer.form() == Form::Object => answer::uncached(answer::json(
            StatusCode::OK,
            &status::success(kind, last.name(), last.uid()),
        )),
        Deleted::Gone(last) => object(renderer, StatusCode::OK, last),
    }
}

fn warned(mut answer: Answer, warnings: &Warnings) -> Answer {
    answer::warn(&mut answer, warnings.take());
    answer
}

async fn review_answer(
    app: &App,
    asked: &Asked,
    info: &ReviewInfo,
    verb: Verb,
    path: &ResourcePath,
    body: Body,
) -> Result<Answer, ApiError> {
    if verb != Verb::Create || path.name.is_some() {
        return Err(ApiError::method_not_allowed());
    }
    if info.namespaced != path.namespace.is_some() {
        return Err(ApiError::no_such_resource());
    }
    let bytes = body::read(body).await?;
    let parsed = body::object(&asked.headers, &bytes, (&info.api_version(), info.kind))?;
    let value = review::answer(app, info, &asked.caller, path.namespace.as_deref(), parsed.value)?;
    Ok(answer::uncached(answer::json(StatusCode::CREATED, &value)))
}

async fn token_answer(
    app: &App,
    asked: &Asked,
    verb: Verb,
    path: &ResourcePath,
    body: Body,
) -> Result<Answer, ApiError> {
    if verb != Verb::Create {
        return Err(ApiError::method_not_allowed());
    }
    let bytes = body::read(body).await?;
    let default = ("authentication.k8s.io/v1", "TokenRequest");
    let parsed = body::object(&asked.headers, &bytes, default)?;
    let value = tokens::answer(app, asked, path, parsed.value)?;
    Ok(answer::uncached(answer::json(StatusCode::CREATED, &value)))
}
