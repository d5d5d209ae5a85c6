//! Versions and labels under parallel writers: the answers have a sequential order, each between its call and
//! its answer, whichever gateway and protocol is asked.

#![expect(clippy::print_stdout, reason = "the figures are printed")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use fault_token::Prng;
use hsmgate::api::instance::messages::{GetSecretValueRequest, GetSecretValueResponse};
use hsmgate::cli::client::{CallError, Client};
use serde_json::Value;

use crate::support::client_key::{ClientKey, PASSWORD};
use crate::support::gateway::{Gateway, text};
use crate::support::history::{Timed, explain};
use crate::support::instance_client::InstanceClient;

const NAME: (&str, &str) = ("SecretName", "db");
const CURRENT: &str = "ACSCurrent";
const PREVIOUS: &str = "ACSPrevious";
const LABELS: [&str; 3] = [CURRENT, "blue", "green"];
const WRITERS: usize = 8;
const READERS: usize = 3;
const ROUNDS: usize = 5;
const CALLS: usize = 3;
const MAX_VERSIONS: usize = 10;

/// What a secret has: its versions, oldest first, and the version of each label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    versions: Vec<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
enum Request {
    Put { version: String, labels: Vec<&'static str> },
    Move { label: &'static str, to: String },
    Swap { label: &'static str, from: String, to: String },
    Remove { label: &'static str, from: String },
    Read { label: &'static str },
    List,
}

/// What was answered: a refusal by its code, or what a read shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Done,
    Refused(String),
    Value { version: String, labels: BTreeSet<String> },
    Versions(Vec<(String, BTreeSet<String>)>),
}

impl State {
    fn labels_of(&self, version: &str) -> BTreeSet<String> {
        let of = self.labels.iter().filter(|(_label, on)| *on == version);
        of.map(|(label, _on)| label.clone()).collect()
    }

    fn put_label(&mut self, label: &str, to: &str) {
        let former = self.labels.insert(label.to_owned(), to.to_owned());
        if let Some(former) = former.filter(|former| label == CURRENT && former != to) {
            self.labels.insert(PREVIOUS.to_owned(), former);
        }
    }

    /// The state after a call, and its answer.
    fn after(&self, asked: &Request) -> (Self, Answer) {
        const MISSING: &str = "Forbidden.ResourceNotFound";
        let mut after = self.clone();
        let refused = |code: &str| (self.clone(), Answer::Refused(code.to_owned()));
        let has = |version: &String| self.versions.contains(version);
        match asked {
            Request::Put { version, labels } => {
                after.versions.push(version.clone());
                for label in labels {
                    after.put_label(label, version);
                }
                if after.versions.len() > MAX_VERSIONS {
                    let at = after.versions.iter().position(|it| after.labels_of(it).is_empty());
                    after.versions.remove(at.unwrap());
                }
            }
            Request::Swap { from, .. } | Request::Remove { from, .. } if !has(from) => {
                return refused(MISSING);
            }
            Request::Swap { label, from, .. } | Request::Remove { label, from }
                if self.labels.get(*label) != Some(from) =>
            {
                return refused("InvalidParameter");
            }
            Request::Move { to, .. } | Request::Swap { to, .. } if !has(to) => {
                return refused(MISSING);
            }
            Request::Move { label, to } | Request::Swap { label, to, .. } => {
                after.put_label(label, to);
            }
            Request::Remove { label, .. } => drop(after.labels.remove(*label)),
            Request::Read { label } => {
                let Some(version) = self.labels.get(*label) else { return refused(MISSING) };
                let (version, labels) = (version.clone(), self.labels_of(version));
                return (after, Answer::Value { version, labels });
            }
            Request::List => {
                let rows = self.versions.iter().rev();
                let rows = rows.map(|it| (it.clone(), self.labels_of(it))).collect();
                return (after, Answer::Versions(rows));
            }
        }
        (after, Answer::Done)
    }
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|it| text(it).to_owned()).collect()
}

async fn ask(client: &Client, asked: &Request) -> Answer {
    let update = "UpdateSecretVersionStage";
    let list = |labels: &[&str]| serde_json::to_string(labels).unwrap();
    let (action, params) = match asked {
        Request::Put { version, labels } => (
            "PutSecretValue",
            vec![
                ("VersionId", version.clone()),
                ("SecretData", format!("value of {version}")),
                ("VersionStages", list(labels)),
            ],
        ),
        Request::Move { label, to } => {
            (update, vec![("VersionStage", (*label).to_owned()), ("MoveToVersion", to.clone())])
        }
        Request::Swap { label, from, to } => (
            update,
            vec![
                ("VersionStage", (*label).to_owned()),
                ("MoveToVersion", to.clone()),
                ("RemoveFromVersion", from.clone()),
            ],
        ),
        Request::Remove { label, from } => (
            update,
            vec![("VersionStage", (*label).to_owned()), ("RemoveFromVersion", from.clone())],
        ),
        Request::Read { label } => ("GetSecretValue", vec![("VersionStage", (*label).to_owned())]),
        Request::List => {
            let all =
                vec![("IncludeDeprecated", "true".to_owned()), ("PageSize", "100".to_owned())];
            ("ListSecretVersionIds", all)
        }
    };
    let params = params.iter().map(|(name, value)| (*name, value.as_str()));
    let params: Vec<_> = std::iter::once(NAME).chain(params).collect();
    let answer = match client.call(action, &params).await {
        Ok(answer) => answer,
        Err(CallError::Refused { code, .. }) => return Answer::Refused(code),
        Err(error) => panic!("{asked:?}: {error:?}"),
    };
    match asked {
        Request::Read { .. } => {
            let version = text(&answer["VersionId"]).to_owned();
            assert_eq!(answer["SecretData"], format!("value of {version}"));
            Answer::Value { version, labels: texts(&answer["VersionStages"]["VersionStage"]) }
        }
        Request::List => {
            let rows = answer["VersionIds"]["VersionId"].as_array().unwrap().iter();
            let row = |row: &Value| {
                let labels = texts(&row["VersionStages"]["VersionStage"]);
                (text(&row["VersionId"]).to_owned(), labels)
            };
            Answer::Versions(rows.map(row).collect())
        }
        _ => Answer::Done,
    }
}

/// Reads by the protocol of instances.
async fn ask_instance(client: &InstanceClient, label: &'static str) -> Answer {
    let request = GetSecretValueRequest {
        secret_name: NAME.1.to_owned(),
        version_stage: label.to_owned(),
        ..GetSecretValueRequest::default()
    };
    match client.outcome::<GetSecretValueResponse>("GetSecretValue", &request).await {
        Ok(read) => {
            assert_eq!(read.secret_data, format!("value of {}", read.version_id));
            let labels = read.version_stages.iter().cloned().collect();
            Answer::Value { version: read.version_id.clone(), labels }
        }
        Err(error) => Answer::Refused(error.error_code),
    }
}

/// The callers of one secret, each at one of the gateways.
struct Callers<'a> {
    clients: &'a [Client],
    readers: &'a [InstanceClient],
    start: Instant,
    known: RefCell<Vec<String>>,
    number: Cell<usize>,
    calls: RefCell<Vec<Timed<(Request, Answer)>>>,
}

impl Callers<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    fn note(&self, began: u64, asked: Request, told: Answer) {
        let call = Timed { began, answered: Some(self.now()), call: (asked, told) };
        self.calls.borrow_mut().push(call);
    }

    fn next(&self, prng: &Prng) -> Request {
        let known = self.known.borrow();
        // Of the last ones: older ones may have been dropped.
        let recent = &known[known.len().saturating_sub(MAX_VERSIONS)..];
        let (label, to) = (*prng.of(&LABELS), prng.of(recent).clone());
        let from = prng.of(recent).clone();
        match prng.below(8) {
            0..2 => {
                self.number.set(self.number.get() + 1);
                let labels: Vec<_> = LABELS.into_iter().filter(|_| prng.below(2) == 0).collect();
                let labels = if labels.is_empty() { vec![CURRENT] } else { labels };
                Request::Put { version: format!("v{}", self.number.get()), labels }
            }
            2..5 => Request::Move { label, to },
            5 | 6 if from != to => Request::Swap { label, from, to },
            7 if label != CURRENT => Request::Remove { label, from },
            _ => Request::Read { label },
        }
    }

    async fn write(&self, caller: usize, prng: &Prng) {
        let client = &self.clients[caller % self.clients.len()];
        for _call in 0..CALLS {
            let asked = self.next(prng);
            let began = self.now();
            let told = ask(client, &asked).await;
            if let (Request::Put { version, .. }, Answer::Done) = (&asked, &told) {
                self.known.borrow_mut().push(version.clone());
            }
            self.note(began, asked, told);
        }
    }

    /// Reads by the protocol of instances, and lists all versions by the public one.
    async fn read(&self, caller: usize, prng: &Prng) {
        let at = caller % self.clients.len();
        for _call in 0..CALLS {
            let label = *prng.of(&[CURRENT, PREVIOUS, "blue"]);
            let began = self.now();
            self.note(began, Request::Read { label }, ask_instance(&self.readers[at], label).await);
            let began = self.now();
            self.note(began, Request::List, ask(&self.clients[at], &Request::List).await);
        }
    }
}

/// The secret that is written and read.
pub(crate) async fn create(client: &Client) {
    let params = [NAME, ("VersionId", "v0"), ("SecretData", "value of v0")];
    client.call("CreateSecret", &params).await.unwrap();
}

/// A client key that may read every secret, for each gateway.
pub(crate) async fn instance_readers(client: &Client, endpoints: &[&str]) -> Vec<InstanceClient> {
    let policy = [
        ("Name", "readers"),
        ("Permissions", r#"["RbacPermission/Template/CryptoServiceSecretUser"]"#),
        ("Resources", r#"["secret/*"]"#),
    ];
    client.call("CreatePolicy", &policy).await.unwrap();
    let point = [("Name", "readers"), ("Policies", r#"["readers"]"#)];
    client.call("CreateApplicationAccessPoint", &point).await.unwrap();
    let key = [("AapName", "readers"), ("Password", PASSWORD)];
    let key = client.call("CreateClientKey", &key).await.unwrap();
    let reader = |endpoint: &&str| InstanceClient {
        endpoint: (*endpoint).to_owned(),
        client_key: ClientKey::open(&key),
    };
    endpoints.iter().map(reader).collect()
}

/// Whether a client reads the current value.
pub(crate) async fn may_read(reader: &InstanceClient) -> bool {
    matches!(ask_instance(reader, CURRENT).await, Answer::Value { .. })
}

/// Lets eight writers and three readers call at once, and looks for an order of all answers. The secret is
/// that of [`create`], and every client may read it.
pub(crate) async fn assert_linearizable(clients: &[Client], readers: &[InstanceClient], seed: u64) {
    let labels = [(CURRENT.to_owned(), "v0".to_owned())].into();
    let mut states = vec![State { versions: vec!["v0".to_owned()], labels }];
    let callers = Callers {
        clients,
        readers,
        start: Instant::now(),
        known: RefCell::new(vec!["v0".to_owned()]),
        number: Cell::new(0),
        calls: RefCell::default(),
    };
    let prng = Prng::new(seed);
    let mut refused = 0;
    for round in 0..ROUNDS {
        let prngs: Vec<_> =
            (0..WRITERS + READERS).map(|_caller| Prng::new(prng.number())).collect();
        let (of_writers, of_readers) = prngs.split_at(WRITERS);
        let writers = of_writers.iter().enumerate().map(|(at, prng)| callers.write(at, prng));
        let readers = of_readers.iter().enumerate().map(|(at, prng)| callers.read(at, prng));
        tokio::join!(
            futures_util::future::join_all(writers),
            futures_util::future::join_all(readers)
        );
        // The only state that the search may end in.
        let began = callers.now();
        callers.note(began, Request::List, ask(&clients[0], &Request::List).await);
        let calls = callers.calls.take();
        refused += calls.iter().filter(|it| matches!(it.call.1, Answer::Refused(_))).count();
        let apply = |state: &State, (asked, told): &(Request, Answer)| {
            let (after, answer) = state.after(asked);
            (answer == *told).then_some(after)
        };
        let is_read = |(asked, told): &(Request, Answer)| {
            matches!(asked, Request::Read { .. } | Request::List)
                || matches!(told, Answer::Refused(_))
        };
        let after = explain(&states, &calls, apply, is_read);
        assert!(!after.is_empty(), "no order explains round {round}: {states:#?}\n{calls:#?}");
        states = after;
    }
    println!("{ROUNDS} rounds, {} versions, {refused} refusals", callers.number.get());
}

#[tokio::test]
async fn labels_move_under_eight_writers_as_if_one_call_came_after_the_other() {
    let gateway = Gateway::start();
    let readers = instance_readers(&gateway.client, &[&gateway.dev.endpoint]).await;
    create(&gateway.client).await;
    assert_linearizable(std::slice::from_ref(&gateway.client), &readers, 7).await;
}
