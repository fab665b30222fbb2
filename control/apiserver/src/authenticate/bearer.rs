//! Bearer tokens: of service accounts, and of nodes that join by upstream's bootstrap tokens.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::kinds::{NODE, POD, SECRET, SERVICE_ACCOUNT};
use beeline_api::{KindInfo, meta, time};
use beeline_auth::Identity;
use beeline_auth::service_account::{Claims, Issuer, Reference};
use beeline_registry::Object;
use serde_json::Value;

use crate::app::App;

/// A token that is good.
pub(crate) struct Checked {
    pub(crate) identity: Identity,
    /// Those of the wanted audiences that it is for.
    pub(crate) audiences: Vec<String>,
}

/// Whom a token speaks for; why not, for the log.
pub(crate) fn check(app: &App, token: &str, audiences: &[String]) -> Result<Checked, String> {
    if Issuer::looks_like_one(token) {
        return service_account(app, token, audiences);
    }
    let identity = bootstrap(app, token)?;
    Ok(Checked { identity, audiences: audiences.to_vec() })
}

fn service_account(app: &App, token: &str, audiences: &[String]) -> Result<Checked, String> {
    let issuer = app.options.tokens.as_ref().ok_or("there are no service account tokens here")?;
    let claims =
        issuer.verify(token, audiences, SystemTime::now()).map_err(|error| error.to_string())?;
    still_there(app, &claims)?;
    let shared = audiences.iter().filter(|one| claims.aud.contains(one)).cloned().collect();
    Ok(Checked { identity: claims.identity(), audiences: shared })
}

/// A token ends with its account and with what it is bound to.
fn still_there(app: &App, claims: &Claims) -> Result<(), String> {
    let bound = &claims.bound;
    let namespace = Some(bound.namespace.as_str());
    exists(app, &SERVICE_ACCOUNT, namespace, &bound.serviceaccount)?;
    if let Some(pod) = &bound.pod {
        exists(app, &POD, namespace, pod)?;
    }
    if let Some(secret) = &bound.secret {
        exists(app, &SECRET, namespace, secret)?;
    }
    // A Pod's token names its node for information; one bound to a node alone ends with it.
    match &bound.node {
        Some(node) if bound.pod.is_none() => exists(app, &NODE, None, node),
        _ => Ok(()),
    }
}

fn exists(
    app: &App,
    kind: &'static KindInfo,
    namespace: Option<&str>,
    wanted: &Reference,
) -> Result<(), String> {
    match app.registry().cached(kind, namespace, &wanted.name) {
        Some(object) if object.uid() == wanted.uid => Ok(()),
        Some(_) => Err(format!("{} {} is another one by now", kind.kind, wanted.name)),
        None => Err(format!("{} {} is gone", kind.kind, wanted.name)),
    }
}

/// `id.secret` as Secret `bootstrap-token-<id>` in `kube-system` has it.
fn bootstrap(app: &App, token: &str) -> Result<Identity, String> {
    let is_word = |text: &str, length: usize| {
        text.len() == length
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let (id, secret) = token.split_once('.').ok_or("it has no known form")?;
    if !is_word(id, 6) || !is_word(secret, 16) {
        return Err("it has no known form".to_owned());
    }
    let name = format!("bootstrap-token-{id}");
    let stored = app
        .registry()
        .cached(&SECRET, Some("kube-system"), &name)
        .filter(|stored| is_usable(stored))
        .ok_or("there is no such bootstrap token")?;
    if field(&stored, "token-id") != id || !same(&field(&stored, "token-secret"), secret) {
        return Err("there is no such bootstrap token".to_owned());
    }
    let mut identity = Identity::new(&format!("system:bootstrap:{id}"), ["system:bootstrappers"]);
    let more = field(&stored, "auth-extra-groups");
    let more = more.split(',').map(str::trim).filter(|g| g.starts_with("system:bootstrappers:"));
    identity.groups.extend(more.map(str::to_owned));
    Ok(identity)
}

/// Of the right type, meant for this, and not past its time.
fn is_usable(stored: &Object) -> bool {
    let expiration = field(stored, "expiration");
    let in_time = expiration.is_empty()
        || time::parse(&expiration)
            .is_some_and(|until| until > time::from_system(SystemTime::now()));
    stored.value["type"] == "bootstrap.kubernetes.io/token"
        && !meta::deleting(&stored.value)
        && field(stored, "usage-bootstrap-authentication") == "true"
        && in_time
}

fn field(stored: &Object, key: &str) -> String {
    let encoded = stored.value["data"].get(key).and_then(Value::as_str).unwrap_or_default();
    let decoded = STANDARD.decode(encoded).unwrap_or_default();
    String::from_utf8(decoded).unwrap_or_default()
}

/// Takes the same time whatever differs.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
