//! Live connections that the policy in force no longer allows, and those older than enforcement.

use std::collections::HashMap;

use windrose_abi::Verdict;

use crate::datapath::Datapath;
use crate::error::DatapathError;
use crate::netns::{self, Ending};
use crate::sys;

impl Datapath {
    /// Ends every live TCP connection that the policy in force denies: both ends see a reset. Says
    /// how many were ended. Their packets are dropped from the flip on, whether or not their
    /// network namespace is found here.
    pub fn end_denied(&self) -> Result<usize, DatapathError> {
        let mut by_netns: HashMap<u64, Vec<Ending>> = HashMap::new();
        for row in self.connections()? {
            if row.verdict() == Verdict::Deny {
                by_netns.entry(row.netns).or_default().push(Ending::from(&row));
            }
        }
        if by_netns.is_empty() { Ok(0) } else { netns::end_connections(&by_netns) }
    }

    /// Takes connections that are older than enforcement under the policy: every one of a workload
    /// without a row gets one, decided as the side that it is on (who listens on its port has
    /// accepted it). Says how many it took. What is denied is ended by [`Datapath::end_denied`].
    pub fn adopt_connections(&self) -> Result<usize, DatapathError> {
        let adoption = &self.loaded().adoption;
        netns::in_each(|_| Ok((true, sys::iterate::<u64>(adoption)?.len())))
            .map(|taken| taken.into_iter().sum())
    }
}
