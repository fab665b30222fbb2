//! One rule: which verbs on which things. Allows a request, and covers another rule.

use std::fmt;

use crate::access::{Attributes, Target};

/// As `PolicyRule` of rbac/v1. Every list is an alternative; `*` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// `get`, `list`, `*`.
    pub verbs: Vec<String>,
    /// Empty text is the core group.
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// Empty: any name, and none.
    pub resource_names: Vec<String>,
    /// Paths, whole or with a `*` at the end.
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// Whether a request may pass by this rule.
    #[must_use]
    pub fn allows(&self, wanted: &Attributes<'_>) -> bool {
        if !has(&self.verbs, wanted.verb) {
            return false;
        }
        match wanted.target {
            Target::Path(path) => self.non_resource_urls.iter().any(|one| path_fits(one, path)),
            Target::Resource { group, resource, subresource, name, .. } => {
                has(&self.api_groups, group)
                    && self.resources.iter().any(|one| resource_fits(one, resource, subresource))
                    && (self.resource_names.is_empty()
                        || (!name.is_empty() && self.resource_names.iter().any(|one| one == name)))
            }
        }
    }

    /// Whether all that `self` grants is granted by `held` together. Every combination of one verb, one group, one
    /// resource and one name must lie in one held rule, as upstream's `Covers` has it.
    #[must_use]
    pub fn is_covered_by(&self, held: &[&Rule]) -> bool {
        self.atoms().all(|atom| held.iter().any(|rule| rule.covers(&atom)))
    }

    fn atoms(&self) -> impl Iterator<Item = Atom<'_>> {
        let names: Vec<Option<&str>> = match self.resource_names.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let resources = self.verbs.iter().flat_map(move |verb| {
            let names = names.clone();
            self.api_groups.iter().flat_map(move |group| {
                let names = names.clone();
                self.resources.iter().flat_map(move |resource| {
                    names.clone().into_iter().map(move |name| Atom::Resource {
                        verb,
                        group,
                        resource,
                        name,
                    })
                })
            })
        });
        let paths = self.verbs.iter().flat_map(|verb| {
            self.non_resource_urls.iter().map(move |path| Atom::Path { verb, path })
        });
        resources.chain(paths)
    }

    fn covers(&self, atom: &Atom<'_>) -> bool {
        match *atom {
            Atom::Path { verb, path } => {
                has(&self.verbs, verb)
                    && self.non_resource_urls.iter().any(|one| path_covers(one, path))
            }
            Atom::Resource { verb, group, resource, name } => {
                let (whole, part) = resource.split_once('/').unwrap_or((resource, ""));
                has(&self.verbs, verb)
                    && has(&self.api_groups, group)
                    && self
                        .resources
                        .iter()
                        .any(|one| one == resource || resource_fits(one, whole, part))
                    && (self.resource_names.is_empty()
                        || name.is_some_and(|name| self.resource_names.iter().any(|n| n == name)))
            }
        }
    }
}

/// The least that can be granted.
#[derive(Debug, Clone, Copy)]
enum Atom<'a> {
    Resource { verb: &'a str, group: &'a str, resource: &'a str, name: Option<&'a str> },
    Path { verb: &'a str, path: &'a str },
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

/// `*` is everything, `*/scale` that part of everything, `pods/log` itself.
fn resource_fits(rule: &str, resource: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        _ if rule == "*" => true,
        None => subresource.is_empty() && rule == resource,
        Some((whole, part)) => {
            !subresource.is_empty() && part == subresource && (whole == "*" || whole == resource)
        }
    }
}

fn path_fits(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => rule == path,
    }
}

/// Whether all paths that `other` stands for are among those of `rule`.
fn path_covers(rule: &str, other: &str) -> bool {
    match other.strip_suffix('*') {
        Some(start) => rule.strip_suffix('*').is_some_and(|wider| start.starts_with(wider)),
        None => path_fits(rule, other),
    }
}

/// As upstream prints rules that somebody does not hold.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("NonResourceURLs", &self.non_resource_urls),
            ("Verbs", &self.verbs),
        ];
        let filled = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let text: Vec<String> = filled.map(|(name, list)| format!("{name}:{list:?}")).collect();
        write!(f, "{{{}}}", text.join(", "))
    }
}
