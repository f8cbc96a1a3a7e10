//! Fuzzes the edge's decision: no panic, one VLAN tag changes nothing, and who denies everybody lets
//! nothing pass that is IP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use windrose_abi::edge::FOREVER;
use windrose_abi::{Address, DenyRow, EdgeLimit, EdgeReason, EdgeSettings};
use windrose_engine::edge::{EdgeTables, decide};
use windrose_engine::frame;

struct Tables {
    denies_all: bool,
}

impl EdgeTables for Tables {
    fn flags(&self) -> u32 {
        EdgeSettings::BOGONS | EdgeSettings::PRIVATE
    }

    fn limit_count(&self) -> u32 {
        0
    }

    fn limit(&self, _: u32) -> EdgeLimit {
        EdgeLimit::ZERO
    }

    fn cookies(&self) -> EdgeLimit {
        EdgeLimit::ZERO
    }

    fn is_allowed(&self, _: &Address) -> bool {
        false
    }

    fn denied_host(&self, _: &Address) -> Option<DenyRow> {
        None
    }

    fn denied_prefix(&self, _: &Address, _: u32) -> Option<DenyRow> {
        self.denies_all.then_some(DenyRow { listed_until_ns: FOREVER, ..DenyRow::ZERO })
    }

    fn now_ns(&self) -> u64 {
        1
    }

    fn take(&self, _: u32, _: &EdgeLimit, _: &Address) -> bool {
        true
    }
}

fuzz_target!(|bytes: &[u8]| {
    let plain = decide(&bytes, &Tables { denies_all: false });
    let denied = decide(&bytes, &Tables { denies_all: true });
    assert_eq!(denied, if plain == EdgeReason::Passed { EdgeReason::DeniedPrefix } else { plain });

    if bytes.len() >= 14 {
        let tagged = [&bytes[..12], &[0x81, 0x00, 0x00, 0x2a], &bytes[12..]].concat();
        let is_one_too_many =
            frame::parse(&bytes).is_ok_and(|front| front.network >= 14 + 4 * frame::MAX_TAGS);
        let expected = if is_one_too_many { EdgeReason::Unparsable } else { plain };
        assert_eq!(decide(&tagged.as_slice(), &Tables { denies_all: false }), expected);
    }
});
