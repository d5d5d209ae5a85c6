//! BatchGetSecretValue: returns the values of up to 20 secrets. Each is authorized, counted and recorded
//! as a call of GetSecretValue, and fails alone.

use serde::Deserialize;

use super::get_secret_value::GetSecretValue;
use super::parameters::Selection;
use super::response::SecretValue;
use crate::model::{FromParam, InvalidId, RequestId, SecretRef};
use crate::ops::prelude::*;

/// The maximum number of secrets (BatchGetSecretValue, parameter SecretsList).
const MAX_SECRETS: usize = 20;

operation! {
    permission: "kms:GetSecretValue";
    pub struct BatchGetSecretValue -> SecretValues {
        secrets: SecretsList = "SecretsList",
        is_xml: bool = with(|_params| Ok(false)),
    }

    /// The response.
    pub struct SecretValues {
        secret_values: Vec<ValueOfBatch>,
        errors: Vec<ErrorOfBatch>,
    }

    /// A value, with the id of its record.
    struct ValueOfBatch {
        #[serde(flatten)]
        value: SecretValue,
        request_id: RequestId,
    }

    /// Why a value is missing.
    struct ErrorOfBatch {
        secret_name: String,
        code: &'static str,
        http_status: u16,
        message: String,
    }
}

/// The parameter SecretsList, a JSON array.
#[derive(Debug, Deserialize)]
struct SecretsList(Vec<BatchedSecret>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchedSecret {
    secret_name: String,
    #[serde(default)]
    version_id: String,
    #[serde(default)]
    version_stage: String,
}

impl FromParam for SecretsList {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("list of secrets");
        let list: Self = serde_json::from_str(text).map_err(|_source| invalid)?;
        if (1..=MAX_SECRETS).contains(&list.0.len()) { Ok(list) } else { Err(invalid) }
    }
}

impl BatchedSecret {
    /// The same entry as a call of GetSecretValue.
    fn operation(&self, is_xml: bool) -> Result<GetSecretValue, ApiError> {
        let secret: SecretRef = parse(&self.secret_name, "SecretName")?
            .ok_or_else(|| ParamError::Missing("SecretName".into()))?;
        let selection = Selection {
            version: parse(&self.version_id, "VersionId")?,
            stage: parse(&self.version_stage, "VersionStage")?,
        };
        Ok(GetSecretValue::of(secret, selection, is_xml))
    }

    /// What the record shows.
    fn params(&self) -> Result<Params<'_>, ParamError> {
        let mut params = Params::default();
        for (name, value) in [
            ("SecretName", &self.secret_name),
            ("VersionId", &self.version_id),
            ("VersionStage", &self.version_stage),
        ] {
            if !value.is_empty() {
                params.insert(name, value.as_str())?;
            }
        }
        Ok(params)
    }
}

fn parse<T: FromParam>(text: &str, name: &'static str) -> Result<Option<T>, ParamError> {
    if text.is_empty() {
        return Ok(None);
    }
    T::from_param(text).map(Some).map_err(|InvalidId(_)| ParamError::invalid(name))
}

impl Operation for BatchGetSecretValue {
    const NAME: &'static str = "BatchGetSecretValue";
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;
    // Each entry counts.
    const IS_LIMITED: bool = false;
    const EXTRA_PERMISSIONS: &'static [&'static str] = &["kms:Decrypt"];

    fn for_xml(self) -> Self {
        Self { is_xml: true, ..self }
    }

    async fn run(self, cx: &Context) -> Result<SecretValues, ApiError> {
        let mut answer = SecretValues { secret_values: Vec::new(), errors: Vec::new() };
        for entry in &self.secrets.0 {
            let (request_id, outcome) =
                cx.run_recorded(entry.operation(self.is_xml), &entry.params()?).await;
            match outcome {
                Ok(value) => answer.secret_values.push(ValueOfBatch { value, request_id }),
                // Without its record an entry is not answered, and neither are the others.
                Err(error) if error.code() == ErrorCode::Unavailable => return Err(error),
                Err(error) => answer.errors.push(ErrorOfBatch {
                    secret_name: entry.secret_name.clone(),
                    code: error.code().as_str(),
                    http_status: error.code().status(),
                    message: error.message().to_owned(),
                }),
            }
        }
        Ok(answer)
    }
}
