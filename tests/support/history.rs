//! Checks that the answers of concurrent callers have a sequential order, each between its call and
//! its answer (linearizability: Herlihy and Wing 1990; the search is Wing and Gong's of 1993, with
//! the cache of Lowe 2017).

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// A call, and when it was made, by any clock.
#[derive(Debug, Clone)]
pub(crate) struct Timed<C> {
    pub(crate) began: u64,
    /// None of a call without an answer: it may have been done at any time after its beginning, or
    /// not at all.
    pub(crate) answered: Option<u64>,
    pub(crate) call: C,
}

/// What may be so after these calls, from each of the states that may have been so before. Nothing
/// may, if callers were told what no order explains.
///
/// `apply` gives what a call makes of a state; none where its answer is not that of this state.
/// `reads` tells of which calls it is clear that they changed nothing.
pub(crate) fn explain<S, C>(
    before: &[S],
    calls: &[Timed<C>],
    apply: impl Fn(&S, &C) -> Option<S>,
    reads: impl Fn(&C) -> bool,
) -> Vec<S>
where
    S: Clone + Eq + Hash + Debug,
{
    let is_before =
        |one: &Timed<C>, other: &Timed<C>| one.answered.is_some_and(|at| at < other.began);
    explain_ordered(before, calls, apply, reads, is_before)
}

/// As [`explain`], where `is_before` tells which of two calls comes before the other in every order.
pub(crate) fn explain_ordered<S, C>(
    before: &[S],
    calls: &[Timed<C>],
    apply: impl Fn(&S, &C) -> Option<S>,
    reads: impl Fn(&C) -> bool,
    is_before: impl Fn(&Timed<C>, &Timed<C>) -> bool,
) -> Vec<S>
where
    S: Clone + Eq + Hash + Debug,
{
    let mut calls: Vec<&Timed<C>> = calls.iter().collect();
    calls.sort_by_key(|call| call.began);
    let earlier = |call: &&Timed<C>| {
        let are_earlier = calls.iter().map(|other| is_before(other, call));
        Calls::of(are_earlier)
    };
    let earlier = calls.iter().map(earlier).collect();
    let reads = calls.iter().map(|call| reads(&call.call)).collect();
    let optional = Calls::of(calls.iter().map(|call| call.answered.is_none()));
    let seen = HashSet::new();
    let mut search = Search { calls, earlier, reads, optional, apply, seen, ends: Vec::new() };
    for state in before {
        let mut done = Calls::of(search.calls.iter().map(|_call| false));
        search.extend(&mut done, state);
    }
    search.ends
}

/// A set of calls, a bit for each.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Calls(Vec<u64>);

impl Calls {
    fn of(are_in: impl ExactSizeIterator<Item = bool>) -> Self {
        let mut set = Self(vec![0; are_in.len().div_ceil(64)]);
        for (at, is_in) in are_in.enumerate() {
            if is_in {
                set.0[at / 64] |= 1 << (at % 64);
            }
        }
        set
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn toggle(&mut self, at: usize) {
        self.0[at / 64] ^= 1 << (at % 64);
    }

    /// Whether all calls of this set are among the others.
    fn is_in(&self, others: &Self) -> bool {
        self.0.iter().zip(&others.0).all(|(own, others)| own & !others == 0)
    }
}

struct Search<'a, S, C, A> {
    calls: Vec<&'a Timed<C>>,
    /// Those that come before each call.
    earlier: Vec<Calls>,
    reads: Vec<bool>,
    /// Those that may not have been done.
    optional: Calls,
    apply: A,
    /// Where the search has been: the calls that are done, and the state.
    seen: HashSet<(Calls, S)>,
    ends: Vec<S>,
}

impl<S, C, A> Search<'_, S, C, A>
where
    S: Clone + Eq + Hash + Debug,
    A: Fn(&S, &C) -> Option<S>,
{
    fn extend(&mut self, done: &mut Calls, state: &S) {
        let mut read = Vec::new();
        // What reads this state may as well come first.
        loop {
            let is_read = |at: &usize| {
                let after = || (self.apply)(state, &self.calls[*at].call);
                self.reads[*at] && after().as_ref() == Some(state)
            };
            let found = self.next(done).find(is_read);
            let Some(at) = found else { break };
            done.toggle(at);
            read.push(at);
        }
        if self.seen.insert((done.clone(), state.clone())) {
            let is_over = (0..self.calls.len()).all(|at| done.has(at) || self.optional.has(at));
            if is_over && !self.ends.contains(state) {
                self.ends.push(state.clone());
            }
            let next: Vec<usize> = self.next(done).collect();
            for at in next {
                if let Some(after) = (self.apply)(state, &self.calls[at].call) {
                    done.toggle(at);
                    self.extend(done, &after);
                    done.toggle(at);
                }
            }
        }
        for at in read {
            done.toggle(at);
        }
    }

    /// The calls that can be the next: none that is left comes before them.
    fn next(&self, done: &Calls) -> impl Iterator<Item = usize> {
        (0..self.calls.len()).filter(|at| !done.has(*at) && self.earlier[*at].is_in(done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Call {
        Write(u8),
        Read(u8),
        /// Refused unless the register holds this.
        Swap(u8, u8),
    }

    fn apply(state: u8, call: Call) -> Option<u8> {
        match call {
            Call::Write(value) => Some(value),
            Call::Read(value) => (value == state).then_some(value),
            Call::Swap(from, to) => (from == state).then_some(to),
        }
    }

    fn ends(calls: &[(u64, u64, Call)]) -> Vec<u8> {
        let timed = |(began, answered, call): &(u64, u64, Call)| Timed {
            began: *began,
            answered: (*answered > 0).then_some(*answered),
            call: *call,
        };
        let calls: Vec<_> = calls.iter().map(timed).collect();
        let reads = |call: &Call| matches!(call, Call::Read(_));
        let mut ends = explain(&[0], &calls, |state, call| apply(*state, *call), reads);
        ends.sort_unstable();
        ends
    }

    const NONE: [u8; 0] = [];

    #[test]
    fn calls_one_after_the_other_are_explained_by_their_order_alone() {
        assert_eq!(ends(&[(1, 2, Call::Write(5)), (3, 4, Call::Read(5))]), [5]);
        assert_eq!(ends(&[(1, 2, Call::Write(5)), (3, 4, Call::Read(0))]), NONE, "a stale answer");
        assert_eq!(ends(&[(1, 2, Call::Read(5)), (3, 4, Call::Write(5))]), NONE, "one too early");
    }

    #[test]
    fn calls_at_once_are_explained_by_any_order() {
        let writes = [(1, 9, Call::Write(5)), (2, 8, Call::Write(6))];
        assert_eq!(ends(&writes), [5, 6]);
        let with = |more: &[(u64, u64, Call)]| ends(&[&writes[..], more].concat());
        assert_eq!(with(&[(10, 11, Call::Read(6))]), [6]);
        assert_eq!(with(&[(10, 11, Call::Read(6)), (12, 13, Call::Read(5))]), NONE, "it went back");
        assert_eq!(with(&[(3, 4, Call::Read(6)), (5, 6, Call::Read(5))]), [5]);
        assert_eq!(with(&[(10, 11, Call::Read(0))]), NONE, "both are lost");
        let again = [(1, 9, Call::Write(0)), (2, 8, Call::Write(6)), (10, 11, Call::Read(0))];
        assert_eq!(ends(&again), [0], "what changes nothing at first may do so later");
    }

    #[test]
    fn two_callers_cannot_both_have_taken_what_was_there_once() {
        let swaps = [(1, 9, Call::Swap(0, 5)), (2, 8, Call::Swap(0, 6))];
        assert_eq!(ends(&swaps), NONE);
        assert_eq!(ends(&[(1, 9, Call::Swap(0, 5)), (2, 8, Call::Swap(5, 6))]), [6]);
    }

    #[test]
    fn a_call_without_an_answer_may_have_been_done_later_or_never() {
        let lost = (3, 0, Call::Write(5));
        assert_eq!(ends(&[lost]), [0, 5]);
        assert_eq!(ends(&[lost, (4, 5, Call::Read(0)), (6, 7, Call::Read(5))]), [5]);
        assert_eq!(ends(&[lost, (4, 5, Call::Read(5)), (6, 7, Call::Read(0))]), NONE, "taken back");
        assert_eq!(ends(&[lost, (1, 2, Call::Read(5))]), NONE, "done before it began");
    }

    /// Two gateways, of which each reads what the other has written up to `bound` later.
    fn at_two_gateways(bound: u64, calls: &[(u8, u64, u64, Call)]) -> Vec<u8> {
        let timed = |(gateway, began, answered, call): &(u8, u64, u64, Call)| Timed {
            began: *began,
            answered: Some(*answered),
            call: (*gateway, *call),
        };
        let calls: Vec<_> = calls.iter().map(timed).collect();
        let reads = |(_gateway, call): &(u8, Call)| matches!(call, Call::Read(_));
        let is_before = |one: &Timed<(u8, Call)>, other: &Timed<(u8, Call)>| {
            let may_be_late = reads(&other.call) && one.call.0 != other.call.0;
            one.answered.unwrap() + if may_be_late { bound } else { 0 } < other.began
        };
        explain_ordered(&[0], &calls, |state, call| apply(*state, call.1), reads, is_before)
    }

    #[test]
    fn another_gateway_may_read_late_but_not_back_and_not_beyond_the_bound() {
        let write = (0, 1, 2, Call::Write(5));
        let read = |gateway, at, value| (gateway, at, at + 1, Call::Read(value));
        assert_eq!(at_two_gateways(10, &[write, read(1, 9, 0), read(1, 11, 5)]), [5]);
        assert_eq!(at_two_gateways(10, &[write, read(1, 13, 0)]), NONE, "beyond the bound");
        assert_eq!(at_two_gateways(10, &[write, read(0, 9, 0)]), NONE, "its own change");
        assert_eq!(at_two_gateways(10, &[write, read(1, 4, 5), read(1, 6, 0)]), NONE, "back");
        assert_eq!(at_two_gateways(10, &[read(1, 1, 5), (0, 4, 5, Call::Write(5))]), NONE, "early");
        let writes = [write, (1, 4, 5, Call::Swap(0, 6))];
        assert_eq!(at_two_gateways(10, &writes), NONE, "a change is never late");
    }

    #[test]
    fn a_long_history_is_explained_in_no_time() {
        let mut calls = Vec::new();
        for round in 0..200u64 {
            let value = u8::try_from(round % 250).unwrap();
            for caller in 0..6 {
                calls.push((10 * round + caller, 10 * round + 9, Call::Read(value)));
            }
            calls.push((10 * round, 10 * round + 8, Call::Write(value)));
        }
        assert_eq!(ends(&calls), [199]);
    }
}
