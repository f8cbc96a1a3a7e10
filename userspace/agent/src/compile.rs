//! A model to tables that are verified, with patience: what `check` and the enforcer both do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use windrose_policy::model::Model;
use windrose_policy::tables::{Changes, Compiler, Rejection, Settings};
use windrose_policy::verify::{Compiled, Order, Stage, Verified, verify};

use crate::refused::Refused;

/// So long are flows tried that the change concerns; at the start that is all of them.
const CHANGED: Duration = Duration::from_secs(1);

/// So long are others tried: each load tries other ones.
const OTHERS: Duration = Duration::from_millis(100);

/// However fast the machine is, more flows are not tried.
const WITNESSES: u64 = 1_000_000;

/// What was compiled.
#[derive(Debug)]
pub(crate) struct Compilation {
    /// What it changes in the tables.
    pub(crate) changes: Changes,
    /// What was verified of the tables.
    pub(crate) verified: VerifiedView,
    /// How long that took, of the whole.
    pub(crate) verify: Duration,
}

/// How much of the compiled tables was verified, as JSON shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerifiedView {
    /// Flows on which the tables and the policy agree.
    pub(crate) witnesses: u64,
    /// Classes of flows that the policy tells apart; an estimate if the time was over before all
    /// subjects were looked at.
    pub(crate) classes: u64,
    /// Whether each class had a witness.
    pub(crate) complete: bool,
}

impl From<Verified> for VerifiedView {
    fn from(Verified { witnesses, classes, is_complete }: Verified) -> Self {
        Self { witnesses, classes, complete: is_complete }
    }
}

/// Compiles the difference to the last model, and verifies the tables. On errors, a mismatch among
/// them, everything stays as it was. `seed`: where there is no time for all flows, another number
/// tries others.
pub(crate) fn compile(
    compiler: &mut Compiler,
    model: Arc<Model>,
    settings: &Settings,
    seed: u64,
) -> Result<Compilation, Refused> {
    let (last, last_settings) = (Arc::clone(compiler.model()), compiler.settings().clone());
    let update = compiler.update_if(model, settings, |compiler| {
        let began = Instant::now();
        let order = Order { before: Some((&last, &last_settings)), seed };
        let verified = verify(&Compiled::of(compiler), order, &mut patience());
        verified.map(|verified| (verified, began.elapsed()))
    });
    match update {
        Ok((changes, (verified, verify))) => Ok(Compilation { changes, verified: verified.into(), verify }),
        Err(Rejection::Errors(errors)) => Err(Refused::compile(&errors)),
        Err(Rejection::Check(mismatch)) => Err(Refused::mismatch(&mismatch)),
    }
}

/// Whether there is time for one witness more.
fn patience() -> impl FnMut(Stage) -> bool {
    let (mut changed, mut others, mut witnesses) = (None, None, 0);
    move |stage| {
        let (began, most) = match stage {
            Stage::Changed => (&mut changed, CHANGED),
            Stage::Others => (&mut others, OTHERS),
        };
        witnesses += 1;
        witnesses <= WITNESSES && began.get_or_insert_with(Instant::now).elapsed() < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrose_policy::source::{Source, parse};

    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
        metadata: {name: n, namespace: a}\nspec: {podSelector: {}, ingress: [{}]}\n---\n\
        apiVersion: windrose.dev/v1alpha1\nkind: Workload\n\
        metadata: {name: w, namespace: a}\nspec: {cgroup: a/w, addresses: [10.0.0.1]}\n";

    #[test]
    fn a_small_policy_is_verified_whole() {
        let source = Source { name: "p.yaml".to_owned(), text: POLICY.to_owned() };
        let model = Arc::new(parse(&[source]).unwrap().model);
        let mut compiler = Compiler::new();
        let first = compile(&mut compiler, Arc::clone(&model), &Settings::default(), 0).unwrap();
        assert!(first.verified.complete && first.verified.witnesses > 10, "{first:?}");
        // Nothing has changed; what is in force is looked at again.
        let again = compile(&mut compiler, model, &Settings::default(), 1).unwrap();
        assert!(again.changes.is_empty() && again.verified.complete, "{again:?}");
    }

    #[test]
    fn wrong_tables_are_a_fault_at_the_rule_that_they_contradict() {
        let source = Source { name: "p.yaml".to_owned(), text: POLICY.to_owned() };
        let model = Arc::new(parse(&[source]).unwrap().model);
        let mut compiler = Compiler::new();
        compile(&mut compiler, model, &Settings::default(), 0).unwrap();
        let mut tables = compiler.tables().clone();
        tables.rules.clear();
        let case = Compiled { tables: &tables, ..Compiled::of(&compiler) };
        let mismatch = verify(&case, Order { before: None, seed: 0 }, &mut patience()).unwrap_err();
        let refused = Refused::mismatch(&mismatch).to_string();
        assert!(
            refused.starts_with("the policy is refused: 1 error\np.yaml:4:35: the compiled tables"),
            "{refused}"
        );
        assert!(refused.contains("a bug in Windrose"), "{refused}");
    }

    #[test]
    fn patience_ends_by_the_number_of_witnesses() {
        let mut goes_on = patience();
        let heard = (0..=WITNESSES).take_while(|_| goes_on(Stage::Changed)).count() as u64;
        assert!((1..=WITNESSES).contains(&heard));
        assert!(!(0..WITNESSES).all(|_| goes_on(Stage::Others)));
    }
}
