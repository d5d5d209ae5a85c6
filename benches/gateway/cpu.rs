//! Processor time by thread: what a call costs, whatever else the machine does meanwhile.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// The processor time of every thread of a process so far, in nanoseconds.
pub(crate) struct Times(HashMap<String, (String, u64)>);

/// Processor time by kind of thread. The load's own is not in it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shares {
    /// Of the token threads.
    pub(crate) token: Duration,
    /// Of the threads that serve connections.
    pub(crate) server: Duration,
}

impl Times {
    /// Of the process with this id; `self` is this one.
    pub(crate) fn of(process: &str) -> anyhow::Result<Self> {
        let mut times = HashMap::new();
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let path = thread?.path();
            // A thread may end between the two.
            let (Ok(name), Ok(time)) =
                (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
            else {
                continue;
            };
            let time = time.split(' ').next().unwrap_or_default().parse()?;
            times.insert(path.display().to_string(), (name, time));
        }
        Ok(Self(times))
    }

    /// What was spent since, by the threads that are there at both times.
    pub(crate) fn since(&self, before: &Self) -> Shares {
        let mut shares = Shares::default();
        for (thread, (name, time)) in &self.0 {
            let Some((_name, before)) = before.0.get(thread) else { continue };
            let spent = Duration::from_nanos(time.saturating_sub(*before));
            let share =
                if name.starts_with("token") { &mut shares.token } else { &mut shares.server };
            *share += spent;
        }
        shares
    }
}

impl Shares {
    /// The time for one of so many calls.
    pub(crate) fn for_each_of(self, calls: usize) -> Self {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX).max(1);
        Self { token: self.token / calls, server: self.server / calls }
    }
}
