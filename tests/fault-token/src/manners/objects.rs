//! Rules for new objects: where they live, how long a label is, and how many there are.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_RV, CK_SESSION_HANDLE, CK_TRUE, CKA_LABEL, CKA_TOKEN,
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT,
};

use super::{Call, Manner};
use crate::inner_module::ulong;

/// What a template says of the lifetime.
///
/// # Safety
/// The values have the lengths that they tell.
unsafe fn is_token(template: &[CK_ATTRIBUTE]) -> Option<bool> {
    let attribute = template.iter().find(|attribute| attribute.type_ == CKA_TOKEN)?;
    // SAFETY: by the contract above; a boolean is one byte.
    Some(unsafe { attribute.pValue.cast::<u8>().as_ref() } == Some(&CK_TRUE))
}

/// The refusal of a template, for an object that is a token object if the template does not say it.
///
/// # Safety
/// The values have the lengths that they tell.
pub(super) unsafe fn refusal(
    call: Call<'_>,
    session: CK_SESSION_HANDLE,
    template: &[CK_ATTRIBUTE],
    is_by_default: bool,
) -> Option<CK_RV> {
    let label = template.iter().find(|attribute| attribute.type_ == CKA_LABEL);
    let label = label.map_or(0, |attribute| attribute.ulValueLen);
    // SAFETY: by the contract above.
    let is_token = unsafe { is_token(template) }.unwrap_or(is_by_default);
    let is_full = |limit| is_token && ulong(call.inner.token_objects(session)) >= limit;
    call.manners.iter().find_map(|manner| match manner {
        Manner::LabelLimit(limit) if label > *limit => Some(CKR_ATTRIBUTE_VALUE_INVALID),
        Manner::NoSessionObjects if !is_token => Some(CKR_TEMPLATE_INCONSISTENT),
        Manner::ObjectLimit(limit, code) if is_full(*limit) => Some(code.0),
        _ => None,
    })
}

/// The refusal of the templates of a key pair.
pub(super) fn refusal_of_pair(call: Call<'_>, templates: [&[CK_ATTRIBUTE]; 2]) -> Option<CK_RV> {
    let has = |kind| templates.concat().iter().any(|attribute| attribute.type_ == kind);
    let is_missing = |manner: &Manner| matches!(manner, Manner::PairRequires(kind) if !has(kind.0));
    call.manners.iter().any(is_missing).then_some(CKR_TEMPLATE_INCOMPLETE)
}
