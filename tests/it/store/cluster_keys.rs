//! Keys and aliases that are changed at three gateways at once, one of which is killed and started again: the
//! changes have one order, each between its call and its answer, and what a gateway tells of the others is not
//! older than the documents say.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fault_token::Prng;
use futures_util::future::join_all;
use hsmgate::cli::client::Client;

use super::cluster::Cluster;
use crate::support::gateway::text;
use crate::support::history::{Timed, explain_ordered};
use crate::support::installation::Server;
use crate::support::key_history::{
    AliasRequest, Outcome, apply_to_alias, apply_to_key, ask, line_of,
};
use crate::support::key_model::{Change, KeyFacts, KeyRequest, Kind};
use crate::support::process::until_async;
use crate::support::scale::{report, scaled};

const NAMES: [&str; 3] = ["a", "b", "c"];
const CALLERS: usize = 3;
const KEYS: usize = 3;
const ALIASES: [&str; 2] = ["alias/one", "alias/two"];
/// A change at one gateway is effective at all others within this time.
const BOUND: Duration = Duration::from_secs(5);
/// Of these, the smallest that explains everything is printed.
const BOUNDS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    BOUND,
];

/// What was asked at a gateway, and told.
#[derive(Debug, Clone)]
struct Told<A> {
    gateway: usize,
    asked: A,
    outcome: Outcome,
    /// All gateways tell the same, and nobody changes anything.
    is_settled: bool,
}

/// What may change something.
trait KeyOrAlias {
    fn is_change(&self) -> bool;
}

impl KeyOrAlias for KeyRequest {
    fn is_change(&self) -> bool {
        self.change().is_some()
    }
}

impl KeyOrAlias for AliasRequest {
    fn is_change(&self) -> bool {
        !matches!(self, Self::Resolve)
    }
}

impl<A: KeyOrAlias> Told<A> {
    fn is_refused(&self) -> bool {
        matches!(self.outcome, Outcome::Refused(_))
    }

    /// Whether it changed nothing.
    fn is_read(&self) -> bool {
        !self.asked.is_change() || self.is_refused()
    }
}

/// Whether one call comes before another in every order. A change is made in the database, which all gateways
/// share. What is read is in the memory of the gateway, which has its own changes at once and those of the others
/// within `bound`, and never goes back. The refusal of a change may be of either.
fn is_before<A: KeyOrAlias>(one: &Timed<Told<A>>, other: &Timed<Told<A>>, bound: Duration) -> bool {
    let Some(answered) = one.answered else { return false };
    let is_of_memory = other.call.is_read() && !other.call.is_settled;
    let is_elsewhere = one.call.gateway != other.call.gateway && !one.call.is_settled;
    let may_be_of_database = one.call.asked.is_change() && one.call.is_refused();
    let may_be_late = is_of_memory && (is_elsewhere || may_be_of_database);
    let bound = if may_be_late { u64::try_from(bound.as_nanos()).unwrap() } else { 0 };
    answered + bound < other.began
}

type History<A> = Vec<Timed<Told<A>>>;

/// The callers of all gateways.
struct Callers {
    /// None of a gateway that is down.
    clients: RefCell<[Option<Client>; 3]>,
    keys: Vec<String>,
    /// What the keys were at the beginning.
    before: BTreeMap<String, KeyFacts>,
    of_keys: RefCell<BTreeMap<String, History<KeyRequest>>>,
    of_aliases: RefCell<BTreeMap<&'static str, History<AliasRequest>>>,
    /// The last ciphertext of each key, and when it was told.
    ciphertexts: RefCell<BTreeMap<String, (String, u64)>>,
    /// SoftHSM2 may not see what two processes create at the same instant.
    creation: tokio::sync::Mutex<()>,
    number: Cell<usize>,
    /// Calls whose outcome is not known, and decryptions at a gateway that did not know the version yet.
    unknown: Cell<usize>,
    too_early: Cell<usize>,
    start: Instant,
    is_over: Cell<bool>,
}

impl Callers {
    async fn of(servers: &[Server; 3], cluster: &Cluster<'_>) -> Self {
        let clients = servers.each_ref().map(|server| server.client(&cluster.admin));
        let mut before = BTreeMap::new();
        for _key in 0..KEYS {
            let made = clients[0].call("CreateKey", &[]).await.unwrap();
            let metadata = &made["KeyMetadata"];
            let primary = Some(text(&metadata["PrimaryKeyVersion"]).to_owned());
            let facts = KeyFacts { primary, ..KeyFacts::new(Kind::Cipher) };
            before.insert(text(&metadata["KeyId"]).to_owned(), facts);
        }
        Self {
            clients: RefCell::new(clients.map(Some)),
            keys: before.keys().cloned().collect(),
            before,
            of_keys: RefCell::default(),
            of_aliases: RefCell::default(),
            ciphertexts: RefCell::default(),
            creation: tokio::sync::Mutex::default(),
            number: Cell::default(),
            unknown: Cell::default(),
            too_early: Cell::default(),
            start: Instant::now(),
            is_over: Cell::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    fn client(&self, gateway: usize) -> Option<Client> {
        self.clients.borrow()[gateway].clone()
    }

    /// A caller's calls at a gateway until the round is over.
    async fn call(&self, gateway: usize, prng: &Prng) {
        while !self.is_over.get() {
            let Some(client) = self.client(gateway) else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            if prng.below(4) == 0 {
                let asked = self.next_of_alias(prng);
                let alias = ALIASES[prng.below(ALIASES.len())];
                self.ask_alias(gateway, &client, alias, asked, false).await;
            } else {
                let key = prng.of(&self.keys);
                let asked = self.next_of_key(key, prng);
                self.ask_key(gateway, &client, key, asked, false).await;
            }
        }
    }

    fn next_of_alias(&self, prng: &Prng) -> AliasRequest {
        let key = prng.of(&self.keys).clone();
        match prng.below(8) {
            0 => AliasRequest::Create(key),
            1 | 2 => AliasRequest::Update(key),
            3 => AliasRequest::Delete,
            _ => AliasRequest::Resolve,
        }
    }

    fn next_of_key(&self, key: &str, prng: &Prng) -> KeyRequest {
        let encrypted = || Some(self.ciphertexts.borrow().get(key)?.0.clone());
        KeyRequest::To(match prng.below(24) {
            0 => Change::AddVersion,
            1 => Change::Rotation(7 + u16::try_from(prng.below(30)).unwrap()),
            2 | 3 => {
                self.number.set(self.number.get() + 1);
                Change::Description(format!("text {}", self.number.get()))
            }
            4 => Change::Disable,
            5 | 6 => Change::Enable,
            7 => Change::Schedule,
            8 | 9 => Change::Cancel,
            10 => return KeyRequest::Versions,
            11..15 => return KeyRequest::Describe,
            15..19 => return encrypted().map_or(KeyRequest::Describe, KeyRequest::Decrypt),
            _ => return KeyRequest::Encrypt,
        })
    }

    async fn ask_key(
        &self,
        gateway: usize,
        client: &Client,
        key: &str,
        asked: KeyRequest,
        is_settled: bool,
    ) {
        let _creation = match asked {
            KeyRequest::To(Change::AddVersion) => Some(self.creation.lock().await),
            _ => None,
        };
        let began = self.now();
        let outcome = ask(client, asked.request(key)).await;
        match (&asked, &outcome) {
            (KeyRequest::Encrypt, Outcome::Done(answer)) => {
                let blob = text(&answer["CiphertextBlob"]).to_owned();
                self.ciphertexts.borrow_mut().insert(key.to_owned(), (blob, self.now()));
            }
            (KeyRequest::Decrypt(blob), Outcome::Refused(code))
                if code == "Forbidden.KeyNotFound" =>
            {
                // The version of the ciphertext is not known here yet.
                let of_key = self.ciphertexts.borrow();
                let age = Duration::from_nanos(began.saturating_sub(of_key[key].1));
                assert!(of_key[key].0 != *blob || age < BOUND, "{age:?}");
                self.too_early.set(self.too_early.get() + 1);
                return;
            }
            _ => {}
        }
        if let Some(call) = self.timed(gateway, began, asked, outcome, is_settled) {
            self.of_keys.borrow_mut().entry(key.to_owned()).or_default().push(call);
        }
    }

    async fn ask_alias(
        &self,
        gateway: usize,
        client: &Client,
        alias: &'static str,
        asked: AliasRequest,
        is_settled: bool,
    ) {
        let began = self.now();
        let outcome = ask(client, asked.request(alias)).await;
        if let Some(call) = self.timed(gateway, began, asked, outcome, is_settled) {
            self.of_aliases.borrow_mut().entry(alias).or_default().push(call);
        }
    }

    /// The call with its answer, which was just given; none where nothing was told or done.
    fn timed<A: KeyOrAlias>(
        &self,
        gateway: usize,
        began: u64,
        asked: A,
        outcome: Outcome,
        is_settled: bool,
    ) -> Option<Timed<Told<A>>> {
        let is_unknown = matches!(outcome, Outcome::Unknown);
        if is_unknown {
            self.unknown.set(self.unknown.get() + 1);
        }
        if matches!(outcome, Outcome::Nothing) || (is_unknown && !asked.is_change()) {
            return None;
        }
        let answered = (!is_unknown).then(|| self.now());
        Some(Timed { began, answered, call: Told { gateway, asked, outcome, is_settled } })
    }

    /// Lets the callers of all gateways call while `meanwhile` runs.
    async fn round(&self, prng: &Prng, meanwhile: impl Future<Output = ()>) {
        self.is_over.set(false);
        let prngs: Vec<_> = (0..3 * CALLERS).map(|_caller| Prng::new(prng.number())).collect();
        let callers = prngs.iter().enumerate().map(|(at, prng)| self.call(at % 3, prng));
        let end = async {
            meanwhile.await;
            self.is_over.set(true);
        };
        tokio::join!(join_all(callers), end);
        self.wait_until_all_agree().await;
    }

    /// What a gateway tells of all keys and aliases.
    async fn facts(&self, gateway: usize) -> Vec<String> {
        let client = self.client(gateway).unwrap();
        let mut facts = Vec::new();
        for key in self.keys.iter().map(String::as_str).chain(ALIASES) {
            let described = ask(&client, KeyRequest::Describe.request(key)).await;
            facts.push(match described {
                Outcome::Done(answer) => {
                    let metadata = &answer["KeyMetadata"];
                    let names = [
                        "KeyId",
                        "KeyState",
                        "PrimaryKeyVersion",
                        "RotationInterval",
                        "Description",
                    ];
                    names.map(|name| metadata[name].to_string()).concat()
                }
                other => format!("{other:?}"),
            });
        }
        facts
    }

    /// Waits until all gateways tell the same of everything, which is then the only end of the histories.
    async fn wait_until_all_agree(&self) {
        let begun = Instant::now();
        until_async(async || {
            let first = self.facts(0).await;
            first == self.facts(1).await && first == self.facts(2).await
        })
        .await;
        assert!(begun.elapsed() < BOUND, "all tell the same after {:?}", begun.elapsed());
        let client = self.client(0).unwrap();
        for key in &self.keys {
            self.ask_key(0, &client, key, KeyRequest::Describe, true).await;
            self.ask_key(0, &client, key, KeyRequest::Versions, true).await;
        }
        for alias in ALIASES {
            self.ask_alias(0, &client, alias, AliasRequest::Resolve, true).await;
        }
    }

    /// What was told must be explained by some order. Returns the number of answers, and the smallest bound.
    fn explain(&self) -> (usize, Duration) {
        let (mut told, mut smallest) = (0, Duration::ZERO);
        for (id, calls) in self.of_keys.take() {
            let apply = |facts: &KeyFacts, call: &Told<KeyRequest>| {
                apply_to_key(Kind::Cipher, facts, &call.asked, &call.outcome)
            };
            smallest = smallest.max(explained(&id, &[self.before[&id].clone()], &calls, apply));
            told += calls.len();
        }
        for (name, calls) in self.of_aliases.take() {
            let apply = |key: &Option<String>, call: &Told<AliasRequest>| {
                apply_to_alias(key, &call.asked, &call.outcome)
            };
            smallest = smallest.max(explained(name, &[None], &calls, apply));
            told += calls.len();
        }
        (told, smallest)
    }
}

/// The smallest bound with which some order explains the calls.
fn explained<S, A>(
    name: &str,
    before: &[S],
    calls: &[Timed<Told<A>>],
    apply: impl Fn(&S, &Told<A>) -> Option<S>,
) -> Duration
where
    S: Clone + Eq + std::hash::Hash + std::fmt::Debug,
    A: KeyOrAlias + Clone + std::fmt::Debug,
{
    let is_explained = |calls: &[Timed<Told<A>>], bound: Duration| {
        let order = |one: &Timed<Told<A>>, other: &Timed<Told<A>>| is_before(one, other, bound);
        !explain_ordered(before, calls, &apply, Told::is_read, order).is_empty()
    };
    let found = BOUNDS.into_iter().find(|bound| is_explained(calls, *bound));
    found.unwrap_or_else(|| {
        let mut answers: Vec<u64> = calls.iter().filter_map(|call| call.answered).collect();
        answers.sort_unstable();
        // Later calls explain nothing of what was told before.
        let is_until = |end: &u64| is_explained(&told_until(calls, *end), BOUND);
        let end = answers[answers.partition_point(is_until)];
        let mut told = told_until(calls, end);
        told.sort_by_key(|call| call.began);
        let line = |call: &Timed<Told<A>>| {
            let Told { gateway, asked, outcome, .. } = &call.call;
            format!("{} {}", NAMES[*gateway], line_of(call, asked, outcome))
        };
        let lines: String = told.iter().map(line).collect();
        panic!("no order explains the answer of {}, of {name}:\n{lines}", end / 1000)
    })
}

/// What was told until then, and what was under way.
fn told_until<A: Clone>(calls: &[Timed<Told<A>>], end: u64) -> Vec<Timed<Told<A>>> {
    let until = |call: &&Timed<Told<A>>| call.began < end;
    let answered = |call: &Timed<Told<A>>| Timed {
        answered: call.answered.filter(|at| *at <= end),
        ..call.clone()
    };
    calls.iter().filter(until).map(answered).collect()
}

#[tokio::test]
async fn keys_and_aliases_change_at_three_gateways_as_if_one_call_came_after_the_other() {
    let cluster = Arc::new(Cluster::prepared());
    for name in NAMES {
        let file = cluster.installation.path(&format!("{name}.toml"));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}[limits]\ncalls_per_second = 0\n")).unwrap();
    }
    let mut servers = NAMES.map(|name| cluster.serve(name));
    let callers = Callers::of(&servers, &cluster).await;
    for gateway in 0..NAMES.len() {
        let client = callers.client(gateway).unwrap();
        for key in &callers.keys {
            let encryption = || KeyRequest::Encrypt.request(key);
            until_async(async || ask(&client, encryption()).await.is_done()).await;
        }
    }

    let prng = Prng::new(17);
    let load = Duration::from_millis(scaled(1_500, 10_000) as u64);
    callers.round(&prng, tokio::time::sleep(load)).await;
    let kill_and_restart = async {
        tokio::time::sleep(load).await;
        callers.clients.borrow_mut()[1] = None;
        servers[1].signal("KILL");
        tokio::time::sleep(load / 2).await;
        let shared = Arc::clone(&cluster);
        let restarted = tokio::task::spawn_blocking(move || shared.serve("b")).await.unwrap();
        callers.clients.borrow_mut()[1] = Some(restarted.client(&cluster.admin));
        servers[1] = restarted;
        tokio::time::sleep(load).await;
    };
    callers.round(&prng, kill_and_restart).await;
    let (told, bound) = callers.explain();
    report(&format!(
        "keys and aliases at three gateways: {told} answers explained, others read at most {bound:?} late, {} \
         calls without an outcome, {} decryptions before the version was known",
        callers.unknown.get(),
        callers.too_early.get()
    ));
    for server in servers {
        assert_eq!(server.stop(), Some(0));
    }
}
