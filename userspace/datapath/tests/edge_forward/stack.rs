//! What the stack carries, and XDP does not.

use std::net::IpAddr;

use crate::ground::*;
use crate::packets::*;

#[test]
fn the_stack_translates_what_it_carries_itself() {
    with_an_edge("stack", |edge| {
        both(edge);
        for side in &SIDES {
            for protocol in [TCP, UDP] {
                let asked =
                    packet(protocol, (side.client, 40_000), (side.frontend, 443)).flags(SYN).payload(701);
                let sent = asked.clone().to((side.endpoint, 8443));
                let answer =
                    packet(protocol, (side.endpoint, 8443), (side.client, 40_000)).flags(ACK).payload(300);
                let returned = answer.clone().from((side.frontend, 443));
                expect_in_stack(edge, "before it is known", &answer.frame(), false, &answer.frame());
                for shape in 0..3 {
                    let with = |packet: &Packet| match shape {
                        0 => packet.clone(),
                        1 => packet.clone().options(24),
                        _ => packet.clone().payload(1),
                    };
                    expect_in_stack(edge, "arrives", &with(&asked).frame(), true, &with(&sent).frame());
                    expect_in_stack(edge, "leaves", &with(&answer).frame(), false, &with(&returned).frame());
                    expect_in_stack(
                        edge,
                        "arrives back",
                        &with(&answer).frame(),
                        true,
                        &with(&returned).frame(),
                    );
                }
                // This node's own request is no client's.
                expect_in_stack(edge, "own", &asked.frame(), false, &asked.frame());
                let client: IpAddr = side.client.parse().unwrap();
                let (quoted, shown) = (returned.clone().unsummed(), answer.clone().unsummed());
                expect_in_stack(
                    edge,
                    "about an answer",
                    &framed(&error(client, side.frontend.parse().unwrap(), 64, &quoted)),
                    true,
                    &framed(&error(client, side.endpoint.parse().unwrap(), 64, &shown)),
                );
                for (from, as_if) in [(side.endpoint, side.frontend), (side.router, side.router)] {
                    let (quoted, shown) = (sent.clone().unsummed(), asked.clone().unsummed());
                    expect_in_stack(
                        edge,
                        "about what was asked",
                        &framed(&error(from.parse().unwrap(), client, 64, &quoted)),
                        false,
                        &framed(&error(as_if.parse().unwrap(), client, 64, &shown)),
                    );
                }
            }
            let asked = packet(UDP, (side.client, 40_000), (side.frontend, 443)).payload(1200);
            let sent = asked.clone().to((side.endpoint, 8443));
            for (asked, sent) in fragments(&asked, 7).iter().zip(&fragments(&sent, 7)) {
                expect_in_stack(edge, "a piece", &framed(asked), true, &framed(sent));
            }
            let answer = packet(UDP, (side.endpoint, 8443), (side.client, 40_000)).payload(1200);
            let returned = answer.clone().from((side.frontend, 443));
            for (answer, returned) in fragments(&answer, 8).iter().zip(&fragments(&returned, 8)) {
                expect_in_stack(edge, "a piece back", &framed(answer), false, &framed(returned));
            }
            let nobody = packet(UDP, (side.client, 40_000), (side.frontend, 444)).frame();
            expect_in_stack(edge, "of nobody", &nobody, true, &nobody);
        }
        edge.balance(&[frontend("203.0.113.1", 443, TCP, &[])]).unwrap();
        let asked = packet(TCP, ("198.51.100.7", 40_000), ("203.0.113.1", 443)).flags(SYN).frame();
        assert!(!edge.test_in_stack(&asked, true).unwrap().0, "nobody is ready");
    });
}
