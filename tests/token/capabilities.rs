//! What the token can do is tested, whatever its mechanism list promises.

use cryptoki::object::Attribute;
use hsmgate::token::{Capability, CapabilityTest, TestResult, Token};

use super::harness::{change, direct_session, with_token};

async fn test_all(token: &Token) {
    for test in CapabilityTest::ALL.iter().copied().filter(|test| !test.is_slow()) {
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
                Capability::Rsa3072 | Capability::Rsa4096 => {
                    assert_eq!(result, TestResult::Untested, "{capability}");
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
