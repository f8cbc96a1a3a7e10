//! Verified compile: tables are believed when witnesses of every class of flows have been heard.
//!
//! Each witness is decided twice: by the engine over the compiled rows, which is the very code that
//! the kernel runs, and by the reference over the model. One contradiction refuses the tables.

use crate::model::Model;
use crate::reference;
use crate::tables::{Compiler, Lookup, Names, Settings, Tables};
use crate::witness::{Hearing, Nearness, Survey, Witness};

mod asked;
mod mismatch;
mod narrow;

pub use asked::{decision_of, wire_address};
pub use mismatch::Mismatch;

/// Witnesses of one subject that are heard before it is another one's turn. Few, so that a cut
/// falls on all alike.
const TURNS: usize = 8;

/// What is verified.
#[derive(Debug, Clone, Copy)]
pub struct Compiled<'a> {
    /// What the files mean.
    pub model: &'a Model,
    /// What was compiled besides.
    pub settings: &'a Settings,
    /// What became of both.
    pub tables: &'a Tables,
    /// What its numbers stand for.
    pub names: &'a Names,
}

impl<'a> Compiled<'a> {
    /// What a compiler holds.
    pub fn of(compiler: &'a Compiler) -> Self {
        Self {
            model: compiler.model(),
            settings: compiler.settings(),
            tables: compiler.tables(),
            names: compiler.names(),
        }
    }
}

/// What came before, and which witnesses to hear first where there is no time for all.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The model and the settings that were in force; `None`: all is new.
    pub before: Option<(&'a Model, &'a Settings)>,
    /// Another number, another order.
    pub seed: u64,
}

/// Which witnesses are heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Those of subjects that are changed, or selected by a changed policy.
    Changed,
    /// All others.
    Others,
}

/// What was verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Flows that were decided twice. A class may have several.
    pub witnesses: u64,
    /// Classes of flows. Where not every subject was looked at, an estimate.
    pub classes: u64,
    /// Every class had a witness.
    pub is_complete: bool,
}

/// Hears witnesses, as long as `goes_on` says so before each, in turns of the subjects: first those that the
/// last load changed, then those with a rule about somebody whom it changed, then the others; when
/// every class has had one, further members of the classes.
pub fn verify(
    compiled: &Compiled<'_>,
    order: Order<'_>,
    goes_on: &mut dyn FnMut(Stage) -> bool,
) -> Result<Verified, Box<Mismatch>> {
    let (survey, hearings) = Survey::new((compiled.model, compiled.settings), order.before, order.seed);
    let mut court = Court { compiled, lookup: Lookup::new(compiled.tables), survey, goes_on, witnesses: 0 };
    let mut hearings = hearings;
    let mut is_complete = true;
    for nearness in [Nearness::Changed, Nearness::Touched, Nearness::Far] {
        let stage = if nearness == Nearness::Changed { Stage::Changed } else { Stage::Others };
        let mut open: Vec<&mut Hearing<'_>> =
            hearings.iter_mut().filter(|hearing| hearing.nearness == nearness).collect();
        is_complete &= court.hear(&mut open, stage, Hearing::next)?;
    }
    let classes = classes(&hearings);
    if is_complete {
        let mut open: Vec<&mut Hearing<'_>> = hearings.iter_mut().collect();
        court.hear(&mut open, Stage::Others, |hearing, survey| hearing.next_further(survey))?;
    }
    Ok(Verified { witnesses: court.witnesses, classes, is_complete })
}

/// The classes of all subjects; of those that had no turn, what the others have on average.
fn classes(hearings: &[Hearing<'_>]) -> u64 {
    let known: Vec<u64> = hearings.iter().filter_map(Hearing::classes).collect();
    let sum = known.iter().fold(0_u64, |sum, classes| sum.saturating_add(*classes));
    let count = |length: usize| u128::try_from(length).unwrap_or(1);
    let all = u128::from(sum) * count(hearings.len()) / count(known.len()).max(1);
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// Where witnesses are heard.
struct Court<'a, 'g> {
    compiled: &'a Compiled<'a>,
    lookup: Lookup<'a>,
    survey: Survey<'a>,
    goes_on: &'g mut dyn FnMut(Stage) -> bool,
    witnesses: u64,
}

impl<'a> Court<'a, '_> {
    /// Hears all that these subjects have, some of each in turn. False: there was no time for all.
    fn hear<'h>(
        &mut self,
        open: &mut Vec<&'h mut Hearing<'a>>,
        stage: Stage,
        next: impl Fn(&mut Hearing<'a>, &mut Survey<'a>) -> Option<Witness<'a>>,
    ) -> Result<bool, Box<Mismatch>> {
        let mut has_time = true;
        while has_time && !open.is_empty() {
            let mut result = Ok(());
            open.retain_mut(|hearing| {
                let is_first = hearing.classes().is_none();
                for turn in 0..TURNS {
                    // What a plan costs is not to be in vain: it is worth some witnesses.
                    has_time &= (self.goes_on)(stage) || (is_first && turn != 0);
                    if result.is_err() || !has_time {
                        return true;
                    }
                    let Some(witness) = next(hearing, &mut self.survey) else { return false };
                    result = self.examine(witness);
                }
                true
            });
            result?;
        }
        Ok(has_time)
    }

    fn examine(&mut self, witness: Witness<'a>) -> Result<(), Box<Mismatch>> {
        self.witnesses += 1;
        let Compiled { model, settings, names, .. } = *self.compiled;
        let answer = asked::ask(&self.lookup, names, &witness);
        let decide =
            |model: &Model| reference::decide(model, &witness.flow, witness.direction, settings.audit_all);
        let narrow = narrow::narrow(model, &self.survey.policies, &witness);
        if asked::is(names, answer, &decide(&narrow)) {
            return Ok(());
        }
        let expected = decide(model);
        if asked::is(names, answer, &expected) {
            debug_assert!(false, "the narrow model lacks something: {witness:?}");
            return Ok(());
        }
        let subject = (&witness.subject.name, &witness.subject.place);
        let found = answer.and_then(|answer| decision_of(names, &answer));
        let flow = (witness.flow, witness.direction);
        Err(Box::new(Mismatch::new(model, flow, subject, expected, found)))
    }
}
