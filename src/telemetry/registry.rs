//! One instance's metrics.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::names::{self, Kind, Metric};

/// Hands out metric handles and renders them. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// A registry that knows every name of [`names`] and holds no series but [`names::BUILD_INFO`].
    pub fn new() -> Self {
        let mut builder = PrometheusBuilder::new();
        for m in names::ALL {
            if let Kind::Histogram(buckets) = m.kind {
                #[expect(clippy::expect_used, reason = "fails only for an empty list, and the lists are constants")]
                let with = builder
                    .set_buckets_for_metric(Matcher::Full(m.name.to_owned()), buckets)
                    .expect("a histogram has buckets");
                builder = with;
            }
        }
        let recorder = builder.build_recorder();
        for m in names::ALL {
            match m.kind {
                Kind::Counter => recorder.describe_counter(m.name.into(), None, m.help.into()),
                Kind::Gauge => recorder.describe_gauge(m.name.into(), None, m.help.into()),
                Kind::Histogram(_) => recorder.describe_histogram(m.name.into(), None, m.help.into()),
            }
        }
        let handle = recorder.handle();
        let registry = Self { recorder: Arc::new(recorder), handle };
        registry.gauge(names::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        registry
    }

    /// A counter's handle.
    pub fn counter(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder.register_counter(&key(metric, labels), &METADATA)
    }

    /// A gauge's handle.
    pub fn gauge(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(metric, labels), &METADATA)
    }

    /// A histogram's handle.
    pub fn histogram(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder.register_histogram(&key(metric, labels), &METADATA)
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// To be called every few seconds: without it histograms keep every sample until somebody asks.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

static METADATA: Metadata<'static> = Metadata::new("galeway", Level::INFO, None);

fn key(metric: Metric, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(k, v)| Label::new(*k, (*v).to_owned())).collect();
    Key::from_parts(metric.name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_come_out_with_buckets_and_not_as_summaries() {
        let registry = Registry::new();
        for m in names::ALL {
            if matches!(m.kind, Kind::Histogram(_)) {
                registry.histogram(*m, &[("service", "s")]).record(0.5);
                let text = registry.render();
                assert!(text.contains(&format!("{}_bucket{{service=\"s\",le=\"+Inf\"}} 1", m.name)), "{text}");
                assert!(text.contains(&format!("# HELP {}", m.name)), "{text}");
            }
        }
    }

    #[test]
    fn two_registries_share_nothing() {
        let (a, b) = (Registry::new(), Registry::new());
        a.counter(names::ACCEPTED, &[("service", "x")]).increment(7);
        assert!(a.render().contains(&format!("{}{{service=\"x\"}} 7", names::ACCEPTED.name)));
        assert!(!b.render().contains("service=\"x\""));
    }
}
