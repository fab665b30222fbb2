//! Who may do what by rules that are built in: administrators, nodes, and beeline's own loops.
//!
//! In: a user, its groups and what it wants. Out: yes, or no in upstream's words. Pure; roles are another `Authorizer`.

/// What a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'a str,
    /// To what.
    pub target: Target<'a>,
}

/// The object of the wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// API objects.
    Resource {
        /// Empty for the core group.
        group: &'a str,
        /// Plural.
        resource: &'a str,
        /// `status`, `log`, `scale`; empty for the object itself.
        subresource: &'a str,
        /// Empty at cluster scope and across namespaces.
        namespace: &'a str,
        /// Empty for lists and for creates without a name.
        name: &'a str,
    },
    /// A path that is no object: `/healthz`, `/apis`.
    Path(&'a str),
}

/// Decides. One per server, asked for every request.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether `user`, being in `groups`, may do this. [`Attributes::denial`] says a no in upstream's words.
    fn allows(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> bool;
}

/// The group of beeline's own loops. No certificate may carry it: only callers in this process have it.
pub const IN_PROCESS_GROUP: &str = "beeline:in-process";

/// Fixed rules: administrators everything, beeline's own loops and nodes what they need.
#[derive(Debug, Clone, Copy, Default)]
pub struct StaticAuthorizer;

impl Authorizer for StaticAuthorizer {
    fn allows(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> bool {
        let is_in = |group: &str| groups.iter().any(|one| one == group);
        is_in("system:masters")
            || (is_in(IN_PROCESS_GROUP) && in_process_may(user, wanted))
            || (is_in("system:nodes") && node_may(user, wanted))
            || anyone_may(wanted)
    }
}

impl Attributes<'_> {
    fn is_read(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch")
    }

    /// Upstream's sentence.
    #[must_use]
    pub fn denial(&self, user: &str) -> String {
        let verb = self.verb;
        match self.target {
            Target::Path(path) => format!("User \"{user}\" cannot {verb} path \"{path}\""),
            Target::Resource { group, resource, subresource, namespace, .. } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                let place = match namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace \"{namespace}\""),
                };
                format!(
                    "User \"{user}\" cannot {verb} resource \"{resource}{slash}{subresource}\" in API group \"{group}\" {place}"
                )
            }
        }
    }
}

/// The scheduler places and reports; the other loops make and remove objects of every kind.
fn in_process_may(user: &str, wanted: &Attributes<'_>) -> bool {
    let Target::Resource { resource, subresource, .. } = wanted.target else {
        return wanted.is_read();
    };
    if user != "system:kube-scheduler" {
        return true;
    }
    match (resource, subresource) {
        ("secrets", _) => false,
        _ if wanted.is_read() => true,
        ("pods", "binding") | ("events" | "leases", "") => true,
        ("pods", "status") => matches!(wanted.verb, "update" | "patch"),
        _ => false,
    }
}

/// A node writes itself and its lease, and reads what any node may know. Pods, what they refer to and Events are not in
/// here: an authorizer sees no object, so it cannot tell one node's Pods from another's. The agent's own line can, and
/// all of an agent's work goes over it.
fn node_may(user: &str, wanted: &Attributes<'_>) -> bool {
    let Some(node) = user.strip_prefix("system:node:") else { return false };
    let Target::Resource { resource, subresource, namespace, name, .. } = wanted.target else {
        return false;
    };
    match (resource, subresource) {
        ("nodes", "" | "status") => {
            wanted.is_read() || (name == node && matches!(wanted.verb, "update" | "patch"))
        }
        ("leases", "") => namespace == "kube-node-lease" && name == node,
        ("services" | "endpoints" | "endpointslices" | "namespaces", "") => wanted.is_read(),
        _ => false,
    }
}

/// What a node fetches before it is anybody. All else that everybody may is in roles.
fn anyone_may(wanted: &Attributes<'_>) -> bool {
    wanted.verb == "get" && wanted.target == Target::Path("/cacerts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(user: &str, group: &str, verb: &str, what: &str, namespace: &str, name: &str) -> bool {
        let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
        let target = match what.starts_with('/') {
            true => Target::Path(what),
            false => Target::Resource { group: "", resource, subresource, namespace, name },
        };
        StaticAuthorizer.allows(user, &[group.to_owned()], &Attributes { verb, target })
    }

    #[test]
    fn administrators_may_everything_and_others_nothing() {
        assert!(may("kubernetes-admin", "system:masters", "delete", "secrets", "default", "x"));
        assert!(may("kubernetes-admin", "system:masters", "get", "/metrics", "", ""));
        assert!(!may("bob", "devs", "list", "pods", "default", ""));
        assert!(!may("bob", "devs", "get", "/metrics", "", ""));
        assert!(may("system:anonymous", "system:unauthenticated", "get", "/cacerts", "", ""));
        assert!(!may("system:anonymous", "system:unauthenticated", "get", "/healthz", "", ""));
    }

    #[test]
    fn a_node_writes_itself_only() {
        let node = |verb, what, namespace, name| {
            may("system:node:a", "system:nodes", verb, what, namespace, name)
        };
        assert!(node("patch", "nodes/status", "", "a") && !node("patch", "nodes/status", "", "b"));
        assert!(
            node("update", "leases", "kube-node-lease", "a")
                && !node("update", "leases", "kube-node-lease", "b")
        );
        assert!(node("list", "services", "", "") && !node("update", "services", "default", "s"));
        assert!(
            !node("delete", "nodes", "", "a") && !node("create", "deployments", "default", "d")
        );
        // What may be another node's.
        assert!(!node("create", "nodes", "", "b") && !node("get", "secrets", "default", "s"));
        assert!(!node("patch", "pods/status", "default", "p"));
        assert!(!node("delete", "pods", "default", "p") && !node("list", "pods", "", ""));
        assert!(!node("patch", "events", "default", "e"));
        assert!(!may("impostor", "system:nodes", "list", "pods", "", ""));
    }

    #[test]
    fn our_own_loops_do_their_work() {
        assert!(may(
            "system:kube-controller-manager",
            IN_PROCESS_GROUP,
            "create",
            "pods",
            "default",
            ""
        ));
        assert!(may(
            "system:kube-scheduler",
            IN_PROCESS_GROUP,
            "create",
            "pods/binding",
            "default",
            "p"
        ));
        assert!(!may("system:kube-scheduler", IN_PROCESS_GROUP, "delete", "pods", "default", "p"));
        assert!(!may("system:kube-scheduler", "other", "create", "pods/binding", "default", "p"));
    }

    #[test]
    fn no_is_said_in_upstreams_words() {
        let target = Target::Resource {
            group: "apps",
            resource: "deployments",
            subresource: "scale",
            namespace: "ns",
            name: "web",
        };
        assert_eq!(
            Attributes { verb: "patch", target }.denial("bob"),
            r#"User "bob" cannot patch resource "deployments/scale" in API group "apps" in the namespace "ns""#
        );
        let target = Target::Resource {
            group: "",
            resource: "nodes",
            subresource: "",
            namespace: "",
            name: "",
        };
        assert_eq!(
            Attributes { verb: "list", target }.denial("bob"),
            r#"User "bob" cannot list resource "nodes" in API group "" at the cluster scope"#
        );
        assert_eq!(
            Attributes { verb: "get", target: Target::Path("/metrics") }.denial("bob"),
            r#"User "bob" cannot get path "/metrics""#
        );
    }
}
