//! How this token behaves where PKCS#11 leaves a choice, or where tokens differ from it: found out by
//! the self-test at each initialization, and needed by later calls.

/// The measured behavior of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenBehavior {
    /// The form of AES-GCM.
    pub(crate) gcm: GcmForm,
    /// Which secret keys can be copied into the session.
    pub(crate) copies: Copies,
}

/// Who makes the IV of AES-GCM, and where it is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GcmForm {
    /// The caller gives the IV.
    CallerIv,
}

/// Which secret keys the token copies into the session for the hot path: a copy saves the token two
/// file accesses or a search for each call, a factor of 2 to 150.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copies {
    /// None. The keys are generated with COPYABLE=false.
    Never,
    /// Those with MODIFIABLE=false, as all keys should be.
    OfClosed,
    /// Only those with MODIFIABLE=true; SoftHSM. That is safe: by the standard SENSITIVE and
    /// EXTRACTABLE can only become stricter, and the keys for which WRAP or DERIVE could be enabled
    /// are non-extractable too. An attacker with the PIN could change labels and ids, but could
    /// destroy the key as well.
    OfModifiable,
}

impl Copies {
    /// Whether copies are used at all.
    pub(crate) const fn are_used(self) -> bool {
        !matches!(self, Self::Never)
    }
}
