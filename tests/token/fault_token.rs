//! The fault token before more than one SoftHSM2 directory, and with a speed of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use fault_token::{Fault, Manner, Rule, Settings, write_rules};
use hsmgate::model::KeySpec;
use hsmgate::token::{Token, TokenError, TokenSelector};

use super::harness::{
    LABEL, PIN, SO_PIN, in_own_process, key, run, runtime, settings_of, token_directory,
};
use crate::softhsm;

/// A copy of the module before a SoftHSM2 directory of its own.
fn install(name: &str, control: Option<PathBuf>, manners: Vec<Manner>) -> PathBuf {
    let directory = token_directory().with_file_name(name);
    fs::create_dir(&directory).unwrap();
    let configuration = softhsm::configure(&directory);
    let settings = Settings {
        module: softhsm::module(),
        environment: [("SOFTHSM2_CONF".to_owned(), configuration)].into(),
        control,
        log: Some(directory.join("log")),
        manners,
    };
    settings.install(&directory)
}

fn open(module: &Path) -> Token {
    Token::initialize(module, None, LABEL, &SO_PIN.into(), &PIN.into()).unwrap();
    Token::open(settings_of(module.to_owned(), TokenSelector::Label(LABEL.into()))).unwrap()
}

#[test]
fn two_copies_in_one_process_have_two_tokens() {
    let name = "fault_token::two_copies_in_one_process_have_two_tokens";
    in_own_process(name, || {
        let manners = vec![Manner::NoSetAttributeValue];
        let modules = [install("first", None, Vec::new()), install("second", None, manners)];
        let [first, second] = modules.each_ref().map(|module| open(module));
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
        let control = token_directory().with_file_name("control");
        let module = install("token", Some(control.clone()), Vec::new());
        Token::initialize(&module, None, LABEL, &SO_PIN.into(), &PIN.into()).unwrap();
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
