//! Egress where it begins: connect and sendmsg, both families. A refusal by policy is EPERM.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use windrose_abi::codes::protocol;
use windrose_abi::{Address, Direction, FlowKey, Phase};

use crate::account::{self, Count};
use crate::address::{Family, V4, V6, port_of, protocol_of};
use crate::case::{self, Case, Scene};
use crate::subject::{self, Subject};
use crate::{connections, maps, services, tables};

const REFUSE: i32 = 0;
const PASS: i32 = 1;
const ECONNREFUSED: i32 = 111;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect::<V4>(ctx.sock_addr)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect::<V6>(ctx.sock_addr)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sendmsg::<V4>(ctx.sock_addr)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sendmsg::<V6>(ctx.sock_addr)
}

/// What is known of a socket before its first packet.
#[inline(always)]
fn scene_of(ctx: *mut bpf_sock_addr, peer: &Address, local_port: u16) -> Scene {
    Scene {
        local: Address::ZERO,
        peer: *peer,
        local_port,
        peer_port: port_of(ctx),
        transport_word: 0,
        // SAFETY: the helper takes this program's context.
        cookie: unsafe { bpf_get_socket_cookie(ctx.cast()) },
        // SAFETY: as above.
        netns: unsafe { bpf_get_netns_cookie(ctx.cast()) },
        interface: 0,
    }
}

#[inline(always)]
fn connect<F: Family>(ctx: *mut bpf_sock_addr) -> i32 {
    let protocol_number = protocol_of(ctx);
    let Some((tables, depths)) = tables::current() else { return PASS };
    let subject = subject::of_task(&tables, depths).unwrap_or(Subject::NOBODY);
    if subject.workload == 0 && !tables.has_services() {
        return PASS;
    }
    let mut case = Case::new(tables, subject, Direction::Egress, protocol_number, 0);
    // Before policy, which is asked about the endpoint.
    if case.tables.has_services() {
        match services::connect::<F>(ctx, &case) {
            services::NOBODY => return refuse::<F>(ctx, &mut case),
            services::REFUSE => return REFUSE,
            _ => {}
        }
        if case.question.subject == 0 {
            return PASS;
        }
    }
    let address = F::address(ctx);
    case.question.port = port_of(ctx);
    case::judge(&mut case, &address);
    if protocol_number != protocol::TCP {
        return without_connection(ctx, &case, &address);
    }
    if !case.is_denied() && case.decision.would_be().is_none() {
        return keep(ctx, &case, &address);
    }
    report(ctx, &case, &address, 0);
    if case.is_denied() { REFUSE } else { keep(ctx, &case, &address) }
}

/// A service has no endpoint to give: ECONNREFUSED at once, counted and reported.
#[inline(always)]
fn refuse<F: Family>(ctx: *mut bpf_sock_addr, case: &mut Case) -> i32 {
    services::find_nobody::<F>(ctx, case);
    let address = F::address(ctx);
    report(ctx, case, &address, 0);
    // SAFETY: the helper takes a number; without it the caller would see EPERM.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    REFUSE
}

#[inline(never)]
fn report(ctx: *mut bpf_sock_addr, case: &Case, address: &Address, local_port: u16) {
    case::report(case, &scene_of(ctx, address, local_port));
}

/// Keeps the decision with the socket.
#[inline(never)]
fn keep(ctx: *mut bpf_sock_addr, case: &Case, address: &Address) -> i32 {
    // SAFETY: a connecting socket is a full socket.
    let sk = unsafe { (*ctx).__bindgen_anon_1.sk };
    if sk.is_null() {
        return REFUSE;
    }
    let Some(row) = connections::get_or_create(sk) else {
        account::no_room(case);
        return REFUSE;
    };
    // SAFETY: the row is this socket's, which the caller of connect holds locked.
    case::fill(unsafe { &mut *row }, case, &scene_of(ctx, address, 0), Phase::Opening);
    PASS
}

#[inline(always)]
fn sendmsg<F: Family>(ctx: *mut bpf_sock_addr) -> i32 {
    let protocol_number = protocol_of(ctx);
    let Some((tables, depths)) = tables::current() else { return PASS };
    let subject = subject::of_task(&tables, depths).unwrap_or(Subject::NOBODY);
    if subject.workload == 0 && !tables.has_services() {
        return PASS;
    }
    let mut case = Case::new(tables, subject, Direction::Egress, protocol_number, 0);
    if case.tables.has_services() {
        match services::send::<F>(ctx, &case) {
            services::NOBODY => return refuse::<F>(ctx, &mut case),
            services::REFUSE => return REFUSE,
            _ => {}
        }
        if case.question.subject == 0 {
            return PASS;
        }
    }
    let address = F::address(ctx);
    case.question.port = port_of(ctx);
    case::judge(&mut case, &address);
    without_connection(ctx, &case, &address)
}

/// UDP and the like, at connect and at sendmsg. What is refused now is refused with EPERM at once,
/// unless it is a reply: a flow that a peer began is allowed by its state, whatever egress policy
/// says. What is allowed is decided again with its first packet, which knows its source.
#[inline(never)]
fn without_connection(ctx: *mut bpf_sock_addr, case: &Case, address: &Address) -> i32 {
    if !case.is_denied() {
        // An audited denial is reported by the packet itself, once a flow.
        return PASS;
    }
    // SAFETY: the kernel passes a live context and its socket.
    let sk = unsafe { (*ctx).__bindgen_anon_1.sk };
    // SAFETY: checked for null.
    let local_port = if sk.is_null() { 0 } else { (unsafe { (*sk).src_port }) as u16 };
    let key = FlowKey {
        peer: *address,
        workload: case.question.subject,
        local_port,
        peer_port: case.question.port,
        protocol: u32::from(case.question.protocol),
    };
    if maps::FLOWS.get_ptr(&key).is_some() {
        return PASS;
    }
    account::count(Count::DroppedPackets);
    report(ctx, case, address, local_port);
    REFUSE
}
