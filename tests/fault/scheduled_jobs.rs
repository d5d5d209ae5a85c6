//! Kills during scheduled jobs: the next start completes each of them once.

use std::cell::RefCell;
use std::time::Duration;

use fault_token::{Fault, Rule, When};

use crate::end_to_end::{Consistency, change};
use crate::ledger::{Ledger, perform};
use crate::observation::Depth;
use crate::scale::{report, scaled};
use crate::setup::Setup;
use crate::support::gateway::{Gateway, text};
use crate::support::key_history::Outcome;
use crate::support::key_model::{Change, KeyFacts, Kind, Operation};
use crate::support::process::is_alive;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Rotation,
    Destruction(Kind),
}

impl Job {
    async fn prepare(self, gateway: &Gateway, ledger: &mut RefCell<Ledger>) -> String {
        let (kind, step) = match self {
            Self::Rotation => (Kind::Cipher, Change::Rotation(7)),
            Self::Destruction(kind) => (kind, Change::Schedule),
        };
        let made = perform(ledger, &gateway.client, &Operation::CreateKey(kind)).await;
        let Outcome::Done(made) = made else { panic!("{made:?}") };
        let key = text(&made["KeyMetadata"]["KeyId"]).to_owned();
        let told = perform(ledger, &gateway.client, &Operation::to(&key, step)).await;
        assert!(told.is_done(), "{told:?}");
        ledger.get_mut().check(gateway, Depth::Changed).await;
        key
    }

    /// What the key is once it is done.
    fn expect(self, key: &str, ledger: &mut Ledger) {
        let key = ledger.keys.get_mut(key).unwrap();
        for facts in &mut key.may_be {
            match self {
                Self::Rotation => {
                    facts.versions += 1;
                    facts.primary = None;
                }
                Self::Destruction(_) => *facts = KeyFacts::gone(),
            }
        }
        key.is_changed = true;
    }

    /// As time would make it.
    async fn make_due(self, gateway: &Gateway, key: &str) {
        match self {
            Self::Rotation => {
                let sql = "UPDATE key_versions SET created = created - 8 * 86400 WHERE key_id = $1";
                change(gateway, sql, key).await;
            }
            Self::Destruction(_) => {
                change(gateway, "UPDATE keys SET delete_at = 1 WHERE id = $1", key).await;
            }
        }
    }

    async fn is_done(self, gateway: &Gateway, key: &str) -> bool {
        match self {
            Self::Rotation => {
                let listed = gateway.client.call("ListKeyVersions", &[("KeyId", key)]).await;
                listed.is_ok_and(|listed| listed["TotalCount"] == 2)
            }
            Self::Destruction(_) => {
                let listed = gateway.client.call("ListKeys", &[("PageSize", "100")]).await;
                listed.is_ok_and(|listed| {
                    let keys = listed["Keys"]["Key"].as_array().unwrap();
                    keys.iter().all(|listed| listed["KeyId"] != key)
                })
            }
        }
    }
}

/// Kills before and after each call of the token, or some of them, until the job needs fewer calls.
async fn every_boundary(job: Job) {
    let mut setup = Setup::start();
    let consistency = Consistency::of(&setup.gateway).await;
    let mut ledger = RefCell::new(Ledger::of(&setup.gateway));
    let mut kills = 0;
    for fault in [Fault::KillBefore, Fault::KillAfter].into_iter().take(scaled(1, 2)) {
        for call in (1..).step_by(scaled(8, 1)) {
            let key = job.prepare(&setup.gateway, &mut ledger).await;
            setup.token.add(Rule::on_all(fault.clone()).when(When::At(call)));
            let process = setup.gateway.process_id();
            job.make_due(&setup.gateway, &key).await;
            while is_alive(&process) && !job.is_done(&setup.gateway, &key).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let is_over = is_alive(&process);
            setup = setup.kill_and_restart();
            while !job.is_done(&setup.gateway, &key).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            job.expect(&key, ledger.get_mut());
            ledger.get_mut().check(&setup.gateway, Depth::Changed).await;
            consistency.check_all(&setup.gateway).await;
            if is_over {
                break;
            }
            kills += 1;
        }
    }
    ledger.get_mut().check(&setup.gateway, Depth::All).await;
    report(&format!("{job:?}: {kills} kills at calls of the token"));
}

#[tokio::test]
async fn a_rotation_that_was_due_is_made_once() {
    every_boundary(Job::Rotation).await;
}

#[tokio::test]
async fn a_destruction_that_was_due_is_carried_through() {
    every_boundary(Job::Destruction(Kind::Signing)).await;
}
