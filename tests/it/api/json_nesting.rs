//! Deeply nested JSON in parameters is refused, and the gateway continues.

use crate::support::gateway::Gateway;

#[tokio::test]
async fn deeply_nested_json_is_refused() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    let id = ("KeyId", key.as_str());
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested =
            format!("{}1{}", open.repeat(10_000 / open.len()), close.repeat(10_000 / open.len()));
        let plaintext = ("Plaintext", "SGVsbG8=");
        for (action, params) in [
            ("Encrypt", vec![id, plaintext, ("EncryptionContext", &nested)]),
            ("SetKeyPolicy", vec![id, ("PolicyName", "default"), ("Policy", &nested)]),
            ("TagResource", vec![id, ("Tags", &nested)]),
            ("UntagResource", vec![id, ("TagKeys", &nested)]),
            ("ListKeys", vec![("Filters", &nested)]),
        ] {
            let (status, code) = gateway.refused(action, &params).await;
            assert_eq!(status, 400, "{action} {code}");
        }
    }
    gateway.call("Encrypt", &[id, ("Plaintext", "SGVsbG8=")]).await;
}
