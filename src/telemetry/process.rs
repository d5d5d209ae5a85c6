//! Metrics of the process, with the names that programs with Prometheus have in common.

use std::sync::atomic::AtomicU64;

use procfs::process::{LimitValue, Process, Stat};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::registry::gauge_value;

type Seconds = Counter<f64, AtomicU64>;

super::metrics! {
    /// Metrics of the process, read when they are asked for. Those that cannot be read keep their value.
    pub struct ProcessMetrics {
        /// Processor time of the process in seconds
        cpu: Seconds = "process_cpu_seconds_total" [],
        /// Open file descriptors
        open_files: Gauge = "process_open_fds" [],
        /// The maximum number of open file descriptors
        max_files: Gauge = "process_max_fds" [],
        /// Threads of the process
        threads: Gauge = "process_threads" [],
        /// Virtual memory in bytes
        virtual_memory: Gauge = "process_virtual_memory_bytes" [],
        /// Resident memory in bytes
        resident_memory: Gauge = "process_resident_memory_bytes" [],
        /// When the process started, in seconds since 1970
        start: Gauge = "process_start_time_seconds" [],
    }
}

impl ProcessMetrics {
    /// Reads them from `/proc/self`.
    pub(super) fn observe(&self) {
        let Ok(process) = Process::myself() else { return };
        if let Ok(stat) = process.stat() {
            self.observe_stat(&stat);
        }
        if let Ok(count) = process.fd_count() {
            self.open_files.set(gauge_value(count));
        }
        if let Ok(limits) = process.limits() {
            let max = match limits.max_open_files.soft_limit {
                LimitValue::Value(max) => max,
                LimitValue::Unlimited => u64::MAX,
            };
            self.max_files.set(gauge_value(max));
        }
    }

    fn observe_stat(&self, stat: &Stat) {
        let seconds = |ticks: u64| {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let (ticks, a_second) = (ticks as f64, procfs::ticks_per_second() as f64);
            ticks / a_second
        };
        let now = seconds(stat.utime.saturating_add(stat.stime));
        self.cpu.inc_by((now - self.cpu.get()).max(0.0));
        self.virtual_memory.set(gauge_value(stat.vsize));
        let resident = stat.rss.saturating_mul(procfs::page_size());
        self.resident_memory.set(gauge_value(resident));
        self.threads.set(stat.num_threads);
        if let Ok(boot) = procfs::boot_time_secs() {
            let seconds = boot.saturating_add(stat.starttime / procfs::ticks_per_second());
            self.start.set(gauge_value(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::clock;
    use crate::telemetry::{MetricsFormat, ProcessMetrics, Registry};

    #[test]
    fn the_text_has_the_state_of_this_process() {
        let mut registry = Registry::default();
        ProcessMetrics::new(&mut registry).observe();
        let text = registry.text(MetricsFormat::Prometheus).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        let now = f64::from(i32::try_from(clock::now().unix()).unwrap());
        let age = now - value("process_start_time_seconds");
        assert!((-1.0..86_400.0).contains(&age), "started {age} s ago");
    }
}
