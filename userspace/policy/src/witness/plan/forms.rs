//! The rules that a subject is asked about, and the forms of their peers.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::model::{NetworkPolicy, PortMatch};
use crate::rank;

use super::super::census::{Census, Members};
use super::super::draw::Draw;
use super::super::rules::{Body, Form, Policy, Statement};
use super::super::subjects::Subject;

/// Where no more policies than this are known, each is tried with every subject. Where there are
/// more, two are tried, and with one in [`SELDOM`] subjects: others in another load.
const FOREIGN: usize = 16;
const SELDOM: usize = 4;

/// So many rules of a foreign policy are tried.
const RULES: usize = 16;

/// A rule, and where its forms are in a list of forms.
pub(super) struct Named<'m> {
    pub(super) statement: Statement<'m>,
    pub(super) forms: Option<Vec<usize>>,
    /// The last load changed its policy.
    pub(super) is_changed: bool,
    /// Its policy does not select the subject.
    pub(super) is_foreign: bool,
}

/// Forms, each once.
#[derive(Default)]
pub(super) struct Forms<'m> {
    places: HashMap<usize, usize>,
    /// A form, who is a member of it, and the policies that name it.
    pub(super) list: Vec<(Form<'m>, Rc<Members>, Vec<usize>)>,
    /// So many of them are of the subject's own rules.
    own: usize,
}

/// What the policies say that concerns a subject, and something of what others say.
pub(super) struct Said<'m> {
    /// The subject's own, then foreign ones.
    pub(super) rules: Vec<Named<'m>>,
    pub(super) forms: Forms<'m>,
    /// Policies that concern every peer: those with a rule for all, and those that isolate. Sorted.
    pub(super) always: Vec<usize>,
}

impl<'m> Forms<'m> {
    /// The place of the form in the list.
    fn add(&mut self, census: &mut Census<'m>, form: Form<'m>, policy: usize) -> usize {
        let number = census.form(form);
        let place = *self.places.entry(number).or_insert_with(|| {
            self.list.push((form, census.members(number), Vec::new()));
            self.list.len() - 1
        });
        let policies = &mut self.list[place].2;
        if policies.last() != Some(&policy) {
            policies.push(policy);
        }
        place
    }

    /// Those of the subject's own rules.
    pub(super) fn own(&self) -> &[(Form<'m>, Rc<Members>, Vec<usize>)] {
        &self.list[..self.own]
    }

    /// Those of foreign rules alone.
    pub(super) fn foreign(&self) -> &[(Form<'m>, Rc<Members>, Vec<usize>)] {
        &self.list[self.own..]
    }
}

impl<'m> Said<'m> {
    pub(super) fn new(
        census: &mut Census<'m>,
        policies: &[Policy<'m>],
        subject: &Subject<'m>,
        draw: &mut Draw,
    ) -> Self {
        let mut said =
            Self { rules: Vec::new(), forms: Forms::default(), always: isolating(policies, subject) };
        for number in &subject.policies {
            said.add(census, policies[*number], *number, subject, false);
        }
        said.forms.own = said.forms.list.len();
        for number in foreign(policies.len(), subject, draw) {
            said.add(census, policies[number], number, subject, true);
        }
        said.always.sort_unstable();
        said.always.dedup();
        said
    }

    fn add(
        &mut self,
        census: &mut Census<'m>,
        policy: Policy<'m>,
        number: usize,
        subject: &Subject<'m>,
        is_foreign: bool,
    ) {
        let is_changed = policy.is_gone || policy.is_changed;
        let most = if is_foreign { RULES } else { usize::MAX };
        for statement in policy.body.statements(subject.direction).take(most) {
            if statement.forms.is_none() && !is_foreign {
                self.always.push(number);
            }
            let place = |form: &Form<'m>| self.forms.add(census, *form, number);
            let forms = statement.forms.as_ref().map(|some| some.iter().map(place).collect());
            self.rules.push(Named { statement, forms, is_changed, is_foreign });
        }
    }

    /// The ports of the subject's own rules, or of foreign ones.
    pub(super) fn ports(&self, is_foreign: bool) -> Vec<&'m PortMatch> {
        let rules = self.rules.iter().filter(|named| named.is_foreign == is_foreign);
        rules.filter_map(|named| named.statement.ports).flatten().collect()
    }
}

/// Some policies that do not select the subject: what they allow must not be allowed to it.
fn foreign(policies: usize, subject: &Subject<'_>, draw: &mut Draw) -> Vec<usize> {
    let mut foreign: Vec<usize> = if policies <= FOREIGN {
        (0..policies).collect()
    } else if draw.below(SELDOM) != 0 {
        Vec::new()
    } else {
        // Policies stand by namespace and name: one of these two is a near one.
        let near = subject.policies.first().copied().unwrap_or_else(|| draw.below(policies));
        vec![(near + 1) % policies, draw.below(policies)]
    };
    foreign.sort_unstable();
    foreign.dedup();
    foreign.retain(|number| subject.policies.binary_search(number).is_err());
    foreign
}

/// The policies that a denial by isolation can name: the first by rank, and the first of those that
/// are not in audit.
fn isolating(policies: &[Policy<'_>], subject: &Subject<'_>) -> Vec<usize> {
    let network = || {
        subject.policies.iter().filter_map(|number| match policies[*number] {
            Policy { body: Body::Network(policy), is_gone: false, .. } => Some((*number, policy)),
            Policy { .. } => None,
        })
    };
    let rank = |(_, policy): &(usize, &Arc<NetworkPolicy>)| rank::network_policy(&policy.name, 0);
    let all = network().min_by_key(rank);
    let enforced = network().filter(|(_, policy)| !policy.audit).min_by_key(rank);
    all.into_iter().chain(enforced).map(|(number, _)| number).collect()
}
