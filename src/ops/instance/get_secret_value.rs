//! GetSecretValue: returns the value of a version of a secret, decrypted: only TLS protects it on the
//! way.

use super::messages::{GetSecretValueRequest, GetSecretValueResponse};
use super::prelude::*;
use crate::model::{SecretRef, VersionStage};
use crate::ops::secrets::{GENERIC, Selection, read_value};

operation! {
    client_keys: "kms:GetSecretValue";
    pub struct GetSecretValue: CanUseSecretValue -> Reply {
        secret: SecretRef,
        selection: Selection,
    }
}

impl ProtobufOperation for GetSecretValue {
    type Message = GetSecretValueRequest;

    fn read(
        message: GetSecretValueRequest,
        _version: Option<KeyVersionId>,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            secret: fields::required("SecretName", &message.secret_name)?,
            selection: Selection {
                version: fields::parse_optional("VersionId", &message.version_id)?,
                stage: fields::parse_optional("VersionStage", &message.version_stage)?,
            },
        })
    }
}

impl Operation for GetSecretValue {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<Reply, ApiError> {
        let (secret, version, data) = read_value::<Self>(&self.secret, &self.selection, cx).await?;
        let record = secret.record();
        let response = GetSecretValueResponse {
            secret_name: record.name.to_string(),
            secret_type: GENERIC.to_owned(),
            secret_data: data.expose().to_owned(),
            secret_data_type: version.data_type.to_string(),
            version_stages: version.stages.iter().map(VersionStage::to_string).collect(),
            version_id: version.id.to_string(),
            create_time: record.created.to_string(),
            request_id: cx.request_id().to_string(),
            last_rotation_date: String::new(),
            next_rotation_date: String::new(),
            extended_config: String::new(),
            automatic_rotation: String::new(),
            rotation_interval: String::new(),
        };
        Ok(Reply::new(None, &response))
    }
}
