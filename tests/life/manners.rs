//! The same life behind the fault token, with the manners of production HSMs before SoftHSM2.
//!
//! A life with many manners is short. `make torture` lives a whole life with each manner alone, too.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::life::Extent;
use crate::live_on;
use crate::support::installation::Installation;
use crate::support::scale::{is_long, report};

/// The outcome of a row that is not there.
const NONE: &str = "";
/// The directory of the results, of which `docs/tokens.md` has a table.
const RESULTS: &str = "tests/life/results";

/// A manner, a row, and the outcome that the row has with the manner in place of that on SoftHSM2.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("no-secp256k1=CKR_DOMAIN_PARAMS_INVALID", "create EC keys", "ok, but no EC_P256K"),
    ("aes-256-only", "create AES keys", "ok, but no Aliyun_AES_192, Aliyun_AES_128"),
    ("aes-256-only", "import, OAEP with SHA-1", "ok, but no Aliyun_AES_192, Aliyun_AES_128"),
    // The first difference of a row counts: it is that of all three imports.
    ("no-unwrap=CKM_RSA_PKCS", "import, PKCS1", "no"),
    ("aes-256-only", "import, PKCS1", "ok, but no Aliyun_AES_192, Aliyun_AES_128"),
    ("no-unwrap=CKM_RSA_PKCS_OAEP", "import, OAEP with SHA-1", "no"),
    ("no-unwrap=CKM_RSA_PKCS_OAEP", "import of a wrong length: 400", "no"),
    ("no-unwrap=CKM_RSA_PKCS_OAEP", "a program with the imported bytes decrypts", "no"),
    ("no-mechanism=CKM_RSA_PKCS_PSS", "sign and verify: RSA-PSS", "no"),
    ("no-mechanism=CKM_SHA224_HMAC", "create HMAC keys", "ok, but no HMAC_SHA_224"),
    (
        "mechanism-fails=CKM_SHA384_HMAC:CKR_MECHANISM_INVALID",
        "create HMAC keys",
        "ok, but no HMAC_SHA_384",
    ),
    ("iv-appended-16", "a program with the imported bytes decrypts", NONE),
];

/// The counts of steps, which the rows imply.
const COUNTS: &str = "steps: ";

fn installation(manners: &str) -> Installation {
    let installation = Installation::behind_manners(manners);
    if manners.contains("argument-wanted") {
        installation.configure(|text| {
            *text = text.replace("[token]\n", "[token]\ninit_arguments = \"an argument\"\n");
        });
    }
    installation
}

/// The rows of the life on SoftHSM2 alone, with their outcomes.
fn on_softhsm() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(RESULTS).join("softhsm2.txt");
    let text = fs::read_to_string(file).unwrap();
    let rows = text.lines().map(|line| line.split_once(" | ").unwrap());
    rows.filter(|(name, _outcome)| !name.starts_with(COUNTS))
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect()
}

/// The rows in which a life with these manners differs from that on SoftHSM2, with their outcomes.
fn differences(manners: &str) -> Vec<(String, &'static str)> {
    let of_row = |name: &str| {
        DIFFERENCES.iter().find(|(manner, row, _outcome)| {
            *row == name && manners.split(',').any(|one| one.trim() == *manner)
        })
    };
    let rows = on_softhsm().into_iter();
    rows.filter_map(|(name, _outcome)| of_row(&name).map(|(_, _, outcome)| (name, *outcome)))
        .collect()
}

fn expected(manners: &str) -> Vec<String> {
    let differences = differences(manners);
    let outcome = |name: &str, on_softhsm: String| {
        let difference = differences.iter().find(|(row, _outcome)| row == name);
        difference.map_or(on_softhsm, |(_row, outcome)| (*outcome).to_owned())
    };
    let rows = on_softhsm().into_iter();
    rows.map(|(name, on_softhsm)| (outcome(&name, on_softhsm), name))
        .filter(|(outcome, _name)| outcome != NONE)
        .map(|(outcome, name)| format!("{name} | {outcome}"))
        .collect()
}

async fn live_with(manners: &str, extent: Extent) {
    let found = live_on(installation(manners), extent).await;
    let found: Vec<_> = found.lines().filter(|line| !line.starts_with(COUNTS)).collect();
    assert_eq!(found, expected(manners), "behind {manners}");
}

/// Compares the manners and the differences, which the life has shown, with a file of its own; with
/// `UPDATE_DOCS` set, writes it first.
fn compare(manners: &str) {
    let manners: Vec<_> = manners.split(',').map(str::trim).collect();
    let mut found = manners.join(", ") + "\n";
    for (row, outcome) in differences(&manners.join(",")) {
        writeln!(found, "{row} | {outcome}").unwrap();
    }
    let name = manners[0].replace('=', "-") + ".txt";
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(RESULTS).join("manners");
    let file = directory.join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(&directory).unwrap();
        fs::write(&file, &found).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, stored, "{} is out of date: UPDATE_DOCS=1", file.display());
}

/// A short life with all these manners. Under torture, a whole life with them and with each alone.
async fn live(manners: &str) {
    compare(manners);
    if !is_long() {
        return live_with(manners, Extent::Short).await;
    }
    live_with(manners, Extent::Whole).await;
    for manner in manners.split(',').map(str::trim) {
        live_with(manner, Extent::Whole).await;
        report(&format!("a whole life behind {manner}"));
    }
}

#[tokio::test]
async fn a_whole_life_with_the_manners_of_cloudhsm() {
    let manners = "cloud-hsm,random-limit=1024";
    compare(manners);
    live_with(manners, Extent::Whole).await;
}

#[tokio::test]
async fn a_life_with_ivs_behind_the_tag_and_without_session_objects() {
    live("iv-appended-12,no-session-objects,decrypt-error=CKR_FUNCTION_FAILED").await;
}

#[tokio::test]
async fn a_life_with_ivs_of_16_bytes() {
    live("iv-appended-16,decrypt-error=CKR_ARGUMENTS_BAD,no-set-attribute-value").await;
}

#[tokio::test]
async fn a_life_with_ivs_in_front_and_few_sessions() {
    live("iv-in-front-12,pair-requires=CKA_SUBJECT,zero-filled-texts,session-limit=8:CKR_SESSION_COUNT")
        .await;
}

#[tokio::test]
async fn a_life_with_ivs_that_the_encryption_writes_back_and_open_unwrapped_keys() {
    live("unwrap-template-ignored,iv-written-back-by-encrypt,argument-wanted").await;
}

#[tokio::test]
async fn a_life_with_message_calls_for_encryption_and_without_a_curve() {
    live(
        "message-calls-only,attribute-not-told=CKA_MODULUS_BITS,serial-number=0,\
          no-secp256k1=CKR_DOMAIN_PARAMS_INVALID",
    )
    .await;
}

/// Alone, the second of these manners is a token without AES-GCM, which is refused.
#[tokio::test]
async fn a_life_with_message_calls_alone() {
    let manners = "message-calls,mechanism-fails=CKM_AES_GCM:CKR_MECHANISM_INVALID";
    compare(manners);
    live_with(manners, Extent::Short).await;
}

#[tokio::test]
async fn a_life_beside_foreign_objects() {
    live("foreign-objects,no-copy-object,attribute-refused=CKA_COPYABLE:CKR_TEMPLATE_INCONSISTENT")
        .await;
}

#[tokio::test]
async fn a_life_without_some_keys_and_imports() {
    live(
        "aes-256-only,no-unwrap=CKM_RSA_PKCS,attribute-ignored=CKA_COPYABLE,\
          no-mechanism=CKM_SHA224_HMAC",
    )
    .await;
}

#[tokio::test]
async fn a_life_without_pss_and_imports_by_oaep() {
    live(
        "no-mechanism=CKM_RSA_PKCS_PSS,no-unwrap=CKM_RSA_PKCS_OAEP,\
          mechanism-fails=CKM_SHA384_HMAC:CKR_MECHANISM_INVALID",
    )
    .await;
}

#[tokio::test]
async fn a_life_without_mechanisms_for_check_values() {
    live(
        "no-mechanism=CKM_AES_ECB,mechanism-fails=CKM_AES_CBC:CKR_MECHANISM_INVALID,\
          no-mechanism=CKM_AES_CMAC,attribute-unknown=CKA_MODIFIABLE",
    )
    .await;
}
