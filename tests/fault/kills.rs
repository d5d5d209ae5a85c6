//! Kills during a change, at each call of the token and at random times: after the next start the
//! change is complete or absent.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use fault_token::{Fault, Rule, When, mix};
use rustix::process::{Pid, Signal, kill_process};

use crate::end_to_end::Consistency;
use crate::ledger::{Ledger, perform};
use crate::observation::Depth;
use crate::scale::{report, scaled};
use crate::setup::Setup;
use crate::support::gateway::{Gateway, text};
use crate::support::key_history::Outcome;
use crate::support::key_material::wrap;
use crate::support::key_model::{Change, Kind, Operation};

/// A change, and what has to be there before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Create(Kind),
    AddVersion(Kind),
    Rotation,
    Enable,
    Disable,
    Schedule,
    Cancel,
    Parameters,
    FirstImport,
    /// Of material that was deleted.
    SecondImport,
    DeleteMaterial,
    CreateAlias,
    UpdateAlias,
    DeleteAlias,
    CreateClientKey,
    DeleteClientKey,
}

/// What one gateway after the other is tried with, on the same state.
struct KillTest {
    ledger: RefCell<Ledger>,
    consistency: Consistency,
    name: usize,
}

#[tokio::test]
async fn a_key_is_made_whole_or_not_at_all() {
    killed_at(&[Case::Create(Kind::Cipher), Case::Create(Kind::External)]).await;
}

#[tokio::test]
async fn a_key_pair_is_made_whole_or_not_at_all() {
    killed_at(&[Case::Create(Kind::Signing), Case::Create(Kind::Decryption)]).await;
}

#[tokio::test]
async fn a_key_version_is_made_whole_or_not_at_all() {
    killed_at(&[Case::AddVersion(Kind::Cipher), Case::AddVersion(Kind::Signing)]).await;
}

#[tokio::test]
async fn material_is_imported_whole_or_not_at_all() {
    killed_at(&[Case::Parameters, Case::FirstImport, Case::SecondImport]).await;
}

#[tokio::test]
async fn material_that_was_deleted_does_not_come_back() {
    killed_at(&[Case::DeleteMaterial]).await;
}

#[tokio::test]
async fn the_state_of_a_key_is_what_was_told() {
    let cases = [Case::Schedule, Case::Cancel, Case::Enable, Case::Disable, Case::Rotation];
    killed_at(&cases).await;
}

#[tokio::test]
async fn an_alias_names_what_was_told() {
    killed_at(&[Case::CreateAlias, Case::UpdateAlias, Case::DeleteAlias]).await;
}

#[tokio::test]
async fn a_client_key_is_there_or_not_as_was_told() {
    killed_at(&[Case::CreateClientKey, Case::DeleteClientKey]).await;
}

async fn killed_at(cases: &[Case]) {
    for case in cases {
        every_boundary(*case).await;
        any_instant(*case, scaled(5, 100)).await;
    }
}

/// Kills before and after each call of the token, or some of them, until the change needs fewer calls.
async fn every_boundary(case: Case) {
    let (mut setup, mut kill_test) = KillTest::start(case).await;
    let mut kills = 0;
    for fault in [Fault::KillBefore, Fault::KillAfter] {
        for call in (1..).step_by(scaled(5, 1)) {
            let operation = kill_test.prepare(&setup.gateway, case).await;
            setup.token.add(Rule::on_all(fault.clone()).when(When::At(call)));
            let outcome = perform(&kill_test.ledger, &setup.gateway.client, &operation).await;
            setup = setup.kill_and_restart();
            kill_test.check_and_retry(&setup.gateway, &operation).await;
            if outcome.is_done() {
                break;
            }
            kills += 1;
        }
    }
    kill_test.finish(&setup.gateway).await;
    let facts = kill_test.ledger.into_inner().facts;
    report(&format!("{case:?}: {kills} kills at calls of the token, {facts} facts checked"));
}

/// Kills at instants that are spread over the time that the change takes.
async fn any_instant(case: Case, kills: usize) {
    let (mut setup, mut kill_test) = KillTest::start(case).await;
    let mut longest = Duration::ZERO;
    for _kill_test in 0..3 {
        let operation = kill_test.prepare(&setup.gateway, case).await;
        let start = Instant::now();
        assert!(perform(&kill_test.ledger, &setup.gateway.client, &operation).await.is_done());
        longest = longest.max(start.elapsed());
    }
    let micros = u64::try_from(longest.as_micros()).unwrap();
    for kill in 0..kills {
        let operation = kill_test.prepare(&setup.gateway, case).await;
        let prng = mix(micros, u64::try_from(kill).unwrap());
        let delay = Duration::from_micros(prng % micros);
        let process = Pid::from_raw(setup.gateway.process_id().cast_signed()).unwrap();
        let killer = thread::spawn(move || {
            thread::sleep(delay);
            kill_process(process, Signal::KILL).unwrap();
        });
        perform(&kill_test.ledger, &setup.gateway.client, &operation).await;
        killer.join().unwrap();
        setup = setup.kill_and_restart();
        kill_test.check_and_retry(&setup.gateway, &operation).await;
    }
    kill_test.finish(&setup.gateway).await;
    let ledger = kill_test.ledger.into_inner();
    report(&format!(
        "{case:?}: {kills} kills within {longest:?}, {} of them before the answer, \
         {} facts checked",
        ledger.unanswered, ledger.facts
    ));
}

impl KillTest {
    async fn start(case: Case) -> (Setup, Self) {
        let setup = Setup::start();
        let consistency = Consistency::of(&setup.gateway).await;
        let mut ledger = Ledger::of(&setup.gateway);
        if matches!(case, Case::CreateClientKey | Case::DeleteClientKey) {
            ledger.create_access_point(&setup.gateway).await;
        }
        (setup, Self { ledger: RefCell::new(ledger), consistency, name: 0 })
    }

    /// Looks at everything, does once more what may not have been done, and looks again.
    async fn check_and_retry(&mut self, gateway: &Gateway, operation: &Operation) {
        self.ledger.get_mut().check(gateway, Depth::Changed).await;
        self.consistency.check(gateway).await;
        let outcome = perform(&self.ledger, &gateway.client, operation).await;
        assert!(!matches!(outcome, Outcome::Unknown), "{}", gateway.log());
        self.ledger.get_mut().check(gateway, Depth::Changed).await;
    }

    async fn finish(&mut self, gateway: &Gateway) {
        self.ledger.get_mut().check(gateway, Depth::All).await;
        self.consistency.check_all(gateway).await;
    }

    /// Makes everything that a change needs, and gives the change.
    async fn prepare(&mut self, gateway: &Gateway, case: Case) -> Operation {
        self.name += 1;
        let name = format!("alias/{}", self.name);
        let operation = match case {
            Case::Create(kind) => return Operation::CreateKey(kind),
            Case::CreateClientKey => return Operation::CreateClientKey,
            Case::DeleteClientKey => {
                let made = self.done(gateway, &Operation::CreateClientKey).await;
                Operation::DeleteClientKey { id: text(&made["ClientKeyId"]).to_owned() }
            }
            Case::CreateAlias => Operation::CreateAlias { name, key: gateway.dev.key_id.clone() },
            Case::UpdateAlias => {
                let key = gateway.dev.key_id.clone();
                self.done(gateway, &Operation::CreateAlias { name: name.clone(), key }).await;
                let key = self.create(gateway, Kind::Cipher).await;
                Operation::UpdateAlias { name, key }
            }
            Case::DeleteAlias => {
                let key = gateway.dev.key_id.clone();
                self.done(gateway, &Operation::CreateAlias { name: name.clone(), key }).await;
                Operation::DeleteAlias { name }
            }
            Case::Parameters | Case::FirstImport | Case::SecondImport | Case::DeleteMaterial => {
                self.prepare_external(gateway, case).await
            }
            _ => self.prepare_key(gateway, case).await,
        };
        // What was made before the kill is used before it, too.
        self.ledger.get_mut().check(gateway, Depth::Changed).await;
        operation
    }

    async fn prepare_key(&mut self, gateway: &Gateway, case: Case) -> Operation {
        let kind = if let Case::AddVersion(kind) = case { kind } else { Kind::Cipher };
        let key = self.create(gateway, kind).await;
        let (before, change) = match case {
            Case::AddVersion(_) => (None, Change::AddVersion),
            Case::Rotation => (None, Change::Rotation(7)),
            Case::Enable => (Some(Change::Disable), Change::Enable),
            Case::Disable => (None, Change::Disable),
            Case::Cancel => (Some(Change::Schedule), Change::Cancel),
            _ => (None, Change::Schedule),
        };
        if let Some(before) = before {
            self.done(gateway, &Operation::to(&key, before)).await;
        }
        Operation::to(&key, change)
    }

    async fn prepare_external(&mut self, gateway: &Gateway, case: Case) -> Operation {
        let key = self.create(gateway, Kind::External).await;
        if case == Case::Parameters {
            return Operation::to(&key, Change::Parameters);
        }
        let given = self.done(gateway, &Operation::to(&key, Change::Parameters)).await;
        let material = u8::try_from(self.name % 256).unwrap();
        let wrapped = wrap(&given, &[material; 32]);
        let token = text(&given["ImportToken"]).to_owned();
        let import = Operation::to(&key, Change::Import { token, wrapped });
        if case == Case::FirstImport {
            return import;
        }
        self.done(gateway, &import).await;
        // What it encrypts has to open again when the material has come back.
        self.ledger.get_mut().check(gateway, Depth::Changed).await;
        let delete = Operation::to(&key, Change::DeleteMaterial);
        if case == Case::DeleteMaterial {
            return delete;
        }
        self.done(gateway, &delete).await;
        import
    }

    async fn create(&mut self, gateway: &Gateway, kind: Kind) -> String {
        let made = self.done(gateway, &Operation::CreateKey(kind)).await;
        text(&made["KeyMetadata"]["KeyId"]).to_owned()
    }

    /// Does what must be possible.
    async fn done(&self, gateway: &Gateway, operation: &Operation) -> serde_json::Value {
        match perform(&self.ledger, &gateway.client, operation).await {
            Outcome::Done(answer) => answer,
            outcome => panic!("{operation:?}: {outcome:?}\n{}", gateway.log()),
        }
    }
}
