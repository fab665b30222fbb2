//! Role-based access: who holds which rules, and what a rule allows.
//!
//! In: roles and bindings as they come and go, each by its name. Out: an [`Authorizer`], the rules of a user, and whether
//! a user holds what a role would grant. Pure data behind one lock; what an object looks like is the registry's business.
//! Semantics: Kubernetes' `rbac.authorization.k8s.io/v1`: rules only ever allow, an absent role grants nothing.

mod grants;
mod rule;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use grants::{Binding, Grants, Scoped, Subject};
pub use rule::Rule;

use crate::access::{Attributes, Authorizer, Target};

/// All grants of a cluster, asked and changed from many threads.
#[derive(Debug, Default)]
pub struct Rbac {
    grants: RwLock<Grants>,
}

impl Rbac {
    /// To look at.
    pub fn read(&self) -> RwLockReadGuard<'_, Grants> {
        self.grants.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change.
    pub fn write(&self) -> RwLockWriteGuard<'_, Grants> {
        self.grants.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authorizer for Rbac {
    fn allows(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> bool {
        let namespace = match wanted.target {
            Target::Resource { namespace, .. } => namespace,
            Target::Path(_) => "",
        };
        let grants = self.read();
        let mut rules = grants.rules(user, groups, namespace);
        rules.any(|rule| rule.allows(wanted))
    }

    fn allowed_by(&self, user: &str, groups: &[String], wanted: &Attributes<'_>) -> String {
        self.read().allowed_by(user, groups, wanted).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
