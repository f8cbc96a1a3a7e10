//! The contract between object and userspace: maps by name, type and size, rows field by field.

use std::fmt::Write as _;

use super::*;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("WINDROSE_OBJECT"));

/// Every type that is a key, a value or an event.
const LAYOUTS: &[&str] = &[
    "Address",
    "AddressRow",
    "AddressSlot",
    "AffinityKey",
    "AffinityRow",
    "BalancedRow",
    "BucketKey",
    "CachedDecision",
    "CgroupPath",
    "CgroupRow",
    "ChoiceKey",
    "ConnectionRow",
    "Control",
    "ControlSlot",
    "DenyNote",
    "DenyRow",
    "EdgeKey",
    "EdgeLimit",
    "EdgeRow",
    "EdgeSettings",
    "EndpointLoad",
    "EndpointRow",
    "EndpointSlot",
    "Event",
    "FlowKey",
    "FlowRow",
    "ForwardEndpoint",
    "ForwardFlow",
    "ForwardFragment",
    "ForwardHop",
    "ForwardKey",
    "FragmentKey",
    "FrontendName",
    "FrontendRow",
    "LookUpTimes",
    "Offsets",
    "OriginKey",
    "OriginRow",
    "PeerListKey",
    "PeerListRow",
    "PolicySetKey",
    "PolicySetRow",
    "PortKey",
    "PortRow",
    "PortSlot",
    "PrefixRow",
    "PrefixSlot",
    "RangeKey",
    "RefusalKey",
    "ReplyKey",
    "ReplyRow",
    "ReturnRow",
    "RuleKey",
    "RuleRow",
    "RuleSetRow",
    "RuleSetSlot",
    "RuleSlot",
    "RuleTimes",
    "RuleTimesKey",
    "Times",
    "VerdictTimes",
    "ServiceKey",
    "ServiceRow",
    "ServiceSlot",
    "ServiceTotals",
    "SynRow",
    "TableKey",
    "TableRow",
    "WorkloadRow",
    "WorkloadSlot",
];

/// The bytes of an ELF section.
fn section<'a>(elf: &'a [u8], wanted: &str) -> &'a [u8] {
    let number = |at: usize, bytes: usize| {
        elf[at..at + bytes].iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
    };
    let (table, entry, count, names) = (number(40, 8), number(58, 2), number(60, 2), number(62, 2));
    let header = |n: usize| table + n * entry;
    let strings = number(header(names) + 24, 8);
    for n in 0..count {
        let name = strings + number(header(n), 4);
        let end = elf[name..].iter().position(|byte| *byte == 0).unwrap();
        if &elf[name..name + end] == wanted.as_bytes() {
            let (at, size) = (number(header(n) + 24, 8), number(header(n) + 32, 8));
            return &elf[at..at + size];
        }
    }
    panic!("the object has no section {wanted}");
}

fn contract() -> String {
    let mut text = format!("ABI_VERSION {}\n\n", windrose_abi::ABI_VERSION);
    let object = aya_obj::Object::parse(OBJECT).unwrap();
    let mut maps: Vec<_> = object.maps.iter().filter(|(name, _)| !name.starts_with('.')).collect();
    maps.sort_by_key(|(name, _)| (*name).clone());
    for (name, map) in maps {
        assert!(name.len() <= 15, "the kernel cuts names of maps at 15 bytes: {name}");
        writeln!(
            text,
            "{name}: type {} key {} value {} flags {}",
            map.map_type(),
            map.key_size(),
            map.value_size(),
            map.map_flags()
        )
        .unwrap();
    }
    let btf = Btf::parse(section(OBJECT, ".BTF")).unwrap();
    for layout in LAYOUTS {
        let id = btf.structs.get(layout).unwrap_or_else(|| panic!("no type {layout} in the object's BTF"));
        writeln!(text, "\n{layout}").unwrap();
        for member in &btf.members[id] {
            writeln!(text, "  {:4} {}", member.bit_offset / 8, btf.string(member.name).unwrap()).unwrap();
        }
    }
    text
}

#[test]
fn golden_contract_of_the_object() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract.golden");
    let now = contract();
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, &now).unwrap();
    }
    let golden = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        golden, now,
        "a layout changed: raise ABI_VERSION once a version was released, then `cargo xtask bless`"
    );
}

#[test]
fn offsets_of_the_running_kernel_are_found() {
    let found = offsets().unwrap();
    for (name, offset) in [
        ("tcp_sock.bytes_sent", found.bytes_sent),
        ("tcp_sock.srtt_us", found.srtt_us),
        ("sock_common.skc_flags", found.flags),
        ("cgroup.kn", found.cgroup_kn),
        ("net.net_cookie", found.net_cookie),
    ] {
        assert_ne!(offset, 0, "{name}");
    }
}
