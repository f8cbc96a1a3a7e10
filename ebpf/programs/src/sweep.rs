//! The sweep of idle flows, on a kernel timer: it goes on without the agent.
