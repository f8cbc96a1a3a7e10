//! The pods of the cases, running, and the probes between them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use windrose_tests::actor::{Actor, PATIENCE, Pending};
use windrose_tests::agent::Agent;
use windrose_tests::script::{Act, Outcome, Protocol};
use windrose_tests::world::World;

use crate::cases;

/// How long silence lasts that counts as a drop. What arrives later is still seen: servers count.
const SILENCE: Duration = Duration::from_millis(150);

/// Where every pod listens.
const PORTS: [u16; 2] = [80, 81];

/// Running pods and the agent that enforces the current step.
pub(crate) struct Cluster {
    // Before the pods: detached first.
    agent: Agent,
    pods: BTreeMap<String, Actor>,
    world: World,
    /// Probes made.
    pub(crate) probes: usize,
    /// Probes of SCTP, which are left out.
    pub(crate) skipped: usize,
}

/// A probe under way.
struct Probe<'a> {
    expect: &'a Value,
    expected: Outcome,
    pending: Pending,
}

impl Cluster {
    /// An agent without policies; pods start when a step has them.
    pub(crate) fn new() -> Result<Self> {
        let world = World::new()?;
        let agent = Agent::start(&world, "")?;
        Ok(Self { agent, pods: BTreeMap::new(), world, probes: 0, skipped: 0 })
    }

    /// Puts a step in force and probes all that it expects; what is not as expected.
    pub(crate) fn check(&mut self, step: &Value) -> Result<Vec<String>> {
        for pod in cases::list(step, "Pods")? {
            self.start(pod)?;
        }
        let pods = &self.pods;
        self.agent.apply(&cases::documents(step, |name| Some(pods.get(name)?.cgroup().to_owned()))?)?;
        let received = self.received()?;
        let mut probes = Vec::new();
        let mut skipped = 0;
        for expect in cases::list(step, "Expect")? {
            if expect["Proto"] == "SCTP" {
                skipped += 1;
                continue;
            }
            probes.extend(self.begin(expect)?);
        }
        let mut wrong = Vec::new();
        let mut passes = 0;
        let count = probes.len();
        for Probe { expect, expected, pending } in probes {
            passes += u64::from(expected == Outcome::Passed);
            let outcome = pending.wait()?.outcome;
            if outcome != expected {
                wrong.push(format!("{outcome:?}, expected {expected:?}: {expect}"));
            }
        }
        let arrived = self.received()? - received;
        if arrived != passes && wrong.is_empty() {
            wrong.push(format!("{arrived} connections and datagrams arrived, {passes} were to"));
        }
        self.probes += count;
        self.skipped += skipped;
        Ok(wrong)
    }

    fn start(&mut self, pod: &Value) -> Result<()> {
        let name = cases::name_of(pod)?;
        if self.pods.contains_key(&name) {
            return Ok(());
        }
        let address = pod["ip"].as_str().with_context(|| format!("{name} has no address"))?;
        let actor = self.world.workload(&name).address(address.parse()?).start_described()?;
        for port in PORTS {
            actor.serve(port)?;
        }
        self.pods.insert(name, actor);
        Ok(())
    }

    /// Begins a probe; `None` where nothing is expected, as of a pod to itself.
    fn begin<'a>(&self, expect: &'a Value) -> Result<Option<Probe<'a>>> {
        let text = |key: &str| expect[key].as_str().with_context(|| format!("no {key} in {expect}"));
        let expected = match (text("Egress")?, text("Ingress")?) {
            ("blocked", _) => Outcome::NotPermitted,
            (_, "blocked") => Outcome::Silence,
            ("allowed", "allowed") => Outcome::Passed,
            _ => return Ok(None),
        };
        let protocol = match text("Proto")? {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            other => bail!("protocol {other}"),
        };
        let pod = |key: &str| {
            let name = text(key)?;
            self.pods.get(name).with_context(|| format!("no pod {name}"))
        };
        let port = expect["Port"].as_u64().and_then(|port| port.try_into().ok()).context("no port")?;
        let patience = if expected == Outcome::Silence { SILENCE } else { PATIENCE };
        let pending = pod("From")?.begin(Act::Probe {
            protocol,
            to: pod("To")?.v4(port),
            from_port: 0,
            bytes: 16,
            is_connected: false,
            patience_ms: u64::try_from(patience.as_millis())?,
        })?;
        Ok(Some(Probe { expect, expected, pending }))
    }

    /// How many connections and datagrams all servers have got.
    fn received(&self) -> Result<u64> {
        let mut sum = 0;
        for pod in self.pods.values() {
            for port in PORTS {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    sum += pod.received(protocol, port)?;
                }
            }
        }
        Ok(sum)
    }
}
