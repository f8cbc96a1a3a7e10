//! Balancing by the loaded edge program (`BPF_PROG_TEST_RUN`): every shape of packet, compared whole
//! with what the test builds itself, checksums included.
#![expect(clippy::unwrap_used, reason = "the helpers of a test, outside of its function")]

#[path = "edge_forward/flows.rs"]
mod flows;
#[path = "edge_forward/ground.rs"]
mod ground;
#[path = "support/machine.rs"]
mod machine;
#[path = "support/namespace.rs"]
mod namespace;
#[path = "edge_forward/packets.rs"]
mod packets;
#[path = "edge_forward/shapes.rs"]
mod shapes;
#[path = "edge_forward/stack.rs"]
mod stack;
