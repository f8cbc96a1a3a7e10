//! Who may name what from another namespace, looked up.

use std::collections::{HashMap, HashSet};

use crate::model::{Model, ObjectName};

/// A group and a kind.
pub(super) type GroupKind<'a> = (&'a str, &'a str);

/// Every `ReferenceGrant` by who names from where, and what is named where.
pub(super) struct Grants<'m> {
    named: HashMap<(GroupKind<'m>, &'m str, GroupKind<'m>, &'m str), Named<'m>>,
}

/// Objects of a kind in a namespace.
#[derive(Default)]
struct Named<'m> {
    is_all: bool,
    names: HashSet<&'m str>,
}

impl<'m> Grants<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        let mut named: HashMap<_, Named<'m>> = HashMap::new();
        for grant in model.grants.values() {
            for from in &grant.from {
                for to in &grant.to {
                    let who = ((&*from.group, &*from.kind), &*from.namespace);
                    let what = ((&*to.group, &*to.kind), &*grant.name.namespace);
                    let these = named.entry((who.0, who.1, what.0, what.1)).or_default();
                    match &to.name {
                        Some(name) => {
                            these.names.insert(name);
                        }
                        None => these.is_all = true,
                    }
                }
            }
        }
        Self { named }
    }

    /// Whether an object of this kind and namespace may name `object` of another kind.
    pub(super) fn allow(
        &self,
        from: GroupKind<'_>,
        namespace: &str,
        to: GroupKind<'_>,
        object: &ObjectName,
    ) -> bool {
        namespace == object.namespace
            || self
                .named
                .get(&(from, namespace, to, &*object.namespace))
                .is_some_and(|these| these.is_all || these.names.contains(&*object.name))
    }
}
