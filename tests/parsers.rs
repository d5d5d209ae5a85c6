//! Hostile input for the parsers that read it first: none panics, and a parsed value means what was
//! written.

use std::collections::BTreeMap;

use hsmgate::api::rpc::{params, percent};
use hsmgate::model::{CiphertextBlob, EncryptionContext};
use proptest::prelude::*;

/// Text that is nearly a form.
fn nearly_a_form() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"&".to_vec()),
        Just(b"=".to_vec()),
        Just(b"%".to_vec()),
        Just(b"+".to_vec()),
        "%[0-9a-fA-F]{2}".prop_map(String::into_bytes),
        "[a-zA-Z.]{1,6}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Text that is nearly a JSON object of strings.
fn nearly_a_context() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[{}\\[\\]:,\"\\\\ ]",
        "\"[a-z=&\\x00]{0,3}\"",
        "\\\\u[0-9a-fD]{4}",
        Just(r#"{"a":"b"}"#.to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes_are_parameters_or_are_refused(query in nearly_a_form(), form in nearly_a_form()) {
        if let Ok(params) = params::read(&query, &form) {
            for (name, value) in params.iter() {
                prop_assert!(!name.is_empty());
                prop_assert_eq!(params.text(name), Some(value));
            }
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself(text in any::<String>()) {
        let mut encoded = String::new();
        percent::encode_into(&mut encoded, &text);
        prop_assert!(percent::is_encoded(encoded.as_bytes()));
        let decoded = percent::decode(encoded.as_bytes());
        prop_assert_eq!(decoded.as_deref(), Ok(text.as_str()));
    }

    #[test]
    fn any_bytes_are_a_blob_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(blob) = CiphertextBlob::from_bytes(&bytes) {
            prop_assert_eq!(blob.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_blob_has_one_spelling(
        version in any::<[u8; 16]>(),
        rest in prop::collection::vec(any::<u8>(), 0..100),
        is_upper in any::<bool>(),
    ) {
        let mut text = uuid::Uuid::from_bytes(version).to_string();
        if is_upper {
            text = text.to_uppercase();
        }
        let bytes = [text.as_bytes(), &rest].concat();
        if let Ok(blob) = CiphertextBlob::from_bytes(&bytes) {
            prop_assert_eq!(blob.to_bytes(), bytes);
        }
    }

    #[test]
    fn any_text_is_a_context_or_is_refused(text in nearly_a_context()) {
        if let Ok(context) = text.parse::<EncryptionContext>() {
            let pairs: BTreeMap<String, String> = serde_json::from_str(&text)?;
            prop_assert_eq!(context.aad().is_none(), pairs.is_empty());
        }
    }

    #[test]
    fn the_same_pairs_have_the_same_aad_in_any_spelling(
        pairs in prop::collection::btree_map(any::<String>(), any::<String>(), 0..6),
    ) {
        let compact = serde_json::to_string(&pairs)?;
        let pretty = serde_json::to_string_pretty(&pairs)?;
        let (compact, pretty) = (compact.parse(), pretty.parse::<EncryptionContext>());
        let compact: EncryptionContext = compact.map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert_eq!(Some(compact.aad()), pretty.ok().map(|context| context.aad()));
    }
}
