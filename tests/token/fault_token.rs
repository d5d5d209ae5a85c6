//! The fault token before more than one SoftHSM2 directory, and with a speed of its own.

use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use fault_token::{Fault, Manner, Rule, write_rules};
use hsmgate::model::KeySpec;
use hsmgate::token::{Token, TokenError};

use super::harness::{FaultToken, in_own_process, key, run, runtime};

#[test]
fn two_copies_in_one_process_have_two_tokens() {
    let name = "fault_token::two_copies_in_one_process_have_two_tokens";
    in_own_process(name, || {
        let manners = vec![Manner::NoSetAttributeValue];
        let tokens = [FaultToken::new("first", Vec::new()), FaultToken::new("second", manners)];
        let [first, second] = tokens.map(|token| Token::open(token.settings()).unwrap());
        assert_ne!(first.info().serial, second.info().serial);
        runtime().block_on(async {
            let first_key = key(&first, KeySpec::Aes256).await;
            let second_key = key(&second, KeySpec::Aes256).await;
            let find = |token, key| async move {
                run(token, move |worker| worker.encrypt(key, None, b"text").map(|_blob| ())).await
            };
            assert!(find(&first, first_key).await.is_ok());
            assert!(find(&second, second_key).await.is_ok());
            assert_eq!(
                find(&second, first_key).await.unwrap_err().to_string(),
                TokenError::NotFound.to_string()
            );
            first.close();
            assert!(find(&second, second_key).await.is_ok());
        });
        second.close();
    });
}

#[test]
fn a_token_with_one_processor_makes_one_call_after_the_other() {
    const DELAY: Duration = Duration::from_micros(700);
    const CALLS: u32 = 20;
    let name = "fault_token::a_token_with_one_processor_makes_one_call_after_the_other";
    in_own_process(name, || {
        let FaultToken { module, control, .. } = FaultToken::new("token", Vec::new());
        let pkcs11 = Pkcs11::new(module).unwrap();
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        let draws = || {
            let start = Instant::now();
            thread::scope(|scope| {
                for _thread in 0..4 {
                    scope.spawn(|| {
                        let session = pkcs11.open_ro_session(slot).unwrap();
                        for _call in 0..CALLS {
                            session.generate_random_slice(&mut [0; 16]).unwrap();
                        }
                    });
                }
            });
            start.elapsed()
        };
        let on = |number, fault| Rule { number, ..Rule::on(&["C_GenerateRandom"], fault) };
        let rules = [on(1, Fault::Parallel(1)), on(2, Fault::delay(DELAY))];
        write_rules(&control, &rules);
        assert!(draws() >= DELAY * CALLS * 4);
        let [limit, delay] = rules;
        write_rules(&control, &[delay, limit]);
        // The delays of the four threads overlap; a busy machine may prevent that now and then.
        let times: Vec<_> = (0..10).map(|_try| draws()).collect();
        assert!(times.iter().all(|time| *time >= DELAY * CALLS), "{times:?}");
        assert!(times.iter().any(|time| *time < DELAY * CALLS * 4), "{times:?}");
    });
}
