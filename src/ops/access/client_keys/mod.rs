//! Client keys: the certificates with which applications use an access point.

use crate::model::{AccessName, ClientKeyId, ClientKeyRecord, Time};
use crate::ops::operation::response;
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    create_client_key::CreateClientKey,
    delete_client_key::DeleteClientKey,
    get_client_key::GetClientKey,
    list_client_keys::ListClientKeys,
}

/// The only algorithm of client keys.
const ALGORITHM: &str = "RSA_2048";

/// The resource for all client keys, and the prefix of one in an ARN.
const CONTAINER: &str = "clientkey";

fn resource(id: ClientKeyId) -> String {
    format!("{CONTAINER}/{id}")
}

response! {
    /// A client key, as described by the API.
    pub struct ClientKeyDetails {
        client_key_id: ClientKeyId,
        aap_name: AccessName,
        create_time: Time,
        key_algorithm: &'static str,
        key_origin: &'static str,
        not_before: Time,
        not_after: Time,
        /// The certificate, PEM.
        public_key_data: String,
    }
}

impl ClientKeyDetails {
    fn of(record: &ClientKeyRecord) -> Self {
        Self {
            client_key_id: record.id,
            aap_name: record.access_point.clone(),
            create_time: record.created,
            key_algorithm: ALGORITHM,
            key_origin: "KMS_PROVIDED",
            not_before: record.not_before,
            not_after: record.not_after,
            public_key_data: record.certificate_pem.clone(),
        }
    }
}
