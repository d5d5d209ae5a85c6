//! Runs the program of a client, reads its steps and counts them.

use std::collections::HashSet;
use std::env;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::AddAssign;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::gateways::Gateways;
use crate::support::process::signal;

/// No program of a client may take longer.
const LIMIT: Duration = Duration::from_mins(5);

/// Steps by their ending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    const fn steps(self) -> usize {
        self.passed + self.failed
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The clients of one language: what they did, and why that is not enough, if it is not.
pub(crate) struct Language {
    name: &'static str,
    wanted_steps: usize,
    total: Count,
    faults: Vec<String>,
}

impl Language {
    /// A language of which so many steps are wanted, together.
    pub(crate) const fn new(name: &'static str, wanted_steps: usize) -> Self {
        Self {
            name,
            wanted_steps,
            total: Count { passed: 0, failed: 0, skipped: 0 },
            faults: vec![],
        }
    }

    /// Says that the language cannot be run here, which is a failure where `CI` is `true`.
    pub(crate) fn skip(&self, reason: &str) {
        assert!(!is_ci(), "{} clients: {reason}", self.name);
        show(&format!("skipped: {} clients: {reason}\n", self.name));
    }

    /// Runs a client, unless others are chosen, and shows what it did.
    ///
    /// `version` is that of the official client, `program` what drives it.
    pub(crate) fn run(
        &mut self,
        client: &str,
        version: &str,
        program: &mut Command,
        gateways: &Gateways,
    ) {
        gateways.tell(program);
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let ended = program.spawn().map(output_in_time);
        let seconds = started.elapsed().as_secs();
        let name = format!("{}/{client}", self.name);
        let Ok(Some(output)) = ended else {
            let fault =
                format!("{name}: does not start, or does not end within {LIMIT:?}: {ended:?}");
            return self.faults.push(fault);
        };
        let written = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let (count, mut faults) = read_steps(&written);
        if output.status.success() != (count.failed == 0) || count.steps() == 0 {
            faults.push(format!("ended with {} and without its steps", output.status));
        }
        if count.skipped > 0 && is_ci() {
            faults.push("a step was skipped, and CI is set".to_owned());
        }
        let noise = if faults.is_empty() { "" } else { &*errors };
        show(&format!("{name}, {seconds} s:\n{written}{noise}{name} {version}: {count}\n"));
        self.faults.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
        self.total += count;
    }

    /// What comes to light beside a step.
    pub(crate) fn fail(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Fails the test unless all clients have done what is wanted of them.
    pub(crate) fn finish(self, gateways: Gateways) {
        let Self { name, wanted_steps, total, mut faults } = self;
        if chosen().is_none() && total.steps() < wanted_steps {
            faults.push(format!("{name}: {} steps of {wanted_steps}", total.steps()));
        }
        show(&format!("{name} in all: {total}\n"));
        let logged_errors = gateways.logged_errors();
        gateways.stop();
        assert!(faults.is_empty(), "{}\nthe gateways' logs:\n{logged_errors}", faults.join("\n"));
    }
}

/// Whether a client shall run: all do unless `HSMGATE_CLIENTS` names some.
pub(crate) fn is_chosen(client: &str) -> bool {
    chosen().is_none_or(|clients| clients.split(',').any(|chosen| chosen == client))
}

fn chosen() -> Option<String> {
    env::var("HSMGATE_CLIENTS").ok().filter(|clients| !clients.is_empty())
}

fn is_ci() -> bool {
    env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Writes past the capture of the test runner, as one piece.
fn show(text: &str) {
    io::stdout().lock().write_all(text.as_bytes()).expect("standard output can be written");
}

/// All that a program wrote, unless it does not end in time; it is killed then.
fn output_in_time(mut program: Child) -> Option<Output> {
    let stdout = reader(program.stdout.take());
    let stderr = reader(program.stderr.take());
    let limit = Instant::now() + LIMIT;
    let id = program.id().to_string();
    let (done, ended) = std::sync::mpsc::channel();
    let waiting = thread::spawn(move || {
        let status = program.wait();
        done.send(()).ok();
        status
    });
    let in_time = ended.recv_timeout(limit - Instant::now()).is_ok();
    if !in_time {
        signal("KILL", &id);
    }
    let status = waiting.join().expect("it waits").expect("a child can be waited for");
    let (stdout, stderr) = (stdout.join().expect("it reads"), stderr.join().expect("it reads"));
    in_time.then_some(Output { status, stdout, stderr })
}

fn reader(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    let mut stream = stream.expect("it is piped");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

/// The steps in what a program wrote, and what is wrong with them.
fn read_steps(written: &str) -> (Count, Vec<String>) {
    let (mut count, mut faults) = (Count::default(), Vec::new());
    let mut names = HashSet::new();
    for line in written.lines() {
        let Some(step) = Step::of(line) else {
            faults.push(format!("no line of a step: {line}"));
            continue;
        };
        if !names.insert(step.name) {
            faults.push(format!("two steps have the name {}", step.name));
        }
        match step.ending {
            "passed" => count.passed += 1,
            "skipped" => count.skipped += 1,
            _ => {
                count.failed += 1;
                faults.push(line.to_owned());
            }
        }
    }
    (count, faults)
}

struct Step<'a> {
    ending: &'a str,
    name: &'a str,
}

impl<'a> Step<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (ending, rest) = line.split_once(' ')?;
        let (name, reason) = match rest.split_once(": ") {
            Some((name, reason)) => (name, Some(reason)),
            None => (rest, None),
        };
        let has_reason = reason.is_some_and(|reason| !reason.is_empty());
        let is_right = match ending {
            "passed" => reason.is_none(),
            "failed" | "skipped" => has_reason,
            _ => false,
        };
        (is_right && is_name(name)).then_some(Self { ending, name })
    }
}

fn is_name(text: &str) -> bool {
    text.split('-').all(|word| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

#[test]
fn steps_are_counted_by_their_ending() {
    let (count, faults) = read_steps("passed aes-256\nskipped sm2: no token has it\n");
    assert_eq!(count, Count { passed: 1, failed: 0, skipped: 1 });
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn a_failed_step_a_repeated_name_and_any_other_line_are_faults() {
    let written = "failed a: b\npassed a\npassed Two Words\npassed b: c\nfailed d\npanic: e\n";
    let (count, faults) = read_steps(written);
    assert_eq!(count, Count { passed: 1, failed: 1, skipped: 0 });
    assert_eq!(faults.len(), 6, "{faults:?}");
}
