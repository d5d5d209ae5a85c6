//! What the token can do is tested, whatever its mechanism list promises.

use cryptoki::object::Attribute;
use fault_token::{Fault, Rule, When, read_log, write_rules};
use hsmgate::model::{KeySpec, KeyUsage};
use hsmgate::token::{Capability, CapabilityTest, TestResult, Token};

use super::harness::{FaultToken, change, direct_session, name, with_fault_token, with_token};

async fn test_all(token: &Token) {
    for test in CapabilityTest::ALL.iter().copied() {
        change(token, move |worker| worker.run_capability_test(test)).await.unwrap();
    }
}

#[test]
fn every_capability_is_tested_and_nothing_remains() {
    with_token("capabilities::every_capability_is_tested_and_nothing_remains", async |token| {
        for capability in Capability::ALL.iter().copied() {
            let status = token.capability(capability);
            assert!(status.is_listed, "{capability}");
            assert_eq!(status.result, TestResult::Untested, "{capability}");
        }
        test_all(&token).await;
        for capability in Capability::ALL.iter().copied() {
            let result = token.capability(capability).result;
            match capability {
                // SoftHSM lists RSAES-OAEP, and has it with SHA-1 only.
                Capability::UnwrapOaepSha256 => {
                    let error = "C_UnwrapKey returned CKR_ARGUMENTS_BAD".to_owned();
                    assert_eq!(result, TestResult::Refused(error));
                    assert!(!token.supports(capability));
                }
                _ => assert_eq!(result, TestResult::Works, "{capability}"),
            }
        }
        let (_pkcs11, session) = direct_session();
        for lifetime in [true, false] {
            let left = session.find_objects(&[Attribute::Token(lifetime)]).unwrap();
            assert!(left.is_empty(), "{left:?}");
        }
    });
}

#[test]
fn a_token_that_refuses_wrapping_pairs_may_have_other_rsa_pairs() {
    let name_here = "capabilities::a_token_that_refuses_wrapping_pairs_may_have_other_rsa_pairs";
    with_fault_token(
        name_here,
        |settings| settings,
        async |token, files: FaultToken| {
            let refused = Fault::return_code("CKR_TEMPLATE_INCONSISTENT");
            write_rules(&files.control, &[Rule::on(&["C_GenerateKeyPair"], refused)]);
            let test = |test| change(&token, move |worker| worker.run_capability_test(test));
            test(CapabilityTest::WrappingPair).await.unwrap();
            write_rules(&files.control, &[]);
            let result = |capability| token.capability(capability).result;
            assert!(matches!(result(Capability::UnwrapPkcs1), TestResult::Refused(_)));
            assert_eq!(result(Capability::Rsa2048), TestResult::Untested);
            let wrapping = name();
            let wrapping =
                change(&token, move |worker| worker.generate_wrapping_pair(&wrapping)).await;
            wrapping.unwrap();
            test(CapabilityTest::SigningPair).await.unwrap();
            assert_eq!(result(Capability::Rsa2048), TestResult::Works);
        },
    );
}

#[test]
fn a_new_pair_is_used_with_sha_256_if_sha_1_is_refused() {
    let name_here = "capabilities::a_new_pair_is_used_with_sha_256_if_sha_1_is_refused";
    with_fault_token(
        name_here,
        |settings| settings,
        async |token, files: FaultToken| {
            let refused = Fault::return_code("CKR_MECHANISM_PARAM_INVALID");
            write_rules(&files.control, &[Rule::on(&["C_EncryptInit"], refused).when(When::At(1))]);
            let (_before, end) = read_log(&files.log, 0);
            let name = name();
            let make = change(&token, move |worker| {
                worker.generate(&name, KeySpec::Rsa2048, KeyUsage::EncryptDecrypt)
            });
            make.await.unwrap();
            let (calls, _end) = read_log(&files.log, end);
            let codes: Vec<_> = calls
                .iter()
                .filter(|call| call.function == "C_EncryptInit")
                .map(|call| call.return_code.as_str())
                .collect();
            // SoftHSM2 refuses SHA-256, so the generation is repeated, with SHA-1.
            assert_eq!(codes, ["CKR_MECHANISM_PARAM_INVALID", "CKR_ARGUMENTS_BAD", "CKR_OK"]);
        },
    );
}
