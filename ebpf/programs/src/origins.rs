//! Who sent it, where the source address does not say: workloads that share an address of the
//! host, or speak over loopback, are known by the socket that sent.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use windrose_abi::{Address, OriginKey, OriginRow};
use windrose_engine::{Packet, Tables as _};

use crate::case::Case;
use crate::tables::KernelTables;
use crate::{events, maps, sweep};

/// What the source address of a packet says about its sender.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The address is the sender's own: receivers know it by that.
    Own,
    /// It is nobody's: the sender is remembered for the receiver, if that is on this host.
    Lent,
    /// It is another workload's.
    Foreign,
    /// It is nobody's, and there is no room to remember the sender.
    NoRoom,
}

/// Looks at the first packet of a flow on its way out.
#[inline(never)]
pub(crate) fn lend(skb: *mut __sk_buff, case: &Case, packet: &Packet) -> Source {
    lend_to(&case.tables, case.question.subject, case.question.slot.identity, &key_of(skb, packet))
}

/// Looks at the source of a flow that a workload begins.
#[inline(always)]
pub(crate) fn lend_to(tables: &KernelTables, workload: u32, identity: u32, key: &OriginKey) -> Source {
    let owner = tables.address(&key.source).map_or(0, |slot| slot.workload);
    if owner == workload {
        return Source::Own;
    }
    if owner != 0 {
        return Source::Foreign;
    }
    let row = OriginRow { active_ns: events::now(), workload, identity };
    if maps::ORIGINS.insert(key, &row, 0).is_err() {
        return Source::NoRoom;
    }
    sweep::arm();
    Source::Lent
}

/// Keeps what was lent to a flow that goes on: the receiver asks again when its own state is gone.
#[inline(never)]
pub(crate) fn renew(skb: *mut __sk_buff, case: &Case, packet: &Packet) {
    if let Some(row) = maps::ORIGINS.get_ptr_mut(key_of(skb, packet)) {
        // SAFETY: a live entry; the word is written whole.
        unsafe { (*row).active_ns = events::now() };
    } else {
        lend(skb, case, packet);
    }
}

/// The workload behind a received packet whose address says "the host"; 0 is none.
#[inline(never)]
pub(crate) fn of_packet(skb: *mut __sk_buff, packet: &Packet) -> u32 {
    find(&key_of(skb, packet))
}

/// The workload that a key names; 0 is none.
#[inline(always)]
pub(crate) fn find(key: &OriginKey) -> u32 {
    // SAFETY: a live entry; it is written whole and once.
    unsafe { maps::ORIGINS.get(key) }.map_or(0, |row| row.workload)
}

#[inline(always)]
fn key_of(skb: *mut __sk_buff, packet: &Packet) -> OriginKey {
    OriginKey {
        source: packet.source,
        destination: packet.destination,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        protocol: u32::from(packet.protocol),
        // SAFETY: the helper takes this program's context.
        netns: scope(&packet.source, unsafe { bpf_get_netns_cookie(skb.cast()) }),
    }
}

/// A loopback address means something in one network namespace only; others cross them.
#[inline(always)]
pub(crate) fn scope(source: &Address, netns: u64) -> u64 {
    if source.is_loopback() { netns } else { 0 }
}
