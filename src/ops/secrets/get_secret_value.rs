//! GetSecretValue: returns the value of a version of a secret.

use super::parameters::Selection;
use super::read::read_value;
use super::response::SecretValue;
use crate::model::SecretRef;
use crate::ops::prelude::*;

operation! {
    client_keys: "kms:GetSecretValue";
    pub struct GetSecretValue: CanUseSecretValue -> SecretValue {
        secret: SecretRef = "SecretName",
        selection: Selection = with(Selection::from_params),
        // Generic secrets have no extended configuration.
        _fetches_extended_config: Option<bool> = "FetchExtendedConfig",
        recipient: Option<String> = "Recipient",
        is_xml: bool = with(|_params| Ok(false)),
    }
}

impl GetSecretValue {
    /// The call for one secret of a batch.
    pub(super) fn of(secret: SecretRef, selection: Selection, is_xml: bool) -> Self {
        Self { secret, selection, _fetches_extended_config: None, recipient: None, is_xml }
    }
}

impl Operation for GetSecretValue {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const DRY_RUN: bool = true;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    const EXTRA_PERMISSIONS: &'static [&'static str] = &["kms:Decrypt"];

    fn for_xml(self) -> Self {
        Self { is_xml: true, ..self }
    }

    async fn run(self, cx: &Context) -> Result<SecretValue, ApiError> {
        if self.recipient.is_some() {
            let reason = "this gateway does not support enclaves";
            return Err(ApiError::unsupported_parameter("Recipient", reason));
        }
        let (secret, version, data) = read_value::<Self>(&self.secret, &self.selection, cx).await?;
        if self.is_xml && !data.is_xml_text() {
            return Err(ApiError::with_message(
                ErrorCode::InvalidParameter,
                "The secret value has characters that XML cannot carry. Request it with Format=JSON.",
            ));
        }
        Ok(SecretValue::of(secret.record(), &version, data))
    }
}
