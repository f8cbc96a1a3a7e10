//! What differs between two models, object by object.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object before and after; never equal, never both `None`.
pub(super) type Difference<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

/// Walks both maps once. `is_same` is asked of objects with equal keys; `is_shared` knows without a
/// look at keys that two are one and the same object, of one name.
pub(super) fn differences<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
    is_shared: impl Fn(&V, &V) -> bool,
    is_same: impl Fn(&V, &V) -> bool,
) -> Vec<Difference<'a, K, V>> {
    let mut differences = Vec::new();
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return differences,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((_, old)), Some((_, new))) if is_shared(old, new) => {
                before.next();
                after.next();
                continue;
            }
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        match order {
            Ordering::Less => differences.extend(before.next().map(|(key, old)| (key, Some(old), None))),
            Ordering::Greater => differences.extend(after.next().map(|(key, new)| (key, None, Some(new)))),
            Ordering::Equal => {
                if let (Some((_, old)), Some((key, new))) = (before.next(), after.next())
                    && !is_same(old, new)
                {
                    differences.push((key, Some(old), Some(new)));
                }
            }
        }
    }
}

/// [`differences`] of objects that carry their name.
pub(super) fn shared_differences<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, Arc<V>>,
    after: &'a BTreeMap<K, Arc<V>>,
) -> Vec<Difference<'a, K, Arc<V>>> {
    differences(before, after, Arc::ptr_eq, |old, new| old == new)
}
