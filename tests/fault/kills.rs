//! Killed while a change is made, at every call of the token and at any instant: the next start has
//! the change or has it not, and nothing between.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use fault_token::{Fault, Rule, When, mix};
use rustix::process::{Pid, Signal, kill_process};

use crate::deed::{Change, Deed, Kind};
use crate::harness::{Gateway, text};
use crate::ledger::{Ledger, Outcome, perform};
use crate::material::wrap;
use crate::observed::Depth;
use crate::rig::Rig;
use crate::scale::{report, scaled};
use crate::whole::House;

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
struct Trial {
    ledger: RefCell<Ledger>,
    house: House,
    name: usize,
}

#[tokio::test]
async fn a_key_is_made_whole_or_not_at_all() {
    killed_at(&[Case::Create(Kind::Cipher), Case::Create(Kind::External)]).await;
}

#[tokio::test]
async fn a_key_pair_is_made_whole_or_not_at_all() {
    killed_at(&[Case::Create(Kind::Signing), Case::Create(Kind::Opening)]).await;
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
    let (mut rig, mut trial) = Trial::start(case).await;
    let mut kills = 0;
    for fault in [Fault::KillBefore, Fault::KillAfter] {
        for call in (1..).step_by(scaled(5, 1)) {
            let deed = trial.prepare(&rig.gateway, case).await;
            rig.token.add(Rule::on_all(fault.clone()).when(When::At(call)));
            let outcome = perform(&trial.ledger, &rig.gateway.client, &deed).await;
            rig = rig.kill_and_restart();
            trial.check_and_retry(&rig.gateway, &deed).await;
            if outcome.is_done() {
                break;
            }
            kills += 1;
        }
    }
    trial.finish(&rig.gateway).await;
    let facts = trial.ledger.into_inner().facts;
    report(&format!("{case:?}: {kills} kills at calls of the token, {facts} facts checked"));
}

/// Kills at instants that are spread over the time that the change takes.
async fn any_instant(case: Case, kills: usize) {
    let (mut rig, mut trial) = Trial::start(case).await;
    let mut longest = Duration::ZERO;
    for _trial in 0..3 {
        let deed = trial.prepare(&rig.gateway, case).await;
        let start = Instant::now();
        assert!(perform(&trial.ledger, &rig.gateway.client, &deed).await.is_done());
        longest = longest.max(start.elapsed());
    }
    let micros = u64::try_from(longest.as_micros()).unwrap();
    for kill in 0..kills {
        let deed = trial.prepare(&rig.gateway, case).await;
        let chance = mix(micros, u64::try_from(kill).unwrap());
        let delay = Duration::from_micros(chance % micros);
        let process = Pid::from_raw(rig.gateway.process.process_id().cast_signed()).unwrap();
        let killer = thread::spawn(move || {
            thread::sleep(delay);
            kill_process(process, Signal::KILL).unwrap();
        });
        perform(&trial.ledger, &rig.gateway.client, &deed).await;
        killer.join().unwrap();
        rig = rig.kill_and_restart();
        trial.check_and_retry(&rig.gateway, &deed).await;
    }
    trial.finish(&rig.gateway).await;
    let ledger = trial.ledger.into_inner();
    report(&format!(
        "{case:?}: {kills} kills within {longest:?}, {} of them before the answer, \
         {} facts checked",
        ledger.unanswered, ledger.facts
    ));
}

impl Trial {
    async fn start(case: Case) -> (Rig, Self) {
        let rig = Rig::start();
        let house = House::of(&rig.gateway).await;
        let mut ledger = Ledger::of(&rig.gateway);
        if matches!(case, Case::CreateClientKey | Case::DeleteClientKey) {
            ledger.open_access_point(&rig.gateway).await;
        }
        (rig, Self { ledger: RefCell::new(ledger), house, name: 0 })
    }

    /// Looks at everything, does once more what may not have been done, and looks again.
    async fn check_and_retry(&mut self, gateway: &Gateway, deed: &Deed) {
        self.ledger.get_mut().check(gateway, Depth::Touched).await;
        self.house.check(gateway).await;
        let outcome = perform(&self.ledger, &gateway.client, deed).await;
        assert!(!matches!(outcome, Outcome::Unknown), "{}", gateway.process.log());
        self.ledger.get_mut().check(gateway, Depth::Touched).await;
    }

    async fn finish(&mut self, gateway: &Gateway) {
        self.ledger.get_mut().check(gateway, Depth::All).await;
        self.house.check_all(gateway).await;
    }

    /// Makes everything that a change needs, and gives the change.
    async fn prepare(&mut self, gateway: &Gateway, case: Case) -> Deed {
        self.name += 1;
        let name = format!("alias/{}", self.name);
        let deed = match case {
            Case::Create(kind) => return Deed::CreateKey(kind),
            Case::CreateClientKey => return Deed::CreateClientKey,
            Case::DeleteClientKey => {
                let made = self.done(gateway, &Deed::CreateClientKey).await;
                Deed::DeleteClientKey { id: text(&made["ClientKeyId"]).to_owned() }
            }
            Case::CreateAlias => Deed::CreateAlias { name, key: gateway.dev.key_id.clone() },
            Case::UpdateAlias => {
                let key = gateway.dev.key_id.clone();
                self.done(gateway, &Deed::CreateAlias { name: name.clone(), key }).await;
                let key = self.create(gateway, Kind::Cipher).await;
                Deed::UpdateAlias { name, key }
            }
            Case::DeleteAlias => {
                let key = gateway.dev.key_id.clone();
                self.done(gateway, &Deed::CreateAlias { name: name.clone(), key }).await;
                Deed::DeleteAlias { name }
            }
            Case::Parameters | Case::FirstImport | Case::SecondImport | Case::DeleteMaterial => {
                self.prepare_external(gateway, case).await
            }
            _ => self.prepare_key(gateway, case).await,
        };
        // What was made before the kill is used before it, too.
        self.ledger.get_mut().check(gateway, Depth::Touched).await;
        deed
    }

    async fn prepare_key(&mut self, gateway: &Gateway, case: Case) -> Deed {
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
            self.done(gateway, &Deed::to(&key, before)).await;
        }
        Deed::to(&key, change)
    }

    async fn prepare_external(&mut self, gateway: &Gateway, case: Case) -> Deed {
        let key = self.create(gateway, Kind::External).await;
        if case == Case::Parameters {
            return Deed::to(&key, Change::Parameters);
        }
        let given = self.done(gateway, &Deed::to(&key, Change::Parameters)).await;
        let material = u8::try_from(self.name % 256).unwrap();
        let wrapped = wrap(&given, &[material; 32]);
        let token = text(&given["ImportToken"]).to_owned();
        let import = Deed::to(&key, Change::Import { token, wrapped });
        if case == Case::FirstImport {
            return import;
        }
        self.done(gateway, &import).await;
        // What it encrypts has to open again when the material has come back.
        self.ledger.get_mut().check(gateway, Depth::Touched).await;
        let delete = Deed::to(&key, Change::DeleteMaterial);
        if case == Case::DeleteMaterial {
            return delete;
        }
        self.done(gateway, &delete).await;
        import
    }

    async fn create(&mut self, gateway: &Gateway, kind: Kind) -> String {
        let made = self.done(gateway, &Deed::CreateKey(kind)).await;
        text(&made["KeyMetadata"]["KeyId"]).to_owned()
    }

    /// Does what must be possible.
    async fn done(&self, gateway: &Gateway, deed: &Deed) -> serde_json::Value {
        match perform(&self.ledger, &gateway.client, deed).await {
            Outcome::Done(answer) => answer,
            outcome => panic!("{deed:?}: {outcome:?}\n{}", gateway.process.log()),
        }
    }
}
