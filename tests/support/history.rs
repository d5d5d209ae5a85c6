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
    let mut calls: Vec<&Timed<C>> = calls.iter().collect();
    calls.sort_by_key(|call| call.began);
    let reads = calls.iter().map(|call| reads(&call.call)).collect();
    let mut search = Search { calls, reads, apply, seen: HashSet::new(), ends: Vec::new() };
    for state in before {
        let mut done = vec![false; search.calls.len()];
        search.extend(&mut done, state);
    }
    search.ends
}

struct Search<'a, S, C, A> {
    calls: Vec<&'a Timed<C>>,
    reads: Vec<bool>,
    apply: A,
    /// Where the search has been: the calls that are done, and the state.
    seen: HashSet<(Vec<bool>, S)>,
    ends: Vec<S>,
}

impl<S, C, A> Search<'_, S, C, A>
where
    S: Clone + Eq + Hash + Debug,
    A: Fn(&S, &C) -> Option<S>,
{
    fn extend(&mut self, done: &mut Vec<bool>, state: &S) {
        let mut read = Vec::new();
        // What reads this state may as well come first.
        while let Some(at) = self.next(done).into_iter().find(|at| {
            self.reads[*at] && (self.apply)(state, &self.calls[*at].call).as_ref() == Some(state)
        }) {
            done[at] = true;
            read.push(at);
        }
        if self.seen.insert((done.clone(), state.clone())) {
            let is_over = |(done, call): (&bool, &&Timed<C>)| *done || call.answered.is_none();
            if done.iter().zip(&self.calls).all(is_over) && !self.ends.contains(state) {
                self.ends.push(state.clone());
            }
            for at in self.next(done) {
                if let Some(after) = (self.apply)(state, &self.calls[at].call) {
                    done[at] = true;
                    self.extend(done, &after);
                    done[at] = false;
                }
            }
        }
        for at in read {
            done[at] = false;
        }
    }

    /// The calls that can be the next: none that is left was answered before they began.
    fn next(&self, done: &[bool]) -> Vec<usize> {
        let left = || self.calls.iter().enumerate().filter(|(at, _call)| !done[*at]);
        let first_answer = left().filter_map(|(_at, call)| call.answered).min();
        let is_next = |call: &Timed<C>| first_answer.is_none_or(|first| call.began <= first);
        left().filter(|(_at, call)| is_next(call)).map(|(at, _call)| at).collect()
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
