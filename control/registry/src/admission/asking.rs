//! Asking those outside about one write: mutating webhooks one after the other, then policies and validating webhooks.
//!
//! In: a write, those it may concern, and its objects in any version. Out: the object as they want it, or the first refusal.
//! Objects are shown to each in the version that its rules name, and come back in the version they had.

use std::sync::Arc;

use beeline_api::kinds::NAMESPACE;
use beeline_api::{ApiError, KindInfo, decode, patch};
use serde_json::Value;

use super::index::Chosen;
use super::matching::{Matcher, Wanted};
use super::request::{By, Operation, Request, write_options};
use super::webhook::Webhook;
use crate::options::{Caller, Subresource, Target, Warnings, WriteOptions};
use crate::registry::Registry;
use crate::views;

/// What a change of the object is followed by: the built-in part of admission.
pub(crate) type Again<'a> = &'a (dyn Fn(&mut Value) -> Result<(), ApiError> + Sync);

/// One write, and whom to ask.
pub(crate) struct Asking<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) request: Request<'a>,
    pub(crate) chosen: Arc<Chosen>,
    /// The version that the objects are in.
    pub(crate) form: &'static KindInfo,
    pub(crate) old: Option<&'a Value>,
    pub(crate) warnings: &'a Warnings,
}

/// Whom to ask about a write, if there is anybody.
pub(crate) fn about<'a>(
    registry: &'a Registry,
    by: By<'a>,
    target: &Target,
    (operation, namespace, name): (Operation, &'a str, &'a str),
    old: Option<&'a Value>,
    o: &'a WriteOptions,
) -> Option<Asking<'a>> {
    let asked = by.asked?;
    let part = target.subresource.map_or("", Subresource::name);
    let inner = &registry.inner;
    let chosen = inner.outside.chosen(&inner.cache, asked.kind, part, operation)?;
    // Namespaces are in themselves, once they are there.
    let in_itself = *target.kind == NAMESPACE && operation != Operation::Create;
    let request = Request {
        operation,
        caller: by.caller,
        resource: asked.kind,
        subresource: part,
        namespace: if in_itself { name } else { namespace },
        name,
        options: write_options(asked.options, o),
        dry_run: o.dry_run,
        access: &inner.access,
    };
    Some(Asking { registry, request, chosen, form: target.kind, old, warnings: &o.warnings })
}

/// Asks about an object that is not stored itself: a Binding, an Eviction, a Scale.
pub(crate) async fn ask_about(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    (operation, options): (Operation, &'static str),
    (object, old): (&mut Value, Option<&Value>),
    o: &WriteOptions,
) -> Result<(), ApiError> {
    let by = By::of(caller, target.kind, options);
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let name = target.name.as_deref().unwrap_or_default();
    let Some(asking) = about(registry, by, target, (operation, namespace, name), old, o) else {
        return Ok(());
    };
    asking.mutate(object, &|_| Ok(())).await?;
    asking.validate(Some(object)).await
}

impl Asking<'_> {
    /// Lets mutating webhooks change the object. Those that want to see what came after them are asked once more.
    pub(crate) async fn mutate(
        &self,
        object: &mut Value,
        again: Again<'_>,
    ) -> Result<(), ApiError> {
        let (mut changed, mut earlier, mut due) = (false, Vec::new(), Vec::new());
        for (i, hook) in self.chosen.mutating.iter().enumerate() {
            let Some(did_change) = self.mutate_by(hook, object).await? else { continue };
            if did_change {
                changed = true;
                due.append(&mut earlier);
            }
            if hook.reinvoked {
                earlier.push(i);
            }
        }
        if !changed {
            return Ok(());
        }
        let before = object.clone();
        again(object)?;
        if *object != before {
            due.append(&mut earlier);
        }
        for i in due {
            self.mutate_by(&self.chosen.mutating[i], object).await?;
        }
        again(object)
    }

    /// Whether the webhook changed the object; None if it was not asked.
    async fn mutate_by(
        &self,
        hook: &Webhook,
        object: &mut Value,
    ) -> Result<Option<bool>, ApiError> {
        let Some(kind) = self.wanted_by(&hook.matcher, Some(object)) else { return Ok(None) };
        let (seen, old) = (self.seen(kind, object).await?, self.old_seen(kind).await?);
        let objects = (Some(&seen), old.as_ref());
        if !hook.cares(&self.request, kind, objects)? {
            return Ok(None);
        }
        let asked = hook.ask(self.registry, &self.request, kind, objects, self.warnings).await?;
        let Some(wanted) = asked else { return Ok(Some(false)) };
        let mut made = patch::json(seen, &wanted).map_err(ApiError::internal)?;
        if made["kind"] == kind.kind {
            decode::fields(kind, &mut made, &[]).map_err(ApiError::internal)?;
            made = self.restored(kind, made).await?;
            self.form.fill(&mut made);
        }
        let changed = *object != made;
        *object = made;
        Ok(Some(changed))
    }

    /// Asks about the end of an object: nobody can change it.
    pub(crate) async fn delete(&self) -> Result<(), ApiError> {
        for hook in &self.chosen.mutating {
            let Some(kind) = self.wanted_by(&hook.matcher, None) else { continue };
            let old = self.old_seen(kind).await?;
            let objects = (None, old.as_ref());
            if !hook.cares(&self.request, kind, objects)? {
                continue;
            }
            let asked =
                hook.ask(self.registry, &self.request, kind, objects, self.warnings).await?;
            // An empty patch changes nothing.
            if asked.is_some_and(|patch| patch.as_array().is_none_or(|steps| !steps.is_empty())) {
                return Err(hook.may_not_modify());
            }
        }
        self.validate(None).await
    }

    /// Asks policies, then all validating webhooks at once.
    pub(crate) async fn validate(&self, object: Option<&Value>) -> Result<(), ApiError> {
        let mut refused = None;
        for policy in &self.chosen.policies {
            let Some(kind) = self.wanted_by(&policy.matcher, object) else { continue };
            let seen = match object {
                Some(object) => Some(self.seen(kind, object).await?),
                None => None,
            };
            let old = self.old_seen(kind).await?;
            let of_binding = |matcher: &Matcher| self.wanted_by(matcher, object).is_some();
            let objects = (seen.as_ref(), old.as_ref());
            let found = policy.judge(self, kind, objects, &of_binding);
            // All are asked, since others may warn.
            refused = refused.or(found);
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        let asked = self.chosen.validating.iter().map(|hook| self.validate_by(hook, object));
        futures::future::join_all(asked).await.into_iter().collect()
    }

    async fn validate_by(&self, hook: &Webhook, object: Option<&Value>) -> Result<(), ApiError> {
        let Some(kind) = self.wanted_by(&hook.matcher, object) else { return Ok(()) };
        let seen = match object {
            Some(object) => Some(self.seen(kind, object).await?),
            None => None,
        };
        let old = self.old_seen(kind).await?;
        let objects = (seen.as_ref(), old.as_ref());
        if hook.cares(&self.request, kind, objects)? {
            hook.ask(self.registry, &self.request, kind, objects, self.warnings).await?;
        }
        Ok(())
    }

    /// The version in which somebody wants the object, if rules and selectors say so.
    fn wanted_by(&self, matcher: &Matcher, object: Option<&Value>) -> Option<&'static KindInfo> {
        let Request { resource, subresource, operation, name, .. } = self.request;
        let wanted = Wanted { kind: resource, subresource, operation, name: Some(name) };
        let kind = matcher.kind(&self.registry.kinds(), wanted)?;
        let fits = matcher.selects_object(object, self.old) && self.of_namespace(matcher, object);
        fits.then_some(kind)
    }

    /// Namespaces have their own labels, what is in one has its, and what is in none is in all.
    fn of_namespace(&self, matcher: &Matcher, object: Option<&Value>) -> bool {
        if matcher.any_namespace() {
            return true;
        }
        if *self.request.resource == NAMESPACE {
            let labelled =
                object.filter(|_| self.request.operation != Operation::Delete).or(self.old);
            let labels = labelled.and_then(|namespace| namespace["metadata"]["labels"].as_object());
            return matcher.selects_namespace(labels);
        }
        if self.request.namespace.is_empty() {
            return true;
        }
        let namespace = self.registry.cached(&NAMESPACE, None, self.request.namespace);
        matcher.selects_namespace(namespace.as_ref().and_then(|namespace| namespace.labels()))
    }

    async fn seen(&self, kind: &KindInfo, object: &Value) -> Result<Value, ApiError> {
        views::value(self.registry, kind, object).await
    }

    async fn old_seen(&self, kind: &KindInfo) -> Result<Option<Value>, ApiError> {
        match self.old {
            Some(old) => self.seen(kind, old).await.map(Some),
            None => Ok(None),
        }
    }

    /// Back in the version that the object had.
    async fn restored(&self, kind: &KindInfo, made: Value) -> Result<Value, ApiError> {
        match kind.view {
            Some(view) if kind.custom.is_none() && *self.form != *kind => Ok((view.write)(&made)),
            _ if self.form.custom.is_some() => self.seen(self.form, &made).await,
            _ => Ok(made),
        }
    }
}
