//! The metrics of all rooms, in one registry.

use crate::audit::AuditMetrics;
use crate::authn::AuthnMetrics;
use crate::authz::AuthzMetrics;
use crate::jobs::JobMetrics;
use crate::keyring::KeyringMetrics;
use crate::pipeline::PipelineMetrics;
use crate::server::ServerMetrics;
use crate::store::StoreMetrics;
use crate::telemetry::{ProcessMetrics, Registry};
use crate::token::TokenMetrics;

/// The metrics of all rooms, and the registry that holds them.
#[derive(Debug)]
pub struct Metrics {
    pub(super) pipeline: PipelineMetrics,
    pub(super) server: ServerMetrics,
    pub(super) token: TokenMetrics,
    pub(super) authn: AuthnMetrics,
    pub(super) authz: AuthzMetrics,
    pub(super) keyring: KeyringMetrics,
    pub(super) store: StoreMetrics,
    pub(super) audit: AuditMetrics,
    pub(super) jobs: JobMetrics,
    pub(super) process: ProcessMetrics,
    /// The registry.
    pub registry: Registry,
}

impl Metrics {
    /// Registers the metrics of every room, in the order of the text and of its documentation.
    pub fn register() -> Self {
        let mut registry = Registry::default();
        Self {
            pipeline: PipelineMetrics::new(&mut registry),
            server: ServerMetrics::new(&mut registry),
            token: TokenMetrics::new(&mut registry),
            authn: AuthnMetrics::new(&mut registry),
            authz: AuthzMetrics::new(&mut registry),
            keyring: KeyringMetrics::new(&mut registry),
            store: StoreMetrics::new(&mut registry),
            audit: AuditMetrics::new(&mut registry),
            jobs: JobMetrics::new(&mut registry),
            process: ProcessMetrics::new(&mut registry),
            registry,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::telemetry::{Description, MetricsFormat};

    #[test]
    fn every_metric_in_the_text_is_described_with_its_kind() {
        let registry = Metrics::register().registry;
        let descriptions = registry.descriptions();
        let names: BTreeSet<_> = descriptions.iter().map(|description| description.name).collect();
        assert_eq!(names.len(), descriptions.len(), "a name is registered twice");
        let text = registry.text(MetricsFormat::OpenMetrics).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let is_it = |description: &&Description| {
                description.name.strip_suffix("_total").unwrap_or(description.name) == name
            };
            assert_eq!(descriptions.iter().find(is_it).unwrap().kind, kind, "{name}");
        }
    }
}
