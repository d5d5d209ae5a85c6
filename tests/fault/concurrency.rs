//! Many callers change the same keys and aliases concurrently, on a token with transient faults,
//! until the process is killed. Their answers must be explained by some sequential order, and the
//! next start must have every acknowledged change.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use fault_token::{Fault, Prng, Rule, When};

use crate::end_to_end::Consistency;
use crate::ledger::{Key, Ledger, perform};
use crate::observation::Depth;
use crate::scale::{report, scaled};
use crate::setup::Setup;
use crate::support::gateway::text;
use crate::support::history::{Timed, explain};
use crate::support::key_history::{
    AliasRequest, Outcome, apply_to_alias, apply_to_key, ask, lines,
};
use crate::support::key_material::wrap;
use crate::support::key_model::{Change, KeyFacts, KeyRequest, Kind, Operation};
use crate::support::process::signal;

/// Callers at once.
const CALLERS: usize = 6;
/// Keys that there are, once so many are made.
const MAX_KEYS: usize = 8;
const ALIASES: usize = 3;

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The process is killed.
    Kill,
    /// Its files are copied as they are at one instant, and the next process is started on the copy.
    /// Everything is in it that was written, synced or not: what a crash leaves, not a lost cache.
    Image,
    /// The callers leave, and the process serves on.
    Leave,
}

/// What callers asked of keys and aliases, and were told.
#[derive(Debug, Default)]
struct Histories {
    keys: BTreeMap<String, Vec<Timed<(KeyRequest, Outcome)>>>,
    aliases: BTreeMap<String, Vec<Timed<(AliasRequest, Outcome)>>>,
}

/// What one gateway after the other is tried with, on the same state.
struct Round {
    setup: Setup,
    ledger: RefCell<Ledger>,
    histories: RefCell<Histories>,
    /// Ciphertexts of each key.
    ciphertexts: RefCell<BTreeMap<String, String>>,
    /// How each external key gets its material.
    imports: BTreeMap<String, Change>,
    start: Instant,
    is_over: Cell<bool>,
}

impl Round {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    /// A caller's calls until the gateway is gone or the round over.
    async fn call(&self, prng: &Prng) {
        while !self.is_over.get() {
            match prng.below(20) {
                0 => self.make(prng).await,
                1..4 => self.name(prng).await,
                4 => self.client_key(prng).await,
                _ => self.use_or_change(prng).await,
            }
        }
    }

    async fn make(&self, prng: &Prng) {
        if self.ledger.borrow().keys.len() < MAX_KEYS {
            let kind = *prng.of(&[Kind::Cipher, Kind::Signing]);
            perform(&self.ledger, &self.setup.gateway.client, &Operation::CreateKey(kind)).await;
        }
    }

    async fn client_key(&self, prng: &Prng) {
        let client = &self.setup.gateway.client;
        let ids: Vec<String> = {
            let ledger = self.ledger.borrow();
            let exists = |may_be: &&Vec<bool>| **may_be == [true];
            let there = ledger.client_keys.iter().filter(|(_id, may_be)| exists(may_be));
            there.map(|(id, _may_be)| id.clone()).collect()
        };
        if ids.len() > 3 {
            let id = prng.of(&ids).clone();
            // Nobody else may delete it, too, since of that the ledger knows nothing.
            self.ledger.borrow_mut().client_keys.insert(id.clone(), vec![true, false]);
            perform(&self.ledger, client, &Operation::DeleteClientKey { id }).await;
        } else if self.ledger.borrow().client_keys.len() < 100 {
            perform(&self.ledger, client, &Operation::CreateClientKey).await;
        }
    }

    fn any_key(&self, prng: &Prng) -> (String, Kind) {
        let (ledger, demo) = (self.ledger.borrow(), &self.setup.gateway.dev.key_id);
        let keys = ledger.keys.iter().filter(|(id, _key)| *id != demo);
        let keys: Vec<_> = keys.map(|(id, key)| (id.clone(), key.kind)).collect();
        prng.of(&keys).clone()
    }

    async fn name(&self, prng: &Prng) {
        let alias = format!("alias/of-{}", prng.below(ALIASES));
        let (key, _kind) = self.any_key(prng);
        let asked = match prng.below(5) {
            0 => AliasRequest::Create(key),
            1 => AliasRequest::Update(key),
            2 => AliasRequest::Delete,
            _ => AliasRequest::Resolve,
        };
        let began = self.now();
        let outcome = ask(&self.setup.gateway.client, asked.request(&alias)).await;
        if let Some(call) = self.timed(began, asked, outcome) {
            self.histories.borrow_mut().aliases.entry(alias).or_default().push(call);
        }
    }

    async fn use_or_change(&self, prng: &Prng) {
        let (key, kind) = self.any_key(prng);
        let encrypted = self.ciphertexts.borrow().get(&key).cloned();
        let asked = match prng.below(20) {
            0 => KeyRequest::To(Change::AddVersion),
            1 => KeyRequest::To(Change::Rotation(7 + u16::try_from(prng.below(30)).unwrap())),
            2 => KeyRequest::To(Change::Disable),
            13 => KeyRequest::To(Change::Description(format!("text {}", prng.below(9)))),
            3..5 => KeyRequest::To(Change::Enable),
            5 => KeyRequest::To(Change::Schedule),
            6..8 => KeyRequest::To(Change::Cancel),
            8 => KeyRequest::To(Change::DeleteMaterial),
            9..11 => match self.imports.get(&key) {
                Some(import) => KeyRequest::To(import.clone()),
                None => KeyRequest::Describe,
            },
            11..13 => KeyRequest::Describe,
            14 => KeyRequest::Versions,
            15..17 if encrypted.is_some() => KeyRequest::Decrypt(encrypted.unwrap()),
            _ if kind != Kind::Signing => KeyRequest::Encrypt,
            _ => KeyRequest::Describe,
        };
        let began = self.now();
        let outcome = ask(&self.setup.gateway.client, asked.request(&key)).await;
        if let (KeyRequest::Encrypt, Outcome::Done(answer)) = (&asked, &outcome) {
            let blob = text(&answer["CiphertextBlob"]).to_owned();
            self.ciphertexts.borrow_mut().insert(key.clone(), blob);
        }
        if let Some(call) = self.timed(began, asked, outcome) {
            self.histories.borrow_mut().keys.entry(key).or_default().push(call);
        }
    }

    /// The call with its answer, which was just given; none where nothing was done for certain.
    fn timed<A>(&self, began: u64, asked: A, outcome: Outcome) -> Option<Timed<(A, Outcome)>> {
        let mut ledger = self.ledger.borrow_mut();
        let mut answered = Some(self.now());
        match outcome {
            Outcome::Nothing => return None,
            Outcome::Done(_) => ledger.acknowledged += 1,
            Outcome::Refused(_) => {}
            Outcome::Unknown => {
                ledger.unanswered += 1;
                answered = None;
            }
        }
        Some(Timed { began, answered, call: (asked, outcome) })
    }

    /// What was told must be explained by some order; what may be so after it is known then.
    fn explain(&mut self) -> usize {
        let (ledger, histories) = (self.ledger.get_mut(), self.histories.get_mut());
        let mut told = 0;
        for (id, calls) in std::mem::take(&mut histories.keys) {
            let key = ledger.keys.get_mut(&id).unwrap();
            let kind = key.kind;
            let apply = |facts: &KeyFacts, (asked, outcome): &(KeyRequest, Outcome)| {
                apply_to_key(kind, facts, asked, outcome)
            };
            let after = explain(&key.may_be, &calls, apply, |(asked, outcome)| {
                asked.change().is_none() || matches!(outcome, Outcome::Refused(_))
            });
            assert!(!after.is_empty(), "no order explains, of {id}: {key:?}\n{}", lines(&calls));
            key.may_be = after;
            key.is_changed = true;
            told += calls.len();
        }
        for (name, calls) in std::mem::take(&mut histories.aliases) {
            let before = ledger.aliases.entry(name.clone()).or_insert_with(|| vec![None]);
            let apply = |key: &Option<String>, (asked, outcome): &(AliasRequest, Outcome)| {
                apply_to_alias(key, asked, outcome)
            };
            let after = explain(before, &calls, apply, |(asked, outcome)| {
                matches!(asked, AliasRequest::Resolve) || matches!(outcome, Outcome::Refused(_))
            });
            assert!(
                !after.is_empty(),
                "no order explains, of {name}: {before:?}\n{}",
                lines(&calls)
            );
            *before = after;
            told += calls.len();
        }
        told
    }
}

/// Takes an image of the state, and puts it where the state was once the process is dead.
fn take_image(setup: &Setup) {
    let (state, process) = (setup.gateway.state(), setup.gateway.process_id());
    let image = state.with_file_name("image");
    signal("STOP", &process);
    while !is_stopped(process) {
        std::thread::yield_now();
    }
    let copied = Command::new("cp").args(["-a", "--"]).arg(&state).arg(&image).status().unwrap();
    assert!(copied.success());
    signal("KILL", &process);
    // Of the index of the log nothing is on a disk.
    std::fs::remove_file(image.join("hsmgate.db-shm")).ok();
    std::fs::rename(&state, state.with_file_name("before")).unwrap();
    std::fs::rename(&image, &state).unwrap();
    std::fs::remove_dir_all(state.with_file_name("before")).unwrap();
}

/// Whether every thread of a process stands still.
fn is_stopped(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let is_stopped = |stat: String| stat.contains(") T ");
    threads.into_iter().all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat"));
        stat.is_ok_and(is_stopped)
    })
}

/// Two external keys, and how they get their material.
async fn imports(setup: &Setup, ledger: &RefCell<Ledger>) -> BTreeMap<String, Change> {
    let mut imports = BTreeMap::new();
    for material in 1..3 {
        let made = setup.gateway.call("CreateKey", &[("Origin", "EXTERNAL")]).await;
        let key = text(&made["KeyMetadata"]["KeyId"]).to_owned();
        ledger.borrow_mut().keys.insert(key.clone(), Key::new(Kind::External));
        let operation = Operation::to(&key, Change::Parameters);
        let Outcome::Done(given) = perform(ledger, &setup.gateway.client, &operation).await else {
            panic!("{}", setup.gateway.log());
        };
        let token = text(&given["ImportToken"]).to_owned();
        let wrapped = wrap(&given, &[material; 32]);
        imports.insert(key, Change::Import { token, wrapped });
    }
    imports
}

/// Rounds of callers at once, with these faults of the token by chance.
async fn under_load(name: &str, rounds: usize, faults: &[Fault], end: End, seed: u64) {
    let setup = Setup::start();
    let consistency = Consistency::of(&setup.gateway).await;
    let mut ledger = Ledger::of(&setup.gateway);
    ledger.create_access_point(&setup.gateway).await;
    let ledger = RefCell::new(ledger);
    let imports = imports(&setup, &ledger).await;
    let mut round = Round {
        setup,
        ledger,
        histories: RefCell::default(),
        ciphertexts: RefCell::default(),
        imports,
        start: Instant::now(),
        is_over: Cell::new(false),
    };
    let prng = Prng::new(seed);
    let mut told = 0;
    for number in 0..rounds {
        for (index, fault) in (1..).zip(faults) {
            let seed = seed.wrapping_add(1_000 * number as u64 + index);
            let when = When::Random { per_million: 10_000 / faults.len() as u64, seed };
            round.setup.token.add(Rule::on_all(fault.clone()).when(when));
        }
        let (shortest, longest) = if end == End::Leave { (500, 1_000) } else { (20, 200) };
        let life = shortest + prng.below(longest - shortest);
        let life = Duration::from_millis(life.try_into().unwrap());
        round.is_over.set(false);
        let finish = async {
            tokio::time::sleep(life).await;
            match end {
                End::Kill => signal("KILL", &round.setup.gateway.process_id()),
                End::Image => take_image(&round.setup),
                End::Leave => {}
            }
            round.is_over.set(true);
        };
        let callers: Vec<_> = (0..CALLERS).map(|_caller| Prng::new(prng.number())).collect();
        let callers = callers.iter().map(|prng| round.call(prng));
        tokio::join!(finish, futures_util::future::join_all(callers));
        match end {
            End::Kill | End::Image => round.setup = round.setup.kill_and_restart(),
            End::Leave => {
                round.setup.token.clear();
                while round.setup.encrypt().await.status != 200 {}
            }
        }
        told += round.explain();
        let gateway = &round.setup.gateway;
        round.ledger.get_mut().check(gateway, Depth::Changed).await;
        consistency.check_all(gateway).await;
    }
    let gateway = &round.setup.gateway;
    let ledger = round.ledger.get_mut();
    ledger.check(gateway, Depth::All).await;
    report(&format!(
        "{name}: {rounds} rounds of {CALLERS} callers, {told} answers explained, {} acknowledged, \
         {} without an answer, {} facts checked",
        ledger.acknowledged, ledger.unanswered, ledger.facts
    ));
}

fn transient_faults() -> [Fault; 4] {
    [
        Fault::return_code("CKR_GENERAL_ERROR"),
        Fault::return_code_after("CKR_FUNCTION_FAILED"),
        Fault::CloseSessions,
        Fault::LogOut,
    ]
}

#[tokio::test]
async fn changes_at_once_are_told_as_if_they_came_one_after_the_other() {
    under_load("at once", scaled(3, 50), &[], End::Leave, 1).await;
}

#[tokio::test]
async fn changes_at_once_on_a_token_with_transient_faults_are_told_as_if_they_came_one_after_the_other()
 {
    under_load("at once, stumbling", scaled(3, 50), &transient_faults(), End::Leave, 2).await;
}

#[tokio::test]
async fn kills_at_any_instant_under_load_lose_nothing_that_was_acknowledged() {
    under_load("kills", scaled(10, 200), &[], End::Kill, 3).await;
}

#[tokio::test]
async fn kills_and_token_errors_together_lose_nothing_that_was_acknowledged() {
    under_load("kills, stumbling", scaled(5, 100), &transient_faults(), End::Kill, 4).await;
}

#[tokio::test]
async fn an_image_of_the_files_at_any_instant_has_everything_that_was_acknowledged() {
    under_load("images", scaled(5, 50), &[], End::Image, 5).await;
}
