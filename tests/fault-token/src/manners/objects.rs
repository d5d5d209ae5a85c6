//! Rules for new objects: where they live, and how long a label is.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_RV, CK_TRUE, CKA_LABEL, CKA_TOKEN, CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_TEMPLATE_INCONSISTENT,
};

use super::{Call, Manner};

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
    template: &[CK_ATTRIBUTE],
    is_by_default: bool,
) -> Option<CK_RV> {
    let label = template.iter().find(|attribute| attribute.type_ == CKA_LABEL);
    let label = label.map_or(0, |attribute| attribute.ulValueLen);
    // SAFETY: by the contract above.
    let is_token = unsafe { is_token(template) }.unwrap_or(is_by_default);
    call.manners.iter().find_map(|manner| match manner {
        Manner::LabelLimit(limit) if label > *limit => Some(CKR_ATTRIBUTE_VALUE_INVALID),
        Manner::NoSessionObjects if !is_token => Some(CKR_TEMPLATE_INCONSISTENT),
        _ => None,
    })
}
