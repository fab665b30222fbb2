//! Who may do what by rules that are built in: administrators, and beeline's own loops.
//!
//! In: a user, its groups and what it wants. Out: yes, or no in upstream's words. Pure; roles and nodes are other `Authorizer`s.

/// What a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'a str,
    /// To what.
    pub target: Target<'a>,
    /// The one node whose objects a list or watch selects; empty if it does not.
    pub node_selected: &'a str,
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

    /// What more there is to say of a no.
    fn reason(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> Option<String> {
        let _ = (user, groups, wanted);
        None
    }

    /// By what it is allowed, for the audit log; empty where that is built in, or it is not allowed.
    fn allowed_by(&self, _user: &str, _groups: &[String], _wanted: &Attributes<'_>) -> String {
        String::new()
    }
}

/// The group of beeline's own loops. No certificate may carry it: only callers in this process have it.
pub const IN_PROCESS_GROUP: &str = "beeline:in-process";

/// Fixed rules: administrators everything, beeline's own loops what they need.
#[derive(Debug, Clone, Copy, Default)]
pub struct StaticAuthorizer;

impl Authorizer for StaticAuthorizer {
    fn allows(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> bool {
        let is_in = |group: &str| groups.iter().any(|one| one == group);
        is_in("system:masters")
            || (is_in(IN_PROCESS_GROUP) && in_process_may(user, wanted))
            || anyone_may(wanted)
    }
}

impl<'a> Attributes<'a> {
    /// Without a selection.
    #[must_use]
    pub fn new(verb: &'a str, target: Target<'a>) -> Self {
        Self { verb, target, node_selected: "" }
    }

    /// The no of an authorizer, with its reason if it has one.
    #[must_use]
    pub fn denial_by(&self, by: &dyn Authorizer, user: &str, groups: &[String]) -> String {
        let said = self.denial(user);
        match by.reason(user, groups, self) {
            Some(why) => format!("{said}: {why}"),
            None => said,
        }
    }

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
        StaticAuthorizer.allows(user, &[group.to_owned()], &Attributes::new(verb, target))
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
            Attributes::new("patch", target).denial("bob"),
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
            Attributes::new("list", target).denial("bob"),
            r#"User "bob" cannot list resource "nodes" in API group "" at the cluster scope"#
        );
        assert_eq!(
            Attributes::new("get", Target::Path("/metrics")).denial("bob"),
            r#"User "bob" cannot get path "/metrics""#
        );
    }
}
