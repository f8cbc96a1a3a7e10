//! The edge on interfaces of a network namespace of the test's own: modes, takeover, refusals; and
//! its lists while they are replaced.
#![expect(clippy::unwrap_used, reason = "the helpers of a test, outside of its function")]

#[path = "support/machine.rs"]
mod machine;
#[path = "support/namespace.rs"]
mod namespace;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use windrose_datapath::abi::edge::FOREVER;
use windrose_datapath::abi::{Address, DenyOrigin, EdgeSettings, PrefixKey};
use windrose_datapath::{
    AddedNow, Capacities, DatapathError, Edge, EdgeConfig, Listed, Machine, Mode, NotAttached, Pins,
};

use namespace::{in_a_namespace, ip, machine_with_ip};

/// Pins that are gone with the test.
struct Place(Pins);

impl Place {
    fn new(machine: &Machine, name: &str) -> Self {
        Self(Pins::below(&machine.bpffs, &format!("windrose-attach-{name}-{}", std::process::id())))
    }

    fn open(&self) -> Edge {
        self.open_with(1024)
    }

    fn open_with(&self, hosts: u32) -> Edge {
        let mut capacities = Capacities::default();
        capacities.set("DENY_HOSTS", hosts).unwrap();
        Edge::open(&self.0, &capacities, EdgeConfig::default()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

/// A namespace with a pair of interfaces, `near` and `far`.
fn with_a_pair(work: impl FnOnce() + Send) {
    in_a_namespace(|| {
        ip("link set lo up\nlink add near type veth peer name far\nlink set near up\nlink set far up\n");
        work();
    });
}

fn prefix(text: &str, length: u32) -> PrefixKey {
    let (bits, length) = match text.parse().unwrap() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), length + 96),
        IpAddr::V6(v6) => (v6.to_bits(), length),
    };
    PrefixKey { length, address: Address::from_bytes(bits.to_be_bytes()) }
}

fn host(n: u32) -> PrefixKey {
    prefix(&std::net::Ipv4Addr::from(0x0100_0000 + n).to_string(), 32)
}

fn on_list(list: u32, prefix: PrefixKey) -> Listed {
    Listed { prefix, until_ns: FOREVER, list }
}

/// A TCP frame from a host.
fn frame(source: PrefixKey) -> Vec<u8> {
    let mut frame = vec![0_u8; 12];
    frame.extend_from_slice(&[0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend_from_slice(&source.address.to_bytes()[12..]);
    frame.extend_from_slice(&[192, 0, 2, 1]);
    frame.extend_from_slice(&[0; 20]);
    frame[14 + 20 + 13] = 16;
    frame
}

fn passes(edge: &Edge, source: PrefixKey) -> bool {
    edge.test_frame(&frame(source), 1).unwrap().0
}

#[test]
fn an_interface_gets_the_hook_that_is_good_for_it() {
    let Some(machine) = machine_with_ip() else { return };
    with_a_pair(|| {
        let place = Place::new(&machine, "modes");
        let edge = place.open();
        let auto = edge.attach("near", Mode::Auto).unwrap();
        assert!(!auto.is_native && auto.why.contains("veth"), "{auto:?}");
        assert_eq!(edge.attach("near", Mode::Auto).unwrap(), auto, "again");
        let native = edge.attach("near", Mode::Native).unwrap();
        assert!(native.is_native && native.index == auto.index, "{native:?}");
        // What is attached stays with `auto`: another hook would be a moment without.
        assert!(edge.attach("near", Mode::Auto).unwrap().is_native);
        assert!(!edge.attach("near", Mode::Generic).unwrap().is_native);
        let loopback = edge.attach("lo", Mode::Auto).unwrap();
        assert!(!loopback.is_native && loopback.why.contains("loopback"), "{loopback:?}");
        let refused = edge.attach("lo", Mode::Native).unwrap_err();
        assert!(matches!(&refused, NotAttached::Refused { hook: "native", .. }), "{refused}");
        assert!(matches!(edge.attach("none", Mode::Auto).unwrap_err(), NotAttached::Absent { .. }));
        ip("tuntap add tunnel mode tun\n");
        let refused = edge.attach("tunnel", Mode::Auto).unwrap_err();
        assert!(matches!(&refused, NotAttached::NotEthernet { .. }), "{refused}");
        // `lo` was given up when it refused; `near` is to be left.
        assert_eq!(edge.keep_only(&[]).unwrap(), 1);
        assert_eq!(edge.keep_only(&[]).unwrap(), 0);
    });
}

#[test]
fn a_new_edge_takes_the_place_of_an_old_one_behind_its_link() {
    let Some(machine) = machine_with_ip() else { return };
    with_a_pair(|| {
        let place = Place::new(&machine, "takeover");
        let old = place.open();
        old.attach("near", Mode::Auto).unwrap();
        old.deny(host(1), None, DenyOrigin::Operator, "stays").unwrap();
        let old_id = old.program_id(false).unwrap();
        drop(old);
        let new = place.open();
        assert_ne!(new.program_id(false).unwrap(), old_id);
        new.attach("near", Mode::Auto).unwrap();
        assert!(!passes(&new, host(1)));
        assert_eq!(new.added().unwrap()[0].reason, "stays");
        // A second of it, with pins of its own, is somebody else.
        let other_place = Place::new(&machine, "other");
        let other = other_place.open();
        match other.attach("near", Mode::Auto).unwrap_err() {
            NotAttached::Taken { program, id, .. } => {
                assert_eq!((program.as_str(), id), ("edge_generic", new.program_id(false).unwrap()));
            }
            error => panic!("{error}"),
        }
        // An interface that was deleted leaves a dead pin, which is in nobody's way.
        ip("link del near\nlink add near type veth peer name far\n");
        assert!(!new.attach("near", Mode::Auto).unwrap().is_native);
        assert_eq!(Edge::remove(&place.0).unwrap(), 2);
        other.attach("near", Mode::Auto).unwrap();
    });
}

#[test]
fn an_entry_on_the_old_list_and_the_new_one_is_denied_at_every_moment() {
    const ENTRIES: u32 = 20_000;
    let Some(machine) = machine_with_ip() else { return };
    let place = Place::new(&machine, "moment");
    let edge = place.open_with(3 * ENTRIES);
    let both = host(1 << 20);
    let first: Vec<Listed> = (0..ENTRIES).map(host).chain([both]).map(|host| on_list(1, host)).collect();
    let second: Vec<Listed> =
        (ENTRIES..2 * ENTRIES).map(host).chain([both]).map(|host| on_list(2, host)).collect();
    let synced = edge.sync(first.clone(), &[]).unwrap();
    assert_eq!((synced.new, synced.changed, synced.gone), (ENTRIES as usize + 1, 0, 0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0_u64;
            while !done.load(Ordering::Relaxed) {
                assert!(!passes(&edge, both), "a moment without it, at look {looks}");
                looks += 1;
            }
            looks
        });
        for _ in 0..5 {
            let synced = edge.sync(second.clone(), &[]).unwrap();
            assert_eq!((synced.new, synced.changed, synced.gone), (ENTRIES as usize, 1, ENTRIES as usize));
            assert!(passes(&edge, host(0)) && !passes(&edge, host(ENTRIES)));
            edge.sync(first.clone(), &[]).unwrap();
            assert!(!passes(&edge, host(0)) && passes(&edge, host(ENTRIES)));
        }
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 100, "hardly looked");
    });
    assert_eq!(edge.map_fill().unwrap()[0].entries, ENTRIES as usize + 1);
    // The same again writes nothing.
    let synced = edge.sync(first, &[]).unwrap();
    assert_eq!((synced.new, synced.changed, synced.gone), (0, 0, 0));
}

#[test]
fn lists_and_additions_leave_each_other_alone() {
    let Some(machine) = machine_with_ip() else { return };
    let place = Place::new(&machine, "claims");
    let edge = place.open();
    let (one, net) = (host(1), prefix("1.0.0.0", 24));
    edge.sync(vec![on_list(7, one), on_list(7, net)], &[]).unwrap();
    for prefix in [one, net] {
        let hour = Some(Duration::from_hours(1));
        assert_eq!(edge.deny(prefix, hour, DenyOrigin::Gateway, "why").unwrap(), AddedNow::New);
        assert_eq!(edge.deny(prefix, None, DenyOrigin::Operator, "why").unwrap(), AddedNow::Changed);
    }
    let found = edge.find(one).unwrap();
    assert_eq!(found.iter().map(|entry| entry.prefix).collect::<Vec<_>>(), [one, net]);
    assert!(found.iter().all(|entry| entry.listed == Some((7, FOREVER))));
    assert!(found.iter().all(|entry| entry.added.as_ref().unwrap().origin == DenyOrigin::Operator));
    // The list goes, the additions stay.
    edge.sync(Vec::new(), &[]).unwrap();
    assert!(edge.find(one).unwrap().iter().all(|entry| entry.listed.is_none() && entry.added.is_some()));
    assert!(!passes(&edge, one));
    // The list comes back, the additions go, the list stays.
    edge.sync(vec![on_list(7, one), on_list(7, net)], &[]).unwrap();
    assert!(edge.undeny(one).unwrap() && edge.undeny(net).unwrap() && !edge.undeny(net).unwrap());
    assert!(!passes(&edge, one) && !passes(&edge, host(2)));
    // A list that is not known now is left as it is; one that is known and empty goes.
    edge.sync(Vec::new(), &[7]).unwrap();
    assert!(!passes(&edge, one));
    edge.sync(Vec::new(), &[]).unwrap();
    assert!(passes(&edge, one) && passes(&edge, host(2)));
    let fill = edge.map_fill().unwrap();
    assert!(fill.iter().all(|fill| fill.entries == 0), "{fill:?}");
}

#[test]
fn entries_end_by_themselves_and_are_swept() {
    let Some(machine) = machine_with_ip() else { return };
    let place = Place::new(&machine, "ends");
    let edge = place.open();
    edge.deny(prefix("1.0.0.0", 8), Some(Duration::from_hours(1)), DenyOrigin::Operator, "").unwrap();
    edge.deny(prefix("1.0.0.0", 16), Some(Duration::from_millis(300)), DenyOrigin::Operator, "").unwrap();
    edge.deny(prefix("9.0.0.1", 32), Some(Duration::from_millis(300)), DenyOrigin::Operator, "").unwrap();
    assert!(!passes(&edge, host(1)) && !passes(&edge, prefix("9.0.0.1", 32)));
    let began = std::time::Instant::now();
    while !passes(&edge, prefix("9.0.0.1", 32)) {
        assert!(began.elapsed() < Duration::from_secs(5), "it does not end");
    }
    assert!(began.elapsed() > Duration::from_millis(200), "it ended too early");
    // The shorter prefix still denies, although the longer one has ended and is still there.
    assert!(!passes(&edge, host(1)));
    assert_eq!(edge.sweep().unwrap(), 2);
    assert_eq!(edge.added().unwrap().len(), 1);
    assert!(!passes(&edge, host(1)));
}

#[test]
fn lists_that_do_not_fit_are_refused_with_the_numbers() {
    let Some(machine) = machine_with_ip() else { return };
    let place = Place::new(&machine, "room");
    let edge = place.open_with(64);
    let entries = |from, to| (from..to).map(|n| on_list(1, host(n))).collect::<Vec<_>>();
    edge.sync(entries(0, 60), &[]).unwrap();
    let refused = edge.sync(entries(0, 65), &[]).unwrap_err();
    let DatapathError::ListsDoNotFit { overflows } = &refused else { panic!("{refused}") };
    assert_eq!((overflows[0].needed, overflows[0].capacity), (65, 64));
    assert!(passes(&edge, host(60)), "something was written");
    // What fits in the end is put in force although there is no room for both.
    edge.sync(entries(40, 100), &[]).unwrap();
    assert!(passes(&edge, host(0)) && !passes(&edge, host(99)));
    let mut full = None;
    for n in 1000..1010 {
        if let Err(error) = edge.deny(host(n), None, DenyOrigin::Operator, "") {
            full.get_or_insert(error);
        }
    }
    let full = full.unwrap();
    assert!(matches!(full, DatapathError::NoRoom { map: "DENY_HOSTS", capacity: 64 }), "{full}");
}

#[test]
fn balancing_takes_the_hooks_of_the_stack_that_it_needs() {
    let Some(machine) = machine_with_ip() else { return };
    with_a_pair(|| {
        let place = Place::new(&machine, "stack");
        let settings = EdgeSettings { flags: EdgeSettings::BALANCE, ..EdgeSettings::ZERO };
        let config = EdgeConfig { settings, ..EdgeConfig::default() };
        let edge = Edge::open(&place.0, &Capacities::default(), config).unwrap();
        let hooks = || {
            let folder = machine.bpffs.join(format!("windrose-attach-stack-{}", std::process::id()));
            let links = std::fs::read_dir(folder.join("abi-1/links")).unwrap();
            let mut ends: Vec<String> = links
                .map(|link| {
                    link.unwrap().file_name().to_string_lossy().rsplit('-').next().unwrap().to_owned()
                })
                .filter(|end| end.parse::<u32>().is_err())
                .collect();
            ends.sort();
            ends
        };
        for _ in 0..2 {
            assert_eq!(edge.attach("near", Mode::Generic).unwrap().not_balanced, None);
            assert_eq!(hooks(), ["in", "out"]);
        }
        assert_eq!(edge.attach("near", Mode::Native).unwrap().not_balanced, None);
        assert_eq!(hooks(), ["out"]);
        assert_eq!(edge.keep_only(&[]).unwrap(), 1);
        assert_eq!(hooks(), Vec::<String>::new());
    });
}
