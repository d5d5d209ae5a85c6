//! What a scrape of Prometheus gets.

use std::fmt;

use super::process::ProcessMetrics;
use super::registry::{MetricsFormat, Registry};

/// The metrics of all rooms, with those of the process.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
    process: ProcessMetrics,
}

impl Exposition {
    /// The metrics of this registry, in which those of the process are.
    pub fn new(registry: Registry, process: ProcessMetrics) -> Self {
        Self { registry, process }
    }

    /// All metrics as a text. Reads those of the process before.
    ///
    /// # Errors
    /// When the library cannot write to a string.
    pub fn text(&self, format: MetricsFormat) -> Result<String, fmt::Error> {
        self.process.observe();
        self.registry.text(format)
    }
}
