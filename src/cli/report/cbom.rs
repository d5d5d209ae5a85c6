//! The cryptographic assets of a report as a bill of materials: CycloneDX 1.6.

use std::collections::BTreeMap;

use rustls::crypto::CryptoProvider;
use rustls::{SupportedProtocolVersion, version};
use serde_json::{Value, json};

use super::document::{Document, KeyRow, VersionRow};
use crate::model::{KeySpec, KeyState, KeyUsage, random};
use crate::server::tls;

/// The reference of the gateway itself.
const GATEWAY: &str = "hsmgate";
/// The reference of the token.
const TOKEN: &str = "token";

/// The bill of materials of a report. The names of algorithms follow their standards.
pub(super) fn bill(report: &Document) -> Value {
    let mut algorithms = BTreeMap::new();
    let mut components = vec![token(report)];
    for key in &report.keys {
        let algorithm = algorithm(key.spec, key.usage);
        components.extend(key.versions.iter().map(|version| material(key, version, &algorithm)));
        algorithms.entry(algorithm.reference()).or_insert_with(|| algorithm.component());
    }
    if let Some(key_exchange) = report.key_exchange {
        let offered = tls::offered(key_exchange);
        for (reference, component) in tls_algorithms(&offered) {
            algorithms.entry(reference).or_insert(component);
        }
        let versions = tls::offered_versions(key_exchange).iter();
        components.extend(versions.map(|version| tls_protocol(version, &offered)));
    }
    let provided: Vec<_> = algorithms.keys().cloned().collect();
    let used: Vec<_> = components.iter().filter_map(|one| one.get("bom-ref").cloned()).collect();
    components.extend(algorithms.into_values());
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", random::uuid()),
        "version": 1,
        "metadata": {
            "timestamp": report.created,
            "component": {
                "type": "application",
                "bom-ref": GATEWAY,
                "name": "hsmgate",
                "version": env!("CARGO_PKG_VERSION"),
                "properties": [
                    {"name": "hsmgate:account", "value": report.account},
                    {"name": "hsmgate:region", "value": report.region},
                ],
            },
        },
        "components": components,
        "dependencies": [{"ref": GATEWAY, "dependsOn": used, "provides": provided}],
    })
}

fn token(report: &Document) -> Value {
    let token = &report.token;
    json!({
        "type": "device",
        "bom-ref": TOKEN,
        "manufacturer": {"name": token.manufacturer},
        "name": token.model,
        "components": [{
            "type": "firmware",
            "bom-ref": "token/firmware",
            "name": format!("firmware of {}", token.model),
            "version": token.firmware,
        }],
        "properties": [
            {"name": "hsmgate:token-label", "value": token.label},
            {"name": "hsmgate:token-serial", "value": token.serial},
        ],
    })
}

/// The key material of a version. Its value is never in a report.
fn material(key: &KeyRow, version: &VersionRow, algorithm: &Algorithm) -> Value {
    let kind = if key.spec.is_asymmetric() { "private-key" } else { "secret-key" };
    let name = key.aliases.first().map_or_else(|| key.key_id.to_string(), ToString::to_string);
    json!({
        "type": "cryptographic-asset",
        "bom-ref": format!("key/{}", version.key_version_id),
        "name": name,
        "cryptoProperties": {
            "assetType": "related-crypto-material",
            "relatedCryptoMaterialProperties": {
                "type": kind,
                "id": version.key_version_id,
                "state": state(key, version),
                "size": size(key.spec),
                "algorithmRef": algorithm.reference(),
                "creationDate": version.created,
                "securedBy": {"mechanism": "HSM"},
            },
        },
        "properties": [
            {"name": "hsmgate:key-id", "value": key.key_id},
            {"name": "hsmgate:key-state", "value": key.state},
            {"name": "hsmgate:key-version-number", "value": version.number.to_string()},
            {"name": "hsmgate:origin", "value": key.origin},
            {"name": "hsmgate:objects", "value": version.objects.as_str()},
        ],
    })
}

/// The state as NIST SP 800-57 names it. A version that no longer encrypts is deactivated.
fn state(key: &KeyRow, version: &VersionRow) -> &'static str {
    let is_former = key.primary_version.is_some_and(|primary| primary != version.key_version_id);
    match key.state {
        KeyState::Enabled if is_former => "deactivated",
        KeyState::Enabled => "active",
        KeyState::Disabled | KeyState::Unavailable => "suspended",
        KeyState::Creating | KeyState::PendingImport => "pre-activation",
        KeyState::PendingDeletion => "deactivated",
        KeyState::Deleting => "destroyed",
    }
}

/// The size in bits.
const fn size(spec: KeySpec) -> u32 {
    match spec {
        KeySpec::Aes128 | KeySpec::Sm4 => 128,
        KeySpec::Aes192 => 192,
        KeySpec::Aes256
        | KeySpec::EcP256
        | KeySpec::EcP256k
        | KeySpec::EcSm2
        | KeySpec::HmacSha256 => 256,
        KeySpec::Rsa2048 => 2048,
        KeySpec::Rsa3072 => 3072,
        KeySpec::Rsa4096 => 4096,
        KeySpec::HmacSha224 => 224,
        KeySpec::HmacSha384 => 384,
        KeySpec::HmacSha512 => 512,
    }
}

/// What the token computes with a key.
struct Algorithm {
    name: String,
    primitive: &'static str,
    parameter: String,
    curve: Option<&'static str>,
    mode: Option<&'static str>,
    padding: Option<&'static str>,
    functions: &'static [&'static str],
    classical_level: u32,
    /// The category of NIST. 0: a quantum computer breaks it.
    quantum_level: Option<u32>,
}

fn algorithm(spec: KeySpec, usage: KeyUsage) -> Algorithm {
    let bits = size(spec);
    let plain = Algorithm {
        name: String::new(),
        primitive: "ae",
        parameter: bits.to_string(),
        curve: None,
        mode: None,
        padding: None,
        functions: &["keygen", "encrypt", "decrypt"],
        classical_level: bits,
        quantum_level: None,
    };
    match spec {
        KeySpec::Aes128 | KeySpec::Aes192 | KeySpec::Aes256 | KeySpec::Sm4 => {
            let cipher =
                if spec == KeySpec::Sm4 { "SM4".to_owned() } else { format!("AES-{bits}") };
            let level = match bits {
                128 => 1,
                192 => 3,
                _ => 5,
            };
            let (name, quantum_level) = (format!("{cipher}-GCM"), Some(level));
            Algorithm { name, mode: Some("gcm"), quantum_level, ..plain }
        }
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => {
            let classical_level = match bits {
                2048 => 112,
                3072 => 128,
                _ => 152,
            };
            let pair = Algorithm { classical_level, quantum_level: Some(0), ..plain };
            if usage == KeyUsage::EncryptDecrypt {
                let (name, padding) = (format!("RSAES-OAEP-{bits}"), Some("oaep"));
                Algorithm { name, primitive: "pke", padding, ..pair }
            } else {
                let functions = &["keygen", "sign", "verify"];
                let name = format!("RSA-{bits}");
                Algorithm { name, primitive: "signature", functions, ..pair }
            }
        }
        KeySpec::EcP256 | KeySpec::EcP256k | KeySpec::EcSm2 => {
            let (name, curve) = match spec {
                KeySpec::EcP256 => ("ECDSA-P-256", "secp256r1"),
                KeySpec::EcP256k => ("ECDSA-secp256k1", "secp256k1"),
                _ => ("SM2", "sm2p256v1"),
            };
            Algorithm {
                name: name.to_owned(),
                primitive: "signature",
                curve: Some(curve),
                functions: &["keygen", "sign", "verify"],
                classical_level: 128,
                quantum_level: Some(0),
                ..plain
            }
        }
        KeySpec::HmacSha224 | KeySpec::HmacSha256 | KeySpec::HmacSha384 | KeySpec::HmacSha512 => {
            let name = format!("HMAC-SHA-{bits}");
            Algorithm { name, primitive: "mac", functions: &["keygen", "tag", "verify"], ..plain }
        }
    }
}

impl Algorithm {
    fn reference(&self) -> String {
        format!("algorithm/{}", self.name)
    }

    fn component(&self) -> Value {
        let mut properties = json!({
            "primitive": self.primitive,
            "parameterSetIdentifier": self.parameter,
            "executionEnvironment": "hardware",
            "implementationPlatform": "other",
            "cryptoFunctions": self.functions,
            "classicalSecurityLevel": self.classical_level,
        });
        let optional = [
            ("curve", self.curve.map(|curve| json!(curve))),
            ("mode", self.mode.map(|mode| json!(mode))),
            ("padding", self.padding.map(|padding| json!(padding))),
            ("nistQuantumSecurityLevel", self.quantum_level.map(|level| json!(level))),
        ];
        if let Some(properties) = properties.as_object_mut() {
            let present = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
            properties.extend(present.map(|(name, value)| (name.to_owned(), value)));
        }
        asset(&self.reference(), &self.name, &properties)
    }
}

fn asset(reference: &str, name: &str, properties: &Value) -> Value {
    json!({
        "type": "cryptographic-asset",
        "bom-ref": reference,
        "name": name,
        "cryptoProperties": {"assetType": "algorithm", "algorithmProperties": properties},
    })
}

/// The groups of the key exchange, in the order of preference.
fn tls_groups(offered: &CryptoProvider) -> Vec<String> {
    offered.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect()
}

fn tls_algorithms(offered: &CryptoProvider) -> BTreeMap<String, Value> {
    let group = |name: String| {
        let reference = format!("tls-group/{name}");
        let is_hybrid = name.contains("MLKEM");
        let primitive = if is_hybrid { "combiner" } else { "key-agree" };
        let properties = json!({
            "primitive": primitive,
            "executionEnvironment": "software-plain-ram",
            "cryptoFunctions": ["keygen", "keyderive"],
            "nistQuantumSecurityLevel": if is_hybrid { 3 } else { 0 },
        });
        let component = asset(&reference, &name, &properties);
        (reference, component)
    };
    tls_groups(offered).into_iter().map(group).collect()
}

/// TLS in one of its versions.
fn tls_protocol(version: &SupportedProtocolVersion, offered: &CryptoProvider) -> Value {
    let groups = tls_groups(offered);
    let groups: Vec<_> = groups.iter().map(|name| format!("tls-group/{name}")).collect();
    let suites = offered.cipher_suites.iter().filter(|suite| suite.version() == version);
    let suites = suites.map(|suite| {
        let [first, second] = u16::from(suite.suite()).to_be_bytes();
        json!({
            "name": format!("{:?}", suite.suite()),
            "identifiers": [format!("0x{first:02X}"), format!("0x{second:02X}")],
        })
    });
    let number = if *version == version::TLS13 { "1.3" } else { "1.2" };
    json!({
        "type": "cryptographic-asset",
        "bom-ref": format!("protocol/tls-{number}"),
        "name": format!("TLS {number}"),
        "cryptoProperties": {
            "assetType": "protocol",
            "protocolProperties": {
                "type": "tls",
                "version": number,
                "cipherSuites": suites.collect::<Vec<_>>(),
                "cryptoRefArray": groups,
            },
        },
    })
}
