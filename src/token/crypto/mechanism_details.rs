//! The flags and key sizes that the token reports for a mechanism (C_GetMechanismInfo). They are
//! shown, and do not decide: some tokens report them wrongly.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::{MechanismInfo, MechanismType};
use cryptoki::slot::Slot;

use super::mechanism::Capability;

/// The details of the mechanisms that the gateway uses.
#[derive(Debug, Default)]
pub(crate) struct MechanismDetails(Vec<(MechanismType, MechanismInfo)>);

/// What a capability needs of one mechanism.
struct Need {
    mechanism: MechanismType,
    has_flags: fn(&MechanismInfo) -> bool,
    /// The size of the key in bits, if the mechanism depends on it.
    bits: Option<usize>,
}

impl MechanismDetails {
    /// Reads the details of the mechanisms in the token's list that the gateway uses. A token that
    /// does not report them is believed.
    pub(crate) fn read(pkcs11: &Pkcs11, slot: Slot, listed: &[MechanismType]) -> Self {
        let mut details = Self::default();
        let needs = Capability::ALL.iter().flat_map(|capability| needs(*capability));
        for mechanism in needs.map(|need| need.mechanism).filter(|one| listed.contains(one)) {
            if details.of(mechanism).is_none()
                && let Ok(info) = pkcs11.get_mechanism_info(slot, mechanism)
            {
                details.0.push((mechanism, info));
            }
        }
        details
    }

    fn of(&self, mechanism: MechanismType) -> Option<&MechanismInfo> {
        self.0.iter().find(|(known, _info)| *known == mechanism).map(|(_known, info)| info)
    }

    /// Whether flags and sizes allow the capability, as far as they are reported.
    pub(crate) fn allow(&self, capability: Capability) -> bool {
        let allows = |need: Need| {
            self.of(need.mechanism).is_none_or(|info| {
                (need.has_flags)(info) && need.bits.is_none_or(|bits| has_size(info, bits))
            })
        };
        needs(capability).into_iter().all(allows)
    }
}

/// Whether the mechanism has keys of this size. The unit depends on the mechanism (PKCS#11 3.1,
/// CK_MECHANISM_INFO), and tokens differ; a maximum of zero is none.
fn has_size(info: &MechanismInfo, bits: usize) -> bool {
    let sizes = info.min_key_size()..=info.max_key_size();
    info.max_key_size() == 0 || sizes.contains(&bits) || sizes.contains(&(bits / 8))
}

fn needs(capability: Capability) -> Vec<Need> {
    let need = |mechanism, has_flags, bits| Need { mechanism, has_flags, bits };
    let generate: fn(&MechanismInfo) -> bool = MechanismInfo::generate;
    let pair: fn(&MechanismInfo) -> bool = MechanismInfo::generate_key_pair;
    let sign: fn(&MechanismInfo) -> bool = MechanismInfo::sign;
    let unwrap: fn(&MechanismInfo) -> bool = MechanismInfo::unwrap;
    let aes = |bits| {
        vec![
            need(MechanismType::AES_KEY_GEN, generate, Some(bits)),
            need(MechanismType::AES_GCM, |info| info.encrypt() && info.decrypt(), Some(bits)),
        ]
    };
    let mac = |mechanism| {
        let secret = MechanismType::GENERIC_SECRET_KEY_GEN;
        vec![need(secret, generate, None), need(mechanism, sign, None)]
    };
    let ec = || {
        vec![
            need(MechanismType::ECC_KEY_PAIR_GEN, pair, Some(256)),
            need(MechanismType::ECDSA, |info| info.sign() && info.verify(), Some(256)),
        ]
    };
    let rsa = |bits| vec![need(MechanismType::RSA_PKCS_KEY_PAIR_GEN, pair, Some(bits))];
    match capability {
        Capability::Aes128 => aes(128),
        Capability::Aes192 => aes(192),
        Capability::Aes256 => aes(256),
        Capability::HmacSha224 => mac(MechanismType::SHA224_HMAC),
        Capability::HmacSha256 => mac(MechanismType::SHA256_HMAC),
        Capability::HmacSha384 => mac(MechanismType::SHA384_HMAC),
        Capability::HmacSha512 => mac(MechanismType::SHA512_HMAC),
        Capability::EcP256 | Capability::EcP256k => ec(),
        Capability::Rsa2048 => rsa(2048),
        Capability::Rsa3072 => rsa(3072),
        Capability::Rsa4096 => rsa(4096),
        Capability::RsaOaepSha1 => {
            vec![need(MechanismType::RSA_PKCS_OAEP, MechanismInfo::decrypt, None)]
        }
        // Either of two mechanisms is sufficient.
        Capability::RsaOaepSha256 => Vec::new(),
        Capability::RsaPss => vec![need(MechanismType::RSA_PKCS_PSS, sign, None)],
        Capability::RsaPkcs1 => vec![need(MechanismType::RSA_PKCS, sign, None)],
        Capability::UnwrapPkcs1 => vec![need(MechanismType::RSA_PKCS, unwrap, None)],
        Capability::UnwrapOaepSha1 | Capability::UnwrapOaepSha256 => {
            vec![need(MechanismType::RSA_PKCS_OAEP, unwrap, None)]
        }
    }
}
