//! Whether this kernel can carry bytes from socket to socket (`sk_msg` redirect) without a program
//! noticing: what programs do with a connection, by plain TCP, with both sockets in a socket map, and
//! with their messages redirected.
//!
//! The evidence of docs/adr/0010-no-local-redirect.md. It fails on a kernel where nothing differs any
//! more: then look again at that decision. To see the table:
//!
//! ```console
//! # cargo test -p windrose-datapath --test redirect -- --nocapture
//! ```
#![expect(clippy::unwrap_used, reason = "the helpers of a test, outside of its function")]

#[path = "redirect/cases.rs"]
mod cases;
#[path = "redirect/pair.rs"]
mod pair;
#[path = "redirect/socket.rs"]
mod socket;
#[path = "redirect/sockmap.rs"]
mod sockmap;

use std::fmt::Write as _;

use cases::CASES;
use pair::{Pair, Path};
use sockmap::SockMap;

/// Times that each case runs on each path; a hazard that is a race shows in some of them.
const RUNS: usize = 3;

/// What a case came to, all runs of it.
fn outcomes(map: &SockMap, path: Path, case: fn(Pair<'_>) -> String) -> String {
    let mut all: Vec<String> = (0..RUNS).map(|_| case(Pair::new(map, path))).collect();
    all.sort_unstable();
    all.dedup();
    all.join(" or ")
}

#[test]
fn a_redirect_is_still_seen_by_programs() {
    let map = match SockMap::new() {
        Ok(map) => map,
        Err(error) => {
            let missing = format!("needs root and socket maps (CONFIG_BPF_STREAM_PARSER): {error}");
            assert!(std::env::var_os("WINDROSE_REQUIRE").is_none(), "{missing}");
            eprintln!("ignored: {missing}");
            return;
        }
    };
    let (mut table, mut wrong, mut hazards) = (String::new(), Vec::new(), 0);
    for (sentence, expected, case) in CASES {
        let [tcp, member, redirected] =
            [Path::Tcp, Path::Member, Path::Redirected].map(|path| outcomes(&map, path, *case));
        if tcp != *expected {
            wrong.push(format!("{sentence}: expected {expected:?} of plain TCP, which says {tcp:?}"));
        }
        hazards += usize::from(member != tcp || redirected != tcp);
        writeln!(table, "{sentence}\n    TCP: {tcp}").unwrap();
        for (name, said) in [("in the map", &member), ("redirected", &redirected)] {
            if *said != tcp {
                writeln!(table, "    {name}: {said}").unwrap();
            }
        }
    }
    println!("{table}{hazards} of {} differ", CASES.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_ne!(hazards, 0, "this kernel redirects soundly: look again at docs/adr/0010-no-local-redirect.md");
}
