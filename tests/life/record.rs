//! What a life has found: rows of steps, with their outcomes.

use std::fmt;

use hsmgate::cli::client::CallError;

/// Why a step has not succeeded.
#[derive(Debug, PartialEq)]
pub(crate) enum StepError {
    /// 400 `UnsupportedOperation`: the token cannot do it, and the gateway says so.
    Unsupported,
    /// Anything else.
    Failed(String),
}

pub(crate) type Step<T = ()> = Result<T, StepError>;

/// The outcomes, in the order of the first step of each row.
#[derive(Debug, Default)]
pub(crate) struct Record {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    steps: Vec<(String, Step)>,
}

impl StepError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

impl From<CallError> for StepError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused { status: 400, code, .. } if code == "UnsupportedOperation" => {
                Self::Unsupported
            }
            CallError::Refused { status, code, .. } => Self::Failed(format!("{status} {code}")),
            other => Self::Failed(format!("{other:?}")),
        }
    }
}

/// A step succeeds if the condition holds.
pub(crate) fn check(holds: bool, otherwise: &str) -> Step {
    if holds { Ok(()) } else { Err(StepError::new(otherwise)) }
}

impl Record {
    /// Adds a step to a row. Returns its value if it has one.
    pub(crate) fn add<T>(&mut self, row: &'static str, step: &str, outcome: Step<T>) -> Option<T> {
        let (value, outcome) = match outcome {
            Ok(value) => (Some(value), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let at = self.rows.iter().position(|known| known.name == row).unwrap_or_else(|| {
            self.rows.push(Row { name: row, steps: Vec::new() });
            self.rows.len() - 1
        });
        self.rows[at].steps.push((step.to_owned(), outcome));
        value
    }
}

/// One line for each row: its name, ` | `, its outcome. The last line counts the steps.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = [0, 0, 0];
        for row in &self.rows {
            writeln!(f, "{} | {}", row.name, row.outcome())?;
            for (_step, outcome) in &row.steps {
                match outcome {
                    Ok(()) => counts[0] += 1,
                    Err(StepError::Unsupported) => counts[1] += 1,
                    Err(StepError::Failed(_)) => counts[2] += 1,
                }
            }
        }
        let [done, unsupported, failed] = counts;
        writeln!(f, "steps: done / not on this token / failed | {done} / {unsupported} / {failed}")
    }
}

impl Row {
    fn outcome(&self) -> String {
        let unsupported: Vec<_> = self
            .steps
            .iter()
            .filter(|(_step, outcome)| *outcome == Err(StepError::Unsupported))
            .map(|(step, _outcome)| step.as_str())
            .collect();
        let mut parts = match unsupported.len() {
            0 => vec!["ok".to_owned()],
            all if all == self.steps.len() => vec!["no".to_owned()],
            _ => vec![format!("ok, but no {}", unsupported.join(", "))],
        };
        for (step, outcome) in &self.steps {
            if let Err(StepError::Failed(reason)) = outcome {
                parts.retain(|part| part != "ok");
                parts.push(format!("FAILED {step}: {reason}"));
            }
        }
        parts.join("; ")
    }
}
