//! A service's address becomes an endpoint's when a connection is opened or a datagram sent, and
//! the other way round where a process asks who its peer is.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use windrose_abi::identity::IDENTITY_HOST;
use windrose_abi::services::ENDPOINTS_PER_ROW;
use windrose_abi::{
    Address, AffinityKey, AffinityRow, BalancedRow, ChoiceKey, ControlSlot, DropReason, EndpointSlot, Lookup,
    Origin, ReplyKey, ReplyRow, ServiceKey, ServiceSlot, TableKey,
};
use windrose_engine::balance::{client, is_ready, pick};
use windrose_engine::{Decision, Outcome, Services};

use crate::address::{Family, V4, V6, give, port_of, protocol_of, socket};
use crate::case::Case;
use crate::profile::look_up;
use crate::tables::KernelTables;
use crate::{balanced, events, maps};

pub(crate) const REFUSE: i32 = 0;
const PASS: i32 = 1;
/// There is no endpoint.
pub(crate) const NOBODY: i32 = 2;
/// The socket talks to several services.
const SEVERAL: i32 = 3;
const SECOND_NS: u64 = 1_000_000_000;
const ROW: u32 = ENDPOINTS_PER_ROW as u32;

/// A service that a process asks for.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) key: ServiceKey,
    pub(crate) slot: ServiceSlot,
}

impl KernelTables {
    /// Whether a look at `SERVICES` is worth it.
    #[inline(always)]
    pub(crate) fn has_services(&self) -> bool {
        self.flags & ControlSlot::HAS_SERVICES != 0
    }

    /// The service behind an address and port.
    #[inline(always)]
    pub(crate) fn service(&self, key: &ServiceKey) -> Option<ServiceSlot> {
        // SAFETY: userspace replaces whole entries; the old one outlives this program's run (RCU).
        let row = look_up(&self.flags, Lookup::Service, || unsafe { maps::SERVICES.get(key) })?;
        let slot = &row.slots[(self.generation & 1) as usize];
        (slot.service != 0).then_some(*slot)
    }
}

impl Services for KernelTables {
    #[inline(always)]
    fn endpoint(&self, endpoint: u32) -> Option<EndpointSlot> {
        // SAFETY: as above.
        let row = look_up(&self.flags, Lookup::Endpoint, || unsafe { maps::ENDPOINTS.get(&endpoint) })?;
        let slot = &row.slots[(self.generation & 1) as usize];
        (slot.state != 0).then_some(*slot)
    }

    #[inline(always)]
    fn entry(&self, table: u32, index: u32) -> Option<u32> {
        let key = TableKey { table, row: index / ROW };
        // SAFETY: rows of a table never change; removal waits for running programs.
        let row = look_up(&self.flags, Lookup::BalanceTable, || unsafe { maps::BALANCE_TABLES.get(&key) })?;
        Some(row.endpoints[(index % ROW) as usize])
    }

    #[inline(always)]
    fn live(&self, endpoint: u32) -> u64 {
        balanced::live(endpoint)
    }
}

/// What a process asks for, if that is a service.
#[inline(always)]
fn asked<F: Family>(ctx: *mut bpf_sock_addr, tables: &KernelTables) -> Option<Asked> {
    let key =
        ServiceKey { address: F::address(ctx), port: port_of(ctx), protocol: protocol_of(ctx), reserved: 0 };
    let slot = tables.service(&key)?;
    Some(Asked { key, slot })
}

/// At sendmsg of a socket that is not connected, or that names another destination than its peer:
/// it keeps to one endpoint of each service.
#[inline(always)]
pub(crate) fn send<F: Family>(ctx: *mut bpf_sock_addr, case: &Case) -> i32 {
    // One after the other, not one inside the other: their frames would not fit.
    match give_first::<F>(ctx, case) {
        SEVERAL => give_another::<F>(ctx, case),
        other => other,
    }
}

/// At connect: a service's address in `ctx` becomes an endpoint's, and the socket remembers both.
#[inline(never)]
pub(crate) fn connect<F: Family>(ctx: *mut bpf_sock_addr, case: &Case) -> i32 {
    let tables = &case.tables;
    let Some(sk) = socket(ctx) else { return PASS };
    let Some(asked) = asked::<F>(ctx, tables) else {
        balanced::forget(sk);
        return PASS;
    };
    let endpoint = choose(ctx, tables, &asked, case.question.subject);
    let Some(slot) = tables.endpoint(endpoint) else { return NOBODY };
    let Some(row) = balanced::get_or_create(sk) else { return REFUSE };
    balanced::write(row, &asked, endpoint, &slot, BalancedRow::CONNECTED);
    balanced::count(asked.slot.service, endpoint);
    give::<F>(ctx, &slot.address, slot.port);
    PASS
}

/// An endpoint for a new connection; 0 where none is ready.
#[inline(never)]
fn choose(ctx: *mut bpf_sock_addr, tables: &KernelTables, asked: &Asked, workload: u32) -> u32 {
    let slot = &asked.slot;
    let mut key = AffinityKey { client: 0, service: slot.service, reserved: 0 };
    if slot.affinity_s != 0 || slot.flags & ServiceSlot::MAGLEV != 0 {
        // SAFETY: the helper takes this program's context.
        key.client = client(workload, unsafe { bpf_get_netns_cookie(ctx.cast()) });
    }
    if slot.affinity_s != 0 {
        let endpoint = faithful(tables, &key, slot.affinity_s);
        if endpoint != 0 {
            return endpoint;
        }
    }
    // SAFETY: the helper takes nothing.
    let random = unsafe { u64::from(bpf_get_prandom_u32()) << 32 | u64::from(bpf_get_prandom_u32()) };
    let endpoint = pick(tables, slot, key.client, random);
    if slot.affinity_s != 0 && endpoint != 0 {
        let row = AffinityRow { last_ns: events::now(), endpoint, reserved: 0 };
        // An LRU makes room for itself.
        let _ = maps::AFFINITIES.insert(&key, &row, 0);
    }
    endpoint
}

/// The endpoint that a client had not long ago, if it still takes connections; else 0.
#[inline(always)]
fn faithful(tables: &KernelTables, key: &AffinityKey, affinity_s: u32) -> u32 {
    let Some(row) = maps::AFFINITIES.get_ptr_mut(key) else { return 0 };
    // SAFETY: a live entry; its words are written whole.
    let row = unsafe { &mut *row };
    let now = events::now();
    if now.saturating_sub(row.last_ns) > u64::from(affinity_s) * SECOND_NS {
        return 0;
    }
    match tables.endpoint(row.endpoint) {
        Some(slot) if is_ready(&slot) => {
            row.last_ns = now;
            row.endpoint
        }
        _ => 0,
    }
}

/// Decides a case in which a service has nobody to give, and counts it.
#[inline(never)]
pub(crate) fn find_nobody<F: Family>(ctx: *mut bpf_sock_addr, case: &mut Case) {
    let Some(asked) = asked::<F>(ctx, &case.tables) else { return };
    balanced::count_refused(asked.slot.service);
    let reason = if asked.slot.table == 0 && asked.slot.only == 0 {
        DropReason::NoEndpoint
    } else {
        DropReason::TornTables
    };
    case.decision = Decision::plain(Outcome::deny(Origin::None, 0, reason));
    if case.question.subject == 0 {
        case.question.slot.identity = IDENTITY_HOST;
    }
}

/// The first service that a socket talks to is remembered in its row, which dies with it; others in
/// LRUs.
#[inline(never)]
fn give_first<F: Family>(ctx: *mut bpf_sock_addr, case: &Case) -> i32 {
    let tables = &case.tables;
    let Some(sk) = socket(ctx) else { return PASS };
    let Some(asked) = asked::<F>(ctx, tables) else {
        if let Some(row) = balanced::get(sk) {
            expect_itself::<F>(ctx, row);
        }
        return PASS;
    };
    let Some(row) = balanced::get_or_create(sk) else { return REFUSE };
    if row.service != 0 && row.service != asked.slot.service {
        row.flags |= BalancedRow::MORE;
        return SEVERAL;
    }
    // A connected socket hears from its peer only, whatever becomes of that.
    let is_free = row.flags & BalancedRow::CONNECTED == 0;
    if row.service == 0 || is_free && tables.endpoint(row.endpoint).is_none() {
        let endpoint = choose(ctx, tables, &asked, case.question.subject);
        let Some(slot) = tables.endpoint(endpoint) else { return NOBODY };
        balanced::write(row, &asked, endpoint, &slot, 0);
        balanced::count(asked.slot.service, endpoint);
    } else if row.flags & BalancedRow::MORE != 0 {
        expect_reply(ctx, &row.endpoint_address, row.endpoint_port, &asked.key);
    }
    give::<F>(ctx, &row.endpoint_address, row.endpoint_port);
    PASS
}

#[inline(never)]
fn give_another<F: Family>(ctx: *mut bpf_sock_addr, case: &Case) -> i32 {
    let tables = &case.tables;
    let Some(asked) = asked::<F>(ctx, tables) else { return PASS };
    // SAFETY: the helper takes this program's context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.cast()) };
    let choice = ChoiceKey { cookie, service: asked.slot.service, reserved: 0 };
    // SAFETY: the entry outlives this program's run.
    if let Some(endpoint) = unsafe { maps::CHOICES.get(&choice) }
        && let Some(slot) = tables.endpoint(*endpoint)
    {
        expect_reply(ctx, &slot.address, slot.port, &asked.key);
        give::<F>(ctx, &slot.address, slot.port);
        return PASS;
    }
    let endpoint = choose(ctx, tables, &asked, case.question.subject);
    let Some(slot) = tables.endpoint(endpoint) else { return NOBODY };
    // An LRU makes room for itself.
    let _ = maps::CHOICES.insert(&choice, &endpoint, 0);
    expect_reply(ctx, &slot.address, slot.port, &asked.key);
    balanced::count(asked.slot.service, endpoint);
    give::<F>(ctx, &slot.address, slot.port);
    PASS
}

/// A socket that has an endpoint from a service sends to it by its own address.
#[inline(always)]
fn expect_itself<F: Family>(ctx: *mut bpf_sock_addr, row: &mut BalancedRow) {
    let itself = ServiceKey { address: F::address(ctx), port: port_of(ctx), ..ServiceKey::ZERO };
    let is_known =
        row.flags & BalancedRow::MORE != 0 && expected(ctx, &itself.address, itself.port).is_some();
    if is_known || is_endpoint::<F>(ctx, row) {
        row.flags |= BalancedRow::MORE;
        expect_reply(ctx, &itself.address, itself.port, &itself);
    }
}

/// What comes from an endpoint is shown as the service that the socket has sent to last: two services
/// may have given it one and the same endpoint.
#[inline(never)]
fn expect_reply(ctx: *mut bpf_sock_addr, address: &Address, port: u16, asked: &ServiceKey) {
    let shown = ReplyRow { address: asked.address, port: asked.port, reserved: 0 };
    if expected(ctx, address, port) != Some(&shown) {
        // An LRU makes room for itself.
        let _ = maps::REPLIES.insert(&reply_key(ctx, address, port), &shown, 0);
    }
}

/// As what a datagram from this endpoint is shown, if it is not shown as it is.
#[inline(always)]
fn expected(ctx: *mut bpf_sock_addr, address: &Address, port: u16) -> Option<&'static ReplyRow> {
    // SAFETY: the entry outlives this program's run.
    unsafe { maps::REPLIES.get(&reply_key(ctx, address, port)) }
}

#[inline(always)]
fn reply_key(ctx: *mut bpf_sock_addr, address: &Address, port: u16) -> ReplyKey {
    // SAFETY: the helper takes this program's context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.cast()) };
    ReplyKey { cookie, address: *address, port, reserved: [0; 6] }
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    show_source::<V4>(ctx.sock_addr)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    show_source::<V6>(ctx.sock_addr)
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    show_peer::<V4>(ctx.sock_addr)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    show_peer::<V6>(ctx.sock_addr)
}

/// Whether the address in `ctx` is the endpoint of a row.
#[inline(always)]
fn is_endpoint<F: Family>(ctx: *mut bpf_sock_addr, row: &BalancedRow) -> bool {
    row.service != 0 && row.endpoint_port == port_of(ctx) && row.endpoint_address == F::address(ctx)
}

/// A datagram of an endpoint comes from the service. Sockets that no service has given an endpoint
/// have no row: for them this is one look at the socket.
#[inline(always)]
fn show_source<F: Family>(ctx: *mut bpf_sock_addr) -> i32 {
    let Some(sk) = socket(ctx) else { return PASS };
    let Some(row) = balanced::get(sk) else { return PASS };
    if row.flags & BalancedRow::MORE != 0 && show_expected::<F>(ctx) {
        return PASS;
    }
    if is_endpoint::<F>(ctx, row) {
        give::<F>(ctx, &row.service_address, row.service_port);
    }
    PASS
}

#[inline(never)]
fn show_expected<F: Family>(ctx: *mut bpf_sock_addr) -> bool {
    let Some(shown) = expected(ctx, &F::address(ctx), port_of(ctx)) else { return false };
    give::<F>(ctx, &shown.address, shown.port);
    true
}

/// The peer of a socket that a service has connected is the service.
#[inline(always)]
fn show_peer<F: Family>(ctx: *mut bpf_sock_addr) -> i32 {
    if let Some(sk) = socket(ctx)
        && let Some(row) = balanced::get(sk)
        && row.flags & BalancedRow::CONNECTED != 0
        && is_endpoint::<F>(ctx, row)
    {
        give::<F>(ctx, &row.service_address, row.service_port);
    }
    PASS
}
