//! A world of a test's own: a host with a bridge, and actors on it in network namespaces and cgroups.
//!
//! The host is a network namespace too, so that the agent's admin address is nobody else's. Worlds
//! of one process have different addresses all the same: what the kernel answers in the name of an
//! address (a ping's reply) is judged by that address, by every agent of the machine.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::actor::{Actor, Place};
use crate::cgroup::Cgroup;
use crate::netns::Namespace;

/// What names of worlds begin with; the process and a number follow.
pub const PREFIX: &str = "windrose-test-";

/// What must outlive every actor: the host, the cgroup above theirs, a folder.
#[derive(Debug)]
pub struct Stage {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) host: Arc<Namespace>,
    pub(crate) documents: Mutex<Vec<Value>>,
    // Removed with the stage, and those of the actors with it.
    _cgroup: Cgroup,
    next: AtomicU8,
    subnet: u8,
}

/// A world; everything in it ends with it and its actors.
#[derive(Debug)]
pub struct World {
    stage: Arc<Stage>,
}

/// An actor to be.
#[derive(Debug)]
#[must_use = "a role does nothing until it is started"]
pub struct Role {
    stage: Arc<Stage>,
    name: String,
    labels: Value,
    ports: Vec<Value>,
    kind: Kind,
    number: u8,
    v4: Option<Ipv4Addr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A workload of this host.
    Local,
    /// A workload of another host: an address without a cgroup.
    Remote,
    /// Nobody that policy knows.
    Outside,
    /// A process of the host itself.
    Host,
    /// A workload in the host's own network namespace, without an address.
    Guest,
}

impl World {
    /// An empty one.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("{PREFIX}{}-{number}", process::id());
        // 10.77.0 and 10.77.1 are left to those who choose addresses themselves.
        let subnet = u8::try_from(2 + number % 250).unwrap_or(u8::MAX);
        let (v4, v6) = (host_v4(subnet), host_v6(subnet));
        let host = Namespace::new()?;
        host.ip(&format!(
            "link add br0 type bridge mcast_snooping 0\n\
             addr add {v4}/16 dev br0\n\
             addr add {v6}/64 dev br0 nodad\n\
             link set br0 up\n"
        ))?;
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(folder.join("policy"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let cgroup = Cgroup::below_root(&name)?;
        cgroup.make()?;
        Ok(Self {
            stage: Arc::new(Stage {
                name,
                folder,
                host: Arc::new(host),
                documents: Mutex::default(),
                _cgroup: cgroup,
                next: AtomicU8::new(10),
                subnet,
            }),
        })
    }

    /// The host's addresses.
    pub fn host(&self) -> (Ipv4Addr, Ipv6Addr) {
        (host_v4(self.stage.subnet), host_v6(self.stage.subnet))
    }

    /// A folder that ends with it.
    pub fn folder(&self) -> PathBuf {
        self.stage.folder.clone()
    }

    /// What an agent is started on.
    pub(crate) fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    /// A workload, `namespace/name`, with a cgroup and addresses of its own.
    pub fn workload(&self, name: &str) -> Role {
        self.role(name, Kind::Local)
    }

    /// A workload of another host.
    pub fn remote(&self, name: &str) -> Role {
        self.role(name, Kind::Remote)
    }

    /// Somebody whom no document names.
    pub fn outsider(&self, name: &str) -> Role {
        self.role(name, Kind::Outside)
    }

    /// A process of the host, such as a kubelet.
    pub fn prober(&self) -> Role {
        self.role("host", Kind::Host)
    }

    /// A workload in the host's network namespace: known by its cgroup alone.
    pub fn guest(&self, name: &str) -> Role {
        self.role(name, Kind::Guest)
    }

    /// Adds a document of any kind, such as a Namespace.
    pub fn document(&self, document: Value) {
        self.stage.add(document);
    }

    fn role(&self, name: &str, kind: Kind) -> Role {
        let number = self.stage.next.fetch_add(1, Ordering::SeqCst);
        let stage = Arc::clone(&self.stage);
        Role { stage, name: name.to_owned(), labels: json!({}), ports: Vec::new(), kind, number, v4: None }
    }
}

impl Stage {
    fn add(&self, document: Value) {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner).push(document);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("warning: {} stays: {error}", self.folder.display());
        }
    }
}

impl Role {
    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels[key] = value.into();
        self
    }

    /// Names a port.
    pub fn port(mut self, name: &str, port: u16, protocol: &str) -> Self {
        self.ports.push(json!({"name": name, "port": port, "protocol": protocol}));
        self
    }

    /// Gives it this address within 10.77.0.0/16 instead of the next one.
    pub fn address(mut self, v4: Ipv4Addr) -> Self {
        self.v4 = Some(v4);
        self
    }

    /// The host's end of its link, which is on the host's bridge.
    pub fn interface(&self) -> String {
        format!("veth{}", self.number)
    }

    /// The address it will have.
    pub fn v4(&self) -> Ipv4Addr {
        if self.is_on_host() {
            return host_v4(self.stage.subnet);
        }
        self.v4.unwrap_or(Ipv4Addr::new(10, 77, self.stage.subnet, self.number))
    }

    /// The other address it will have.
    pub fn v6(&self) -> Ipv6Addr {
        if self.is_on_host() {
            return host_v6(self.stage.subnet);
        }
        Ipv6Addr::new(0xfd77, 0, 0, u16::from(self.stage.subnet), 0, 0, 0, u16::from(self.number))
    }

    fn is_on_host(&self) -> bool {
        matches!(self.kind, Kind::Host | Kind::Guest)
    }

    fn cgroup(&self) -> String {
        format!("{}/{}", self.stage.name, self.name.replace('/', "-"))
    }

    /// Adds its document to what agents read, without starting it.
    pub fn describe(self) -> Self {
        let mut spec = json!({});
        if !self.ports.is_empty() {
            spec["ports"] = self.ports.clone().into();
        }
        if matches!(self.kind, Kind::Local | Kind::Guest) {
            spec["cgroup"] = self.cgroup().into();
        }
        if matches!(self.kind, Kind::Local | Kind::Remote) {
            spec["addresses"] = json!([self.v4(), self.v6()]);
        }
        if let Some((namespace, name)) = self.name.split_once('/') {
            self.stage.add(json!({
                "apiVersion": "windrose.dev/v1alpha1",
                "kind": "Workload",
                "metadata": {"name": name, "namespace": namespace, "labels": self.labels},
                "spec": spec,
            }));
        }
        self
    }

    /// Describes and starts it.
    pub fn start(self) -> Result<Actor> {
        self.describe().start_described()
    }

    /// Makes its cgroup and its network namespace and starts its process in them.
    pub fn start_described(self) -> Result<Actor> {
        let namespace =
            if self.is_on_host() { Arc::clone(&self.stage.host) } else { Arc::new(self.connect()?) };
        let cgroup = self.cgroup();
        let folder = Cgroup::below_root(&cgroup)?;
        folder.make()?;
        let processes = folder.processes();
        // The stage removes it with its own.
        std::mem::forget(folder);
        let place = Place { name: self.name.clone(), v4: self.v4(), v6: self.v6(), cgroup };
        Actor::start(place, &processes, namespace, self.stage)
    }

    /// A namespace with a veth to the bridge, and the host as its gateway.
    fn connect(&self) -> Result<Namespace> {
        let namespace = Namespace::new()?;
        let Self { number, .. } = self;
        let (v4, v6) = (self.v4(), self.v6());
        let (via4, via6) = (host_v4(self.stage.subnet), host_v6(self.stage.subnet));
        self.stage.host.ip(&format!(
            "link add veth{number} type veth peer name eth0 netns {}\n\
             link set veth{number} master br0 up\n",
            namespace.path()
        ))?;
        namespace.ip(&format!(
            "addr add {v4}/16 dev eth0\n\
             addr add {v6}/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via {via4}\n\
             route add default via {via6}\n"
        ))?;
        Ok(namespace)
    }
}

fn host_v4(subnet: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, subnet, 1)
}

fn host_v6(subnet: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, u16::from(subnet), 0, 0, 0, 1)
}
