//! The programs that run in the kernel: thin shells around the engine, one file per hook family.
#![no_std]
#![no_main]
#![expect(internal_features, reason = "core leaves atomic addition out for this target")]
#![feature(asm_experimental_arch, core_intrinsics)]

mod account;
mod address;
mod adopt;
mod answers;
mod balanced;
mod cache;
mod case;
mod cgroup;
mod connect;
mod connections;
mod edge;
mod edge_answer;
mod edge_cookie;
mod edge_forward;
mod edge_frame;
mod edge_hop;
mod edge_ipip;
mod edge_skb;
mod edge_translate;
mod events;
mod flows;
mod forward_plan;
mod forward_tables;
mod fragments;
mod maps;
mod memory;
mod origins;
mod profile;
mod refusals;
mod services;
mod skb;
mod sockops;
mod subject;
mod sweep;
mod syns;
mod tables;
mod walk;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
