//! Which token is opened, and which is refused.

use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

use hsmgate::token::{Budget, Capability, ErrorClass, Token, TokenError, TokenSelector};

use super::harness::{LABEL, PIN, SO_PIN, in_own_process, initialize, module, runtime, settings};

#[test]
fn a_token_is_found_by_label_or_serial_and_by_nothing_else() {
    let name = "token_selection::a_token_is_found_by_label_or_serial_and_by_nothing_else";
    in_own_process(name, || {
        initialize("another");
        initialize(LABEL);
        let by_label = TokenSelector::Label(LABEL.into());
        let token = Token::open(settings(by_label.clone())).unwrap();
        let info = token.info().clone();
        assert_eq!(info.label, LABEL);
        assert!(token.supports(Capability::Aes256));
        token.close();
        let by_serial = TokenSelector::Serial(info.serial.clone());
        let token = Token::open(settings(by_serial)).unwrap();
        assert_eq!(*token.info(), info);
        token.close();
        let wrong = TokenSelector::Label("no such token".into());
        let error = Token::open(settings(wrong)).unwrap_err();
        assert!(matches!(error, TokenError::Selection { found: 0, .. }), "{error}");
        let listed = format!("label {LABEL:?} with serial number {:?}", info.serial);
        assert!(error.to_string().contains(&listed), "{error}");
        // A failed opening leaves nothing behind that would stand in the way.
        Token::open(settings(by_label)).unwrap().close();
    });
}

#[test]
fn a_token_that_is_dropped_is_closed() {
    in_own_process("token_selection::a_token_that_is_dropped_is_closed", || {
        initialize(LABEL);
        let token = Token::open(settings(TokenSelector::Label(LABEL.into()))).unwrap();
        let module = cryptoki::context::Pkcs11::new(module()).unwrap();
        let clone = token.clone();
        drop(token);
        assert!(module.get_slots_with_token().is_ok(), "a clone keeps it open");
        drop(clone);
        assert!(module.get_slots_with_token().is_err(), "the module is still initialized");
    });
}

#[test]
fn a_module_stays_loaded_until_the_process_ends() {
    in_own_process("token_selection::a_module_stays_loaded_until_the_process_ends", || {
        let file = module().canonicalize().unwrap();
        let is_loaded =
            || fs::read_to_string("/proc/self/maps").unwrap().contains(file.to_str().unwrap());
        assert!(!is_loaded());
        initialize(LABEL);
        Token::open(settings(TokenSelector::Label(LABEL.into()))).unwrap().close();
        assert!(is_loaded(), "a thread that ends after this can crash");
    });
}

#[test]
fn a_token_that_is_there_is_left_as_it_is() {
    in_own_process("token_selection::a_token_that_is_there_is_left_as_it_is", || {
        initialize(LABEL);
        let other = ["1111".into(), "2222".into()];
        Token::initialize(&module(), None, LABEL, &other[0], &other[1]).unwrap();
        Token::open(settings(TokenSelector::Label(LABEL.into()))).unwrap().close();
        assert!(Token::initialize(&module(), None, "", &SO_PIN.into(), &PIN.into()).is_err());
    });
}

#[test]
fn a_wrong_pin_is_refused_as_such() {
    in_own_process("token_selection::a_wrong_pin_is_refused_as_such", || {
        initialize(LABEL);
        let mut settings = settings(TokenSelector::Label(LABEL.into()));
        settings.pin = "000000".into();
        let error = Token::open(settings).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Pin, "{error}");
    });
}

#[test]
fn the_module_receives_the_argument_of_its_initialization() {
    let name = "token_selection::the_module_receives_the_argument_of_its_initialization";
    in_own_process(name, || {
        initialize(LABEL);
        let mut settings = settings(TokenSelector::Label(LABEL.into()));
        settings.init_arguments = Some("configdir=/nowhere".to_owned());
        // SoftHSM refuses every argument.
        let error = Token::open(settings.clone()).unwrap_err();
        assert!(matches!(error, TokenError::InitArguments), "{error}");
        assert!(error.to_string().contains("token.init_arguments"), "{error}");
        settings.init_arguments = Some("zero\0byte".to_owned());
        let error = Token::open(settings.clone()).unwrap_err();
        assert!(matches!(error, TokenError::BadInput(_)), "{error}");
        settings.init_arguments = None;
        Token::open(settings).unwrap().close();
    });
}

#[test]
fn a_full_queue_and_a_passed_deadline_are_told_at_once() {
    in_own_process("token_selection::a_full_queue_and_a_passed_deadline_are_told_at_once", || {
        initialize(LABEL);
        let mut settings = settings(TokenSelector::Label(LABEL.into()));
        settings.queue = NonZeroUsize::MIN;
        let token = Token::open(settings).unwrap();
        runtime().block_on(async {
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let (started, running) = tokio::sync::oneshot::channel();
            let busy = token.clone();
            let first = tokio::spawn(async move {
                let budget = Budget::new(Duration::from_mins(1));
                let outcome = busy.run(&budget, move |_worker| {
                    started.send(()).unwrap();
                    wait.recv().unwrap();
                    Ok(())
                });
                outcome.await.unwrap();
                budget.spent()
            });
            running.await.unwrap();
            let short = Budget::new(Duration::from_millis(20));
            let queued = token.run(&short, |_worker| -> Result<(), TokenError> {
                panic!("a job that nobody waits for was begun")
            });
            let long = Budget::new(Duration::from_mins(1));
            let (late, full) = tokio::join!(queued, token.run(&long, |_worker| Ok(())));
            assert!(matches!(late, Err(TokenError::Deadline)));
            assert!(matches!(full, Err(TokenError::Busy)));
            go.send(()).unwrap();
            assert!(first.await.unwrap() >= Duration::from_millis(20));
        });
        token.close();
        let after =
            runtime().block_on(token.run(&Budget::new(Duration::from_mins(1)), |_worker| Ok(())));
        assert!(matches!(after, Err(TokenError::Unavailable(_))));
    });
}
