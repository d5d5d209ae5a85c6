//! Issues client keys: an RSA pair, its certificate, and the PKCS#12 with both.
//!
//! The private key belongs to the client, not to this service: it is generated in software,
//! returned once and not stored.

use std::time::Duration;

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey,
    PrivateKeyChain,
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    PublicKeyData as _, RsaKeySize, date_time_ymd,
};
use zeroize::Zeroizing;

use crate::model::{ClientKeyId, ClientKeyPassword, Time};

/// The iterations of the key derivation, as in the real service.
const ITERATIONS: u32 = 2048;

/// A new client key.
pub struct IssuedClientKey {
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// Its public key, DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// Certificate and private key, DER PKCS#12.
    pub pkcs12: Zeroizing<Vec<u8>>,
}

/// Why no client key was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The key pair or its certificate could not be created.
    #[error("could not create the certificate of a client key")]
    Certificate(#[from] rcgen::Error),
    /// The PKCS#12 could not be encoded.
    #[error("could not encode the PKCS#12 of a client key")]
    Container(#[from] p12_keystore::error::Error),
}

/// Generates an RSA pair of 2,048 bits with a self-signed certificate for signing. It takes a tenth
/// of a second and sometimes much longer: never call it from async code.
///
/// The PKCS#12 has the only form that every SDK can read, including PHP and Go: 3DES with SHA-1 for
/// both bags, HMAC-SHA1, the certificate first. The password protects the key. (While the crate
/// encodes it, memory has copies of the key that the crate does not zeroize.)
///
/// # Errors
/// When a part cannot be created or encoded.
pub fn issue(
    id: ClientKeyId,
    password: &ClientKeyPassword,
    not_before: Time,
    not_after: Time,
) -> Result<IssuedClientKey, IssueError> {
    let pair = Zeroizing::new(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?);
    let certificate = certificate(id, not_before, not_after).self_signed(&*pair)?;
    let chain = PrivateKeyChain::new(
        id.to_string(),
        PrivateKey::from_der(pair.serialized_der())?,
        [Certificate::from_der(certificate.der())?],
    );
    let mut store = KeyStore::new();
    store.add_entry(&id.to_string(), KeyStoreEntry::PrivateKeyChain(chain));
    let pkcs12 = store
        .writer(password.expose())
        .encryption_algorithm(EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc)
        .encryption_iterations(ITERATIONS)
        .mac_algorithm(MacAlgorithm::HmacSha1)
        .mac_iterations(ITERATIONS)
        .write()?;
    Ok(IssuedClientKey {
        certificate_pem: certificate.pem(),
        public_key: pair.subject_public_key_info(),
        pkcs12: Zeroizing::new(pkcs12),
    })
}

fn certificate(id: ClientKeyId, not_before: Time, not_after: Time) -> CertificateParams {
    let date = |time: Time| {
        let seconds = u64::try_from(time.unix()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, id.to_string());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = date(not_before);
    params.not_after = date(not_after);
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock;

    #[test]
    fn an_issued_key_can_be_decrypted_only_with_its_password() {
        let password: ClientKeyPassword = "opens-it-1".parse().unwrap();
        let now = clock::now();
        let id = ClientKeyId::random();
        let issued = issue(id, &password, now, now.plus_seconds(3600)).unwrap();
        let open = |password| {
            let policy = p12_keystore::Pkcs12ImportPolicy::Strict;
            KeyStore::from_pkcs12(&issued.pkcs12, password, policy)
        };
        let decrypted = open("opens-it-1").unwrap();
        let (alias, chain) = decrypted.private_key_chain().unwrap();
        assert_eq!(alias, id.to_string());
        assert_eq!(chain.certs().len(), 1);
        assert_eq!(chain.certs()[0].subject(), format!("CN={id}"));
        assert!(open("opens-it-2").is_err());
    }
}
