//! One instance's metrics.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::formatting::sanitize_label_value;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::names::{self, Kind, Metric};

/// Hands out metric handles and renders them. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    gone: Arc<Mutex<Gone>>,
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
        let registry = Self { recorder: Arc::new(recorder), handle, gone: Arc::default() };
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

    /// The service sends its clients to this cluster: its series of a node go with the node.
    pub fn serves(&self, service: &str, cluster: &str) {
        self.gone().services.insert(service.to_owned(), cluster.to_owned());
    }

    /// Takes that back: the service's targets belong to no cluster.
    pub fn serves_no_cluster(&self, service: &str) {
        self.gone().services.remove(service);
    }

    /// There is no such service any more: none of its series is shown.
    pub fn forget_service(&self, service: &str) {
        let mut gone = self.gone();
        gone.services.remove(service);
        gone.whole.insert(label("service", service));
    }

    /// Takes that back.
    pub fn remember_service(&self, service: &str) {
        self.gone().whole.remove(&label("service", service));
    }

    /// There is no such cluster any more: none of its series is shown.
    pub fn forget_cluster(&self, cluster: &str) {
        self.gone().whole.insert(label("cluster", cluster));
    }

    /// Takes that back.
    pub fn remember_cluster(&self, cluster: &str) {
        self.gone().whole.remove(&label("cluster", cluster));
    }

    /// The service goes to this node no longer.
    pub fn forget_route(&self, service: &str, node: &str) {
        let mut gone = self.gone();
        let by = gone.hidden.entry(label("node", node)).or_default();
        by.push(label("service", service));
    }

    /// Takes that back.
    pub fn remember_route(&self, service: &str, node: &str) {
        self.gone().reveal(&label("node", node), &[label("service", service)]);
    }

    /// The node is watched no longer: none of its series is shown. The recorder has no way to drop single series, so they
    /// cost their memory on, some hundred bytes each, until the process ends.
    pub fn forget(&self, cluster: &str, node: &str) {
        let mut gone = self.gone();
        let (node, by) = gone.labels(cluster, node);
        gone.hidden.entry(node).or_default().extend(by);
    }

    /// Takes that back.
    pub fn remember(&self, cluster: &str, node: &str) {
        let mut gone = self.gone();
        let (node, by) = gone.labels(cluster, node);
        gone.reveal(&node, &by);
    }

    /// A single series is not shown from now on, as [`Self::forget`] does it with those of a node.
    pub fn hide(&self, metric: Metric, labels: &[(&'static str, &str)]) {
        self.gone().single.insert(series(metric, labels));
    }

    /// Takes that back.
    pub fn unhide(&self, metric: Metric, labels: &[(&'static str, &str)]) {
        self.gone().single.remove(&series(metric, labels));
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        let text = self.handle.render();
        let gone = self.gone();
        if gone.hidden.is_empty() && gone.single.is_empty() && gone.whole.is_empty() {
            return text;
        }
        // One look a line, however many nodes have gone.
        let is_shown = |line: &&str| {
            let hidden = node_label(line).and_then(|label| gone.hidden.get(label));
            let single = line.rsplit_once(' ').is_some_and(|(series, _)| gone.single.contains(series));
            let whole = || gone.whole.iter().any(|label| !line.starts_with('#') && line.contains(label));
            !single && !hidden.is_some_and(|by| by.iter().any(|label| line.contains(label))) && !whole()
        };
        text.split_inclusive('\n').filter(is_shown).collect()
    }

    /// To be called every few seconds: without it histograms keep every sample until somebody asks.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Series that are not shown.
#[derive(Debug, Default)]
struct Gone {
    /// Each service and its cluster.
    services: HashMap<String, String>,
    /// Labels of services and clusters that are gone, as a series shows them.
    whole: HashSet<String>,
    /// Labels, as a series shows them: of each node that is gone, those beside which its own is hidden.
    hidden: HashMap<String, Vec<String>>,
    /// Whole series, as they are shown.
    single: HashSet<String>,
}

impl Gone {
    /// Series of this node that have one of these labels are shown again.
    fn reveal(&mut self, node: &str, by: &[String]) {
        if let Some(hidden) = self.hidden.get_mut(node) {
            hidden.retain(|label| !by.contains(label));
            if hidden.is_empty() {
                self.hidden.remove(node);
            }
        }
    }

    /// A node's own, and those beside it of all its series.
    fn labels(&self, cluster: &str, node: &str) -> (String, Vec<String>) {
        let services =
            self.services.iter().filter(|(_, of)| *of == cluster).map(|(service, _)| label("service", service));
        (label("node", node), std::iter::once(label("cluster", cluster)).chain(services).collect())
    }
}

/// A label as a series shows it.
fn label(key: &str, value: &str) -> String {
    format!("{key}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// A series as it is shown, without its value.
fn series(metric: Metric, labels: &[(&'static str, &str)]) -> String {
    let labels: Vec<_> =
        labels.iter().map(|(key, value)| format!("{key}=\"{}\"", sanitize_label_value(value))).collect();
    format!("{}{{{}}}", metric.name, labels.join(","))
}

/// The label of a series that names a node, `node="…"`.
fn node_label(line: &str) -> Option<&str> {
    const KEY: &str = "node=\"";
    let start = line.find(KEY)?;
    let value = line.get(start + KEY.len()..)?;
    let mut escaped = false;
    let end = value.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    line.get(start..=start + KEY.len() + end)
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
    fn series_of_what_is_gone_vanish_and_come_back_with_it() {
        let registry = Registry::new();
        registry.serves("s", "c");
        registry.serves("other", "another");
        for node in ["db1", "db11", "a\"b"] {
            registry.gauge(names::NODE_ELIGIBLE, &[("cluster", "c"), ("node", node)]).set(1.0);
            for service in ["s", "other"] {
                registry.gauge(names::ACTIVE, &[("service", service), ("node", node)]).set(1.0);
            }
        }
        let shown = |of: &str, node: &str| registry.render().contains(&format!("{of},node=\"{node}\"}} 1"));
        let (cluster, service, other) = ("cluster=\"c\"", "service=\"s\"", "service=\"other\"");
        assert!(shown(cluster, "a\\\"b"));
        registry.forget("c", "db1");
        registry.forget("c", "a\"b");
        assert!(!shown(cluster, "db1") && shown(cluster, "db11") && !shown(cluster, "a\\\"b"));
        assert!(!shown(service, "db1") && shown(service, "db11") && shown(other, "db1"), "{}", registry.render());
        registry.remember("c", "db1");
        assert!(shown(cluster, "db1") && shown(service, "db1"));
    }

    #[test]
    fn two_registries_share_nothing() {
        let (a, b) = (Registry::new(), Registry::new());
        a.counter(names::ACCEPTED, &[("service", "x")]).increment(7);
        assert!(a.render().contains(&format!("{}{{service=\"x\"}} 7", names::ACCEPTED.name)));
        assert!(!b.render().contains("service=\"x\""));
    }
}
