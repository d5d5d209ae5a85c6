//! The token objects of a running gateway, read by another process with the user PIN.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::{Session, UserType};
use hsmgate::model::KeyVersionId;
use hsmgate::token::{ObjectName, ObjectOwner, ServiceKey};
use secrecy::SecretString;

use crate::support::gateway::{Gateway, text};
use crate::support::softhsm::module;

/// Where the child finds the state directory, and the labels that it shall find in the token.
const STATE: &str = "HSMGATE_TEST_STATE";
const LABELS: &str = "HSMGATE_TEST_LABELS";

#[tokio::test]
async fn every_key_in_the_token_is_closed_and_named_as_the_documentation_says() {
    if let Some(state) = env::var_os(STATE) {
        return inspect(Path::new(&state));
    }
    let gateway = Gateway::start();
    let second = gateway.create_key().await;
    gateway.call("CreateKeyVersion", &[("KeyId", &second)]).await;
    let mut labels = Vec::new();
    for key in [&gateway.dev.key_id, &second] {
        let answer = gateway.call("ListKeyVersions", &[("KeyId", key)]).await;
        let versions = answer["KeyVersions"]["KeyVersion"].as_array().unwrap().clone();
        labels.extend(versions.iter().enumerate().map(|(at, version)| {
            format!("hsmgate/{key}/{}/{}", at + 1, text(&version["KeyVersionId"]))
        }));
    }
    // SoftHSM2 reads its configuration from the environment, once for a process.
    let name =
        "keys::token_objects::every_key_in_the_token_is_closed_and_named_as_the_documentation_says";
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(STATE, gateway.state())
        .env(LABELS, labels.join("\n"))
        .env("SOFTHSM2_CONF", gateway.state().join("softhsm2.conf"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && shown.contains("1 passed"), "{shown}");
}

fn inspect(state: &Path) {
    let pkcs11 = Pkcs11::new(module()).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
    let session = pkcs11.open_ro_session(slot).unwrap();
    let pin = SecretString::from(fs::read_to_string(state.join("pin")).unwrap());
    session.login(UserType::User, Some(&pin)).unwrap();
    let names = names(&session);
    let (ours, keys): (Vec<ObjectName>, Vec<ObjectName>) =
        names.into_iter().partition(|name| matches!(name.owner, ObjectOwner::Service(_)));
    let encryption = ObjectOwner::Service(ServiceKey::AccessKeyEncryption);
    assert_eq!(ours.iter().filter(|name| name.owner == encryption).count(), 1, "{ours:?}");
    let found: BTreeSet<String> = keys.iter().map(ToString::to_string).collect();
    let expected = env::var(LABELS).unwrap();
    assert_eq!(found, expected.lines().map(ToOwned::to_owned).collect());
}

/// The names of all objects in the token, each of which must be a closed key, but public halves and the
/// counter of the database.
fn names(session: &Session) -> Vec<ObjectName> {
    let objects = session.find_objects(&[Attribute::Token(true)]).unwrap();
    let of_class =
        |class| session.find_objects(&[Attribute::Token(true), Attribute::Class(class)]).unwrap();
    let (public, data) = (of_class(ObjectClass::PUBLIC_KEY), of_class(ObjectClass::DATA));
    assert!(data.len() <= 1, "the counter of the database");
    objects
        .into_iter()
        .filter(|object| !public.contains(object) && !data.contains(object))
        .map(|object| {
            let closed = [
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::AlwaysSensitive(true),
                Attribute::Extractable(false),
                Attribute::NeverExtractable(true),
                Attribute::Local(true),
            ];
            let types: Vec<_> = closed.iter().map(Attribute::attribute_type).collect();
            assert_eq!(session.get_attributes(object, &types).unwrap(), closed);
            assert!(session.get_attributes(object, &[AttributeType::Value]).unwrap().is_empty());
            let wanted = [AttributeType::Label, AttributeType::Id];
            let attributes = session.get_attributes(object, &wanted).unwrap();
            let [Attribute::Label(label), Attribute::Id(id)] = &attributes[..] else {
                panic!("{attributes:?}");
            };
            let name: ObjectName = std::str::from_utf8(label).unwrap().parse().unwrap();
            let version: KeyVersionId = name.version;
            assert_eq!(id, version.as_bytes(), "CKA_ID is the bytes of the version's UUID");
            name
        })
        .collect()
}
