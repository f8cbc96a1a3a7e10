//! What packets that policy looks at cost, nanoseconds a run; attaches nothing. Two objects are compared
//! by running this in turns in a checkout of each.
//!
//! With `on` verdicts are timed meanwhile.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, process};

use windrose_datapath::{Capacities, Datapath, Machine, Pins, difference};
use windrose_policy::source::{Source, parse};
use windrose_policy::tables::{Compiler, Settings};

const POLICY: &str = r"
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: self, namespace: cost, labels: {app: self}}
spec: {cgroup: CGROUP, addresses: [10.99.0.1]}
---
apiVersion: windrose.dev/v1alpha1
kind: Workload
metadata: {name: peer, namespace: cost, labels: {app: peer}}
spec: {addresses: [10.99.0.2]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: self, namespace: cost}
spec:
  podSelector: {matchLabels: {app: self}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {matchLabels: {app: peer}}}]}]
  egress:
    - to: [{podSelector: {matchLabels: {app: peer}}}]
      ports: [{port: 1, protocol: UDP, endPort: 20000}]
";

/// Runs of one packet.
const REPEAT: u32 = 500_000;
/// Packets of different questions: more than a processor remembers.
const QUESTIONS: u16 = 8_000;
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let machine = Machine::inspect()?;
    let name = format!("windrose-cost-{}", process::id());
    let inside = Inside::new(&machine.cgroup_root, &name)?;
    let text = POLICY.replace("CGROUP", &name);
    let model = parse(&[Source { name: "cost.yaml".to_owned(), text }]).map_err(|_| "policy")?.model;
    let mut compiler = Compiler::new();
    compiler.update(Arc::new(model), &Settings::default()).map_err(|_| "policy")?;
    let pins = Pins::below(&machine.bpffs, &name);
    let mut datapath = Datapath::open(machine, pins.clone(), Capacities::default())?;
    let cost = measure(&mut datapath, compiler.tables());
    drop(datapath);
    pins.remove()?;
    drop(inside);
    cost
}

fn measure(datapath: &mut Datapath, tables: &windrose_policy::tables::Tables) -> Result<(), Box<dyn Error>> {
    datapath.apply(&difference(&datapath.pinned_tables()?, tables), tables)?;
    datapath.set_profiling(std::env::args().any(|argument| argument == "on"))?;
    // Known flows; a refused attempt that was reported before: a verdict that is remembered.
    for (case, program, packet) in [
        ("known flow, sent", "packet_egress", udp([10, 99, 0, 1], [10, 99, 0, 2], 53)),
        ("known flow, received", "packet_ingress", udp([10, 99, 0, 2], [10, 99, 0, 1], 53)),
        ("refused again", "packet_egress", udp([10, 99, 0, 1], [10, 99, 0, 2], 30_000)),
    ] {
        let mut runs = Vec::new();
        datapath.test_packet(program, &packet)?;
        for _ in 0..ROUNDS {
            runs.push(f64::from(datapath.test_packet_cost(program, &packet, REPEAT)?));
        }
        println!("{case:24} {:8.1}", least(runs));
    }
    // First packets of flows, each of which asks another question.
    let statistics = Datapath::enable_statistics()?;
    let mut runs = Vec::new();
    for round in 0..2 * ROUNDS {
        let before = counted(datapath)?;
        for n in 0..QUESTIONS {
            datapath.test_packet("packet_egress", &udp_from(u16::try_from(round)? + 1, n + 1))?;
        }
        let after = counted(datapath)?;
        #[expect(clippy::cast_precision_loss, reason = "small")]
        runs.push((after.1 - before.1) as f64 / (after.0 - before.0) as f64);
    }
    drop(statistics);
    println!("{:24} {:8.1}", "new flow, decided", least(runs));
    Ok(())
}

fn counted(datapath: &Datapath) -> Result<(u64, u64), Box<dyn Error>> {
    let programs = datapath.programs()?;
    let egress = programs.iter().find(|program| program.name == "packet_egress").ok_or("no program")?;
    Ok((egress.run_count, egress.run_time_ns))
}

fn least(runs: Vec<f64>) -> f64 {
    runs.into_iter().fold(f64::INFINITY, f64::min)
}

fn udp(source: [u8; 4], destination: [u8; 4], port: u16) -> Vec<u8> {
    packet(source, destination, 4000, port)
}

fn udp_from(source_port: u16, port: u16) -> Vec<u8> {
    packet([10, 99, 0, 1], [10, 99, 0, 2], source_port, port)
}

fn packet(source: [u8; 4], destination: [u8; 4], from: u16, to: u16) -> Vec<u8> {
    let mut packet = vec![0_u8; 36];
    packet[0] = 0x45;
    packet[3] = 36;
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet[20..22].copy_from_slice(&from.to_be_bytes());
    packet[22..24].copy_from_slice(&to.to_be_bytes());
    packet[25] = 16;
    packet
}

/// This process in a cgroup of its own; moved back and removed at the end.
struct Inside {
    folder: PathBuf,
    back: PathBuf,
}

impl Inside {
    fn new(root: &Path, name: &str) -> std::io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("").to_owned();
        let folder = root.join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("cgroup.procs"), process::id().to_string())?;
        Ok(Self { folder, back: root.join(own).join("cgroup.procs") })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = fs::write(&self.back, process::id().to_string());
        let _ = fs::remove_dir(&self.folder);
    }
}
