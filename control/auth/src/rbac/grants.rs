//! Roles, bindings, and the index from a subject to the bindings that name it.

use std::collections::{BTreeSet, HashMap};

use super::Rule;
use crate::access::{Attributes, Target};
use crate::service_account::USER_PREFIX;

/// A name at cluster scope, or in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scoped {
    /// Empty at cluster scope.
    pub namespace: String,
    /// The object's.
    pub name: String,
}

impl Scoped {
    /// Of the cluster.
    #[must_use]
    pub fn cluster(name: &str) -> Self {
        Self { namespace: String::new(), name: name.to_owned() }
    }

    /// Of a namespace.
    #[must_use]
    pub fn within(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// Who a binding speaks of. Service accounts are users by their names `system:serviceaccount:NAMESPACE:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// By user name.
    User(String),
    /// All of a group.
    Group(String),
}

/// Which role its subjects have, where the binding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Who.
    pub subjects: Vec<Subject>,
    /// What. A role of the binding's namespace, or of the cluster.
    pub role: Scoped,
}

/// All roles and bindings of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    roles: HashMap<Scoped, Vec<Rule>>,
    bindings: HashMap<Scoped, Binding>,
    by_subject: HashMap<Subject, BTreeSet<Scoped>>,
}

impl Grants {
    /// A role as it is now; `None` when it is gone.
    pub fn set_role(&mut self, key: Scoped, rules: Option<Vec<Rule>>) {
        match rules {
            Some(rules) => drop(self.roles.insert(key, rules)),
            None => drop(self.roles.remove(&key)),
        }
    }

    /// A binding as it is now; `None` when it is gone.
    pub fn set_binding(&mut self, key: Scoped, binding: Option<Binding>) {
        if let Some(old) = self.bindings.remove(&key) {
            for subject in &old.subjects {
                self.unindex(subject, &key);
            }
        }
        let Some(binding) = binding else { return };
        for subject in &binding.subjects {
            self.by_subject.entry(subject.clone()).or_default().insert(key.clone());
        }
        self.bindings.insert(key, binding);
    }

    fn unindex(&mut self, subject: &Subject, key: &Scoped) {
        let Some(keys) = self.by_subject.get_mut(subject) else { return };
        keys.remove(key);
        if keys.is_empty() {
            self.by_subject.remove(subject);
        }
    }

    #[cfg(test)]
    pub(super) fn by_subject_is_empty(&self) -> bool {
        self.by_subject.is_empty()
    }

    /// The rules of a role, if there is one.
    #[must_use]
    pub fn role(&self, key: &Scoped) -> Option<&[Rule]> {
        self.roles.get(key).map(Vec::as_slice)
    }

    /// What a user in these groups holds in a namespace, or, where that is empty, in the whole cluster.
    pub fn rules<'a>(
        &'a self,
        user: &str,
        groups: &[String],
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Rule> + use<'a> {
        let groups = groups.iter().map(|group| Subject::Group(group.clone()));
        let subjects: Vec<Subject> = groups.chain([Subject::User(user.to_owned())]).collect();
        subjects
            .into_iter()
            .filter_map(|subject| self.by_subject.get(&subject))
            .flat_map(move |keys| bound_in(keys, namespace))
            .filter_map(|key| self.bindings.get(key))
            .filter_map(|binding| self.roles.get(&binding.role))
            .flatten()
    }

    /// Upstream's sentence about the binding that allows something.
    #[must_use]
    pub fn allowed_by(
        &self,
        user: &str,
        groups: &[String],
        wanted: &Attributes<'_>,
    ) -> Option<String> {
        let namespace = match wanted.target {
            Target::Resource { namespace, .. } => namespace,
            Target::Path(_) => "",
        };
        let groups = groups.iter().map(|group| Subject::Group(group.clone()));
        groups.chain([Subject::User(user.to_owned())]).find_map(|subject| {
            let key = bound_in(self.by_subject.get(&subject)?, namespace).find(|key| {
                let rules = self.bindings.get(*key).and_then(|one| self.role(&one.role));
                rules.is_some_and(|rules| rules.iter().any(|rule| rule.allows(wanted)))
            })?;
            let role = &self.bindings.get(key)?.role;
            let cluster =
                |scoped: &Scoped| if scoped.namespace.is_empty() { "Cluster" } else { "" };
            let name = match key.namespace.as_str() {
                "" => key.name.clone(),
                namespace => format!("{}/{namespace}", key.name),
            };
            Some(format!(
                "RBAC: allowed by {}RoleBinding \"{name}\" of {}Role \"{}\" to {}",
                cluster(key),
                cluster(role),
                role.name,
                subject.described()
            ))
        })
    }
}

impl Subject {
    /// As upstream speaks of it.
    fn described(&self) -> String {
        match self {
            Self::Group(name) => format!("Group \"{name}\""),
            Self::User(name) => {
                match name.strip_prefix(USER_PREFIX).and_then(|n| n.split_once(':')) {
                    Some((namespace, name)) => format!("ServiceAccount \"{name}/{namespace}\""),
                    None => format!("User \"{name}\""),
                }
            }
        }
    }
}

/// Bindings of the cluster, then those of the namespace.
fn bound_in<'a>(
    keys: &'a BTreeSet<Scoped>,
    namespace: &'a str,
) -> impl Iterator<Item = &'a Scoped> + use<'a> {
    let within = move |namespace: &'a str| {
        keys.range(Scoped::within(namespace, "")..)
            .take_while(move |key| key.namespace == namespace)
    };
    let named = (!namespace.is_empty()).then(|| within(namespace));
    within("").chain(named.into_iter().flatten())
}
