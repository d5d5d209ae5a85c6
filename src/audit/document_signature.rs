//! Signatures over documents about the gateway, such as its reports, by the key that signs checkpoints. Their
//! text begins with other words than that of a checkpoint, so that neither is taken for the other.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::AuditError;
use super::checkpoint::AuditKey;
use super::checkpointer::{find_key, key_for_message, sign_text};
use super::metadata::StoredHead;
use crate::model::clock;
use crate::store::{MetadataValue, Store};
use crate::token::Token;

/// The format of new signatures.
const FORMAT: u32 = 1;

/// A signature over a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentSignature {
    /// The format of the signed text: 1.
    pub format: u32,
    /// The kind of the document, such as `json`.
    pub kind: String,
    /// When it was signed, as text.
    pub time: String,
    /// SHA-256 of the bytes of the document, in hexadecimal.
    pub sha256: String,
    /// The key version id of the signing key on the token.
    pub key_id: String,
    /// ECDSA on P-256 with SHA-256: `r` and `s`, 64 bytes in Base64.
    pub signature: String,
}

impl DocumentSignature {
    /// Signs a document on the token.
    ///
    /// # Errors
    /// [`AuditError::NoKey`] before the first start; [`AuditError::KeyMissing`] when the token does not have
    /// the key any more; when token or store fail.
    pub async fn sign(
        store: &Store,
        token: &Token,
        kind: &str,
        document: &[u8],
    ) -> Result<Self, AuditError> {
        let public = StoredHead::public_key(store).await?;
        let found = find_key(store, token, &public).await?;
        let is_missing = || AuditError::KeyMissing(key_for_message(found));
        let public = match public {
            MetadataValue::Read(public) => public,
            MetadataValue::Absent => return Err(AuditError::NoKey),
            MetadataValue::Damaged => return Err(is_missing()),
        };
        let key = found.ok_or_else(is_missing)?;
        let unsigned = Self {
            format: FORMAT,
            kind: kind.to_owned(),
            time: clock::now().to_string(),
            sha256: hex::encode(digest(&SHA256, document)),
            key_id: key.to_string(),
            signature: String::new(),
        };
        let signature = sign_text(token, key, &unsigned.text()).await?;
        let signed = Self { signature: STANDARD.encode(signature), ..unsigned };
        if signed.is_of(&public, document) { Ok(signed) } else { Err(is_missing()) }
    }

    /// Whether the key signed this document.
    pub fn is_of(&self, key: &AuditKey, document: &[u8]) -> bool {
        self.format == FORMAT
            && self.sha256 == hex::encode(digest(&SHA256, document))
            && key.has_signed_text(&self.text(), &self.signature)
    }

    /// The signed text.
    fn text(&self) -> String {
        let Self { format, kind, time, sha256, key_id, .. } = self;
        format!("hsmgate document {format}\n{kind}\n{sha256}\n{time}\n{key_id}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::Head;
    use super::super::checkpoint::tests::TestSigner;
    use super::*;

    #[test]
    fn a_signature_is_valid_only_for_its_document() {
        let (signer, document) = (TestSigner::new(), b"{}");
        let good = signer.sign_document("json", document);
        assert!(good.is_of(&signer.key(), document));
        assert!(!good.is_of(&TestSigner::new().key(), document));
        assert!(!good.is_of(&signer.key(), b"{} "));
        for other in [
            DocumentSignature { format: 2, ..good.clone() },
            DocumentSignature { kind: "html".to_owned(), ..good.clone() },
            DocumentSignature { time: "2030-01-01T00:00:00Z".to_owned(), ..good.clone() },
            DocumentSignature { key_id: "other".to_owned(), ..good.clone() },
            DocumentSignature { signature: "not Base64".to_owned(), ..good.clone() },
        ] {
            assert!(!other.is_of(&signer.key(), document), "{other:?}");
        }
    }

    #[test]
    fn a_checkpoint_is_no_document_and_a_document_no_checkpoint() {
        let signer = TestSigner::new();
        let checkpoint = signer.sign(Head::START.followed_by(b"record"), None);
        let document = signer.sign_document("json", b"{}");
        let taken =
            DocumentSignature { signature: checkpoint.signature.clone(), ..document.clone() };
        assert!(!taken.is_of(&signer.key(), b"{}"));
        assert!(!document.text().starts_with("hsmgate audit checkpoint"));
        let mut other = checkpoint;
        other.signature = document.signature;
        assert!(!signer.key().has_signed(&other));
    }

    impl TestSigner {
        fn sign_document(&self, kind: &str, document: &[u8]) -> DocumentSignature {
            let unsigned = DocumentSignature {
                format: FORMAT,
                kind: kind.to_owned(),
                time: "2027-01-15T08:00:00Z".to_owned(),
                sha256: hex::encode(digest(&SHA256, document)),
                key_id: "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf".to_owned(),
                signature: String::new(),
            };
            let signature = STANDARD.encode(self.sign_text(&unsigned.text()));
            DocumentSignature { signature, ..unsigned }
        }
    }
}
