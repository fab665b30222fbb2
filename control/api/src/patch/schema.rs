//! How lists and maps merge, as data: merge keys, sets, atomic parts, retained keys.
//!
//! One table serves strategic merge patch (`key`) and server-side apply (`keys`). What a table does not list is a
//! granular map, or a list replaced as a whole.

/// Rules of the fields of one object.
#[derive(Debug)]
pub struct Fields(pub &'static [(&'static str, Rule)]);

/// Rules by reference: tables refer to each other.
pub type Schema = &'static Fields;

/// How one field merges.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// An object with rules of its own.
    Object(Schema),
    /// The same; strategic patches may name the keys to retain.
    RetainKeys(Schema),
    /// A list of objects, merged by key.
    List {
        /// Key of strategic merge patch.
        key: &'static str,
        /// Keys of server-side apply.
        keys: &'static [&'static str],
        /// Rules of its items.
        item: Schema,
    },
    /// As `List` for strategic patches, replaced as a whole by apply.
    PatchList {
        /// Key of strategic merge patch.
        key: &'static str,
        /// Rules of its items.
        item: Schema,
    },
    /// A list of scalars without duplicates.
    Set,
    /// A map owned as a whole by apply; strategic patches still merge it.
    Atomic,
    /// Replaced as a whole by both.
    Replace,
}

impl Fields {
    /// Rule of a field.
    pub fn rule(&self, field: &str) -> Option<Rule> {
        self.0.iter().find(|(name, _)| *name == field).map(|(_, rule)| *rule)
    }
}

/// No rules.
pub static PLAIN: Fields = Fields(&[]);

const fn list(key: &'static str, keys: &'static [&'static str], item: Schema) -> Rule {
    Rule::List { key, keys, item }
}

static META: Fields =
    Fields(&[("finalizers", Rule::Set), ("ownerReferences", list("uid", &["uid"], &PLAIN))]);
static ENV: Fields = Fields(&[("valueFrom", Rule::Object(&ENV_SOURCE))]);
static ENV_SOURCE: Fields = Fields(&[
    ("configMapKeyRef", Rule::Atomic),
    ("secretKeyRef", Rule::Atomic),
    ("fieldRef", Rule::Atomic),
    ("resourceFieldRef", Rule::Atomic),
]);
static RESOURCES: Fields = Fields(&[("claims", list("name", &["name"], &PLAIN))]);
static CONTAINER: Fields = Fields(&[
    ("env", list("name", &["name"], &ENV)),
    ("ports", list("containerPort", &["containerPort", "protocol"], &PLAIN)),
    ("volumeMounts", list("mountPath", &["mountPath"], &PLAIN)),
    ("volumeDevices", list("devicePath", &["devicePath"], &PLAIN)),
    ("resources", Rule::Object(&RESOURCES)),
]);
static POD_SPEC: Fields = Fields(&[
    ("containers", list("name", &["name"], &CONTAINER)),
    ("initContainers", list("name", &["name"], &CONTAINER)),
    ("ephemeralContainers", list("name", &["name"], &CONTAINER)),
    ("imagePullSecrets", list("name", &["name"], &PLAIN)),
    ("schedulingGates", list("name", &["name"], &PLAIN)),
    ("volumes", list("name", &["name"], &PLAIN)),
    ("resourceClaims", list("name", &["name"], &PLAIN)),
    ("hostAliases", list("ip", &["ip"], &PLAIN)),
    (
        "topologySpreadConstraints",
        list("topologyKey", &["topologyKey", "whenUnsatisfiable"], &PLAIN),
    ),
    ("nodeSelector", Rule::Atomic),
]);
static TEMPLATE: Fields =
    Fields(&[("metadata", Rule::Object(&META)), ("spec", Rule::Object(&POD_SPEC))]);
static CONDITIONS: Fields = Fields(&[("conditions", list("type", &["type"], &PLAIN))]);
static DEPLOYMENT_SPEC: Fields = Fields(&[
    ("template", Rule::Object(&TEMPLATE)),
    ("strategy", Rule::RetainKeys(&PLAIN)),
    ("selector", Rule::Atomic),
]);
static SERVICE_SPEC: Fields =
    Fields(&[("ports", list("port", &["port", "protocol"], &PLAIN)), ("selector", Rule::Atomic)]);
static NODE_SPEC: Fields = Fields(&[("podCIDRs", Rule::Set)]);
static NODE_STATUS: Fields = Fields(&[
    ("addresses", list("type", &["type"], &PLAIN)),
    ("conditions", list("type", &["type"], &PLAIN)),
]);

/// Kinds with nothing but metadata rules.
pub static OBJECT: Fields = Fields(&[("metadata", Rule::Object(&META))]);
/// Pod.
pub static POD: Fields = Fields(&[
    ("metadata", Rule::Object(&META)),
    ("spec", Rule::Object(&POD_SPEC)),
    ("status", Rule::Object(&POD_STATUS)),
]);
static POD_STATUS: Fields = Fields(&[
    ("conditions", list("type", &["type"], &PLAIN)),
    ("podIPs", list("ip", &["ip"], &PLAIN)),
    ("hostIPs", Rule::PatchList { key: "ip", item: &PLAIN }),
    ("resourceClaimStatuses", list("name", &["name"], &PLAIN)),
]);
/// Deployment and ReplicaSet.
pub static WORKLOAD: Fields = Fields(&[
    ("metadata", Rule::Object(&META)),
    ("spec", Rule::Object(&DEPLOYMENT_SPEC)),
    ("status", Rule::Object(&CONDITIONS)),
]);
/// Service.
pub static SERVICE: Fields = Fields(&[
    ("metadata", Rule::Object(&META)),
    ("spec", Rule::Object(&SERVICE_SPEC)),
    ("status", Rule::Object(&CONDITIONS)),
]);
/// ServiceAccount.
pub static SERVICE_ACCOUNT: Fields = Fields(&[
    ("metadata", Rule::Object(&META)),
    ("secrets", list("name", &["name"], &PLAIN)),
    ("imagePullSecrets", Rule::Replace),
]);
/// Node.
pub static NODE: Fields = Fields(&[
    ("metadata", Rule::Object(&META)),
    ("spec", Rule::Object(&NODE_SPEC)),
    ("status", Rule::Object(&NODE_STATUS)),
]);
/// Namespace.
pub static NAMESPACE: Fields =
    Fields(&[("metadata", Rule::Object(&META)), ("status", Rule::Object(&CONDITIONS))]);
