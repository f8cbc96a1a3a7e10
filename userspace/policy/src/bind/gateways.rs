//! Gateways and what belongs to them, into the model.
//!
//! What they name may be missing: by upstream's rules that is told by their conditions (see
//! `routing`), and refuses no file.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use super::{Binder, duplicate, show};
use crate::fault::Faults;
use crate::model::{Gateway, GatewayClass, HttpRoute, ObjectName, ReferenceGrant, TlsSecret, TransportRoute};
use crate::place::Place;

/// What is in a namespace and has a place.
trait Named {
    const KIND: &'static str;
    fn name(&self) -> &ObjectName;
    fn place(&self) -> &Place;
}

macro_rules! named {
    ($type:ty, $kind:literal) => {
        impl Named for $type {
            const KIND: &'static str = $kind;
            fn name(&self) -> &ObjectName {
                &self.name
            }
            fn place(&self) -> &Place {
                &self.place
            }
        }
    };
}

named!(Gateway, "Gateway");
named!(HttpRoute, "HTTPRoute");
named!(ReferenceGrant, "ReferenceGrant");
named!(TlsSecret, "Secret");

impl Binder<'_, '_> {
    pub(super) fn gateway_class(&mut self, class: &Arc<GatewayClass>) {
        match self.model.gateway_classes.entry(class.name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(class.clone());
            }
            Entry::Occupied(first) => {
                let message = duplicate("GatewayClass", &class.name, &first.get().place);
                self.faults.error(class.place.clone(), message);
            }
        }
    }

    pub(super) fn gateway(&mut self, gateway: &Arc<Gateway>) {
        self.use_namespace(&gateway.name.namespace);
        insert(&mut self.model.gateways, gateway, self.faults);
    }

    pub(super) fn http_route(&mut self, route: &Arc<HttpRoute>) {
        self.use_namespace(&route.name.namespace);
        insert(&mut self.model.http_routes, route, self.faults);
    }

    pub(super) fn transport_route(&mut self, route: &Arc<TransportRoute>) {
        self.use_namespace(&route.name.namespace);
        match self.model.transport_routes.entry((route.kind, route.name.clone())) {
            Entry::Vacant(entry) => {
                entry.insert(route.clone());
            }
            Entry::Occupied(first) => {
                let message = duplicate(route.kind.name(), &show(&route.name), &first.get().place);
                self.faults.error(route.place.clone(), message);
            }
        }
    }

    pub(super) fn grant(&mut self, grant: &Arc<ReferenceGrant>) {
        self.use_namespace(&grant.name.namespace);
        insert(&mut self.model.grants, grant, self.faults);
    }

    pub(super) fn secret(&mut self, secret: &Arc<TlsSecret>) {
        self.use_namespace(&secret.name.namespace);
        insert(&mut self.model.secrets, secret, self.faults);
    }
}

fn insert<T: Named>(into: &mut BTreeMap<ObjectName, Arc<T>>, object: &Arc<T>, faults: &mut Faults) {
    match into.entry(object.name().clone()) {
        Entry::Vacant(entry) => {
            entry.insert(object.clone());
        }
        Entry::Occupied(first) => {
            let message = duplicate(T::KIND, &show(object.name()), first.get().place());
            faults.error(object.place().clone(), message);
        }
    }
}
