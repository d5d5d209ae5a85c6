//! What is to go wrong, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::manners::Manner;
use crate::prng::mix;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Names the rule. Its calls are counted from the moment when the number first shows.
    pub number: u64,
    /// The functions it is about, such as `C_Encrypt`; none is all.
    pub functions: Vec<String>,
    /// Functions that it is not about.
    pub except: Vec<String>,
    /// At which of their calls.
    pub when: When,
    /// What goes wrong then.
    pub fault: Fault,
}

/// At which calls. They are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// At every one.
    Always,
    /// At this one alone.
    At(u64),
    /// At this one and all that follow.
    From(u64),
    /// At every so many-th.
    Every(u64),
    /// By chance, the same for the same seed and order of calls.
    Random {
        /// Of a million calls.
        per_million: u64,
        /// Of the generator.
        seed: u64,
    },
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The call is not made, and has this answer, such as `CKR_DEVICE_ERROR`.
    ReturnCode(String),
    /// The call is made, and has this answer all the same.
    ReturnCodeAfter(String),
    /// The call is made after so many microseconds.
    Delay(u64),
    /// At most so many calls of the rule are made at once, as by a token with so many processors: the
    /// others wait. A delay of a later rule in the file is time for which a processor is busy, one of an
    /// earlier rule is not.
    Parallel(usize),
    /// The call is made when the rule is gone.
    Hang,
    /// The call is made when the rule is gone, and until then no other call is made: the token stops
    /// between two calls.
    Freeze,
    /// The first bit of the output of C_Encrypt, C_Decrypt, C_Sign or C_GenerateRandom is another.
    FlipBit,
    /// C_GenerateRandom gives this byte alone.
    StuckByte(u8),
    /// C_GenerateRandom gives what it gave first under this rule, over and over.
    StuckBlock,
    /// C_GenerateRandom gives bytes that depend on this seed and on how often the rule has applied in
    /// this process: every process that starts with the rule is given the same.
    Sequence(u64),
    /// All sessions are closed, then the call is made.
    CloseSessions,
    /// The user is logged out, then the call is made.
    LogOut,
    /// The user is logged out and in again, which kills every handle; then the call is made.
    LogInAgain,
    /// The module is finalized, then the call is made.
    Finalize,
    /// The process is killed, and the call never made.
    KillBefore,
    /// The call is made, and the process killed before the answer.
    KillAfter,
    /// The process aborts, as after a memory fault in the module.
    Abort,
    /// The token has this manner as long as the rule is there, whatever its functions and calls.
    Manner(Manner),
}

impl Rule {
    /// About all functions, at every call.
    pub fn on_all(fault: Fault) -> Self {
        Self { number: 0, functions: Vec::new(), except: Vec::new(), when: When::Always, fault }
    }

    /// The token has this manner.
    pub fn manner(manner: Manner) -> Self {
        Self::on_all(Fault::Manner(manner))
    }

    /// About these functions, at every call.
    pub fn on(functions: &[&str], fault: Fault) -> Self {
        Self { functions: owned(functions), ..Self::on_all(fault) }
    }

    /// But not about these.
    #[must_use]
    pub fn except(self, functions: &[&str]) -> Self {
        Self { except: owned(functions), ..self }
    }

    /// At other calls.
    #[must_use]
    pub fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    pub(crate) fn applies_to(&self, function: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|name| name == function);
        (self.functions.is_empty() || has(&self.functions)) && !has(&self.except)
    }
}

impl Fault {
    /// [`Fault::ReturnCode`].
    pub fn return_code(code: &str) -> Self {
        Self::ReturnCode(code.to_owned())
    }

    /// [`Fault::Delay`].
    ///
    /// # Panics
    /// When it is longer than 500,000 years.
    pub fn delay(delay: Duration) -> Self {
        Self::Delay(delay.as_micros().try_into().expect("a delay fits"))
    }

    /// [`Fault::ReturnCodeAfter`].
    pub fn return_code_after(code: &str) -> Self {
        Self::ReturnCodeAfter(code.to_owned())
    }
}

impl When {
    /// Whether it is time at the `call`-th call.
    pub(crate) fn matches(self, call: u64) -> bool {
        match self {
            Self::Always => true,
            Self::At(at) => call == at,
            Self::From(from) => call >= from,
            Self::Every(every) => call.is_multiple_of(every),
            Self::Random { per_million, seed } => mix(seed, call) % 1_000_000 < per_million,
        }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_rule_applies_as_often_as_it_says() {
        let when = When::Random { per_million: 10_000, seed: 7 };
        let met = (1..=1_000_000).filter(|call| when.matches(*call)).count();
        assert!((9_500..10_500).contains(&met), "{met}");
    }

    #[test]
    fn a_rule_is_about_all_functions_but_those_left_out() {
        let rule = Rule::on_all(Fault::Hang).except(&["C_Login"]);
        assert!(rule.applies_to("C_Encrypt") && !rule.applies_to("C_Login"));
        let rule = Rule::on(&["C_Login"], Fault::Hang);
        assert!(!rule.applies_to("C_Encrypt") && rule.applies_to("C_Login"));
    }
}
