//! GetParametersForImport: generates a wrapping key in the token, and returns it with its import
//! token.

use crate::model::{Base64Bytes, ImportToken, Time, WrappingAlgorithm};
use crate::ops::no_sm2;
use crate::ops::prelude::*;

operation! {
    pub struct GetParametersForImport: CanImport -> ImportParameters {
        key: KeyRef,
        wrapping: Wrapping,
    }

    /// The response.
    pub struct ImportParameters {
        import_token: ImportToken,
        key_id: KeyId,
        public_key: Base64Bytes,
        token_expire_time: Time,
    }
}

#[derive(Debug)]
enum Wrapping {
    Rsa2048(WrappingAlgorithm),
    /// No supported token unwraps with SM2.
    Sm2,
}

impl FromParams for GetParametersForImport {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        let spec: String = params.required("WrappingKeySpec")?;
        let algorithm: String = params.required("WrappingAlgorithm")?;
        let invalid = ParamError::invalid("WrappingAlgorithm");
        let wrapping = match (spec.as_str(), algorithm.as_str()) {
            ("EC_SM2", "SM2PKE") => Wrapping::Sm2,
            ("RSA_2048", name) => Wrapping::Rsa2048(name.parse().map_err(|_source| invalid)?),
            ("EC_SM2", _) => return Err(invalid),
            _ => return Err(ParamError::invalid("WrappingKeySpec")),
        };
        Ok(Self { key: params.required("KeyId")?, wrapping })
    }
}

impl Operation for GetParametersForImport {
    const EFFECT: ActionEffect = ActionEffect::ChangesAsReading;
    const COST_CLASS: CostClass = CostClass::Generate;

    async fn run(self, cx: &Context) -> Result<ImportParameters, ApiError> {
        let key = cx.key::<Self>(&self.key)?;
        let Wrapping::Rsa2048(algorithm) = self.wrapping else {
            return Err(no_sm2("WrappingKeySpec"));
        };
        let wrapping = cx
            .keyring()
            .import_parameters(&key, algorithm, cx.now(), cx.execution()?)
            .await
            .map_err(|error| error.of_parameter("WrappingAlgorithm"))?;
        Ok(ImportParameters {
            import_token: wrapping.parameters.token(),
            key_id: key.record().id,
            public_key: Base64Bytes(wrapping.public_key),
            token_expire_time: wrapping.parameters.expires,
        })
    }
}
