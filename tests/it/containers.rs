//! What runs Galeway in containers: the manifests, the compose file, the Dockerfile. None of them is run by an engine here;
//! `scripts/image-test` builds the image and runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use galeway::config::{self, Config, Flags, Key};
use serde_json::Value;

use crate::harness::cli::{self, Output};
use crate::harness::{server, watchdog};

/// From the first one with native sidecars to the newest one that is known here.
const KUBERNETES: [&str; 2] = ["1.29", "1.37"];

/// Reads the YAML files it is given and prints a list of all documents, after each was held against the schema of one
/// version of Kubernetes, where an unknown field is an error.
const MANIFESTS: &str = "
import json, sys, yaml, kubernetes_validate
all = [d for f in sys.argv[2:] for d in yaml.safe_load_all(open(f))]
for d in all:
    kubernetes_validate.validate(d, sys.argv[1], strict=True)
print(json.dumps(all))
";

/// The same of a Compose file: read as Compose's specification has it, and printed with its defaults filled in for
/// `${NAME:-DEFAULT}` and `$$`.
const COMPOSE: &str = r#"
import json, re, sys, yaml, compose_spec
text = re.sub(r'\$\{\w+:-([^}]*)\}', r'\1', open(sys.argv[1]).read())
whole = json.dumps(yaml.safe_load(text))
compose_spec.PyCompose.from_json(whole).validate()
print(whole.replace('$$', '$'))
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// With the packages that `scripts/install-packages test` brings.
fn python(program: &str, arguments: &[&str]) -> Output {
    let python = root().join("target/tools/python/bin/python");
    assert!(python.exists(), "no {}: please run scripts/install-packages test", python.display());
    cli::run(Command::new(python).arg("-c").arg(program).args(arguments))
}

#[track_caller]
fn json(seen: &Output) -> Value {
    assert_eq!(seen.code, Some(0), "{}", seen.stderr);
    serde_json::from_str(&seen.stdout).unwrap()
}

fn manifest_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("config/kubernetes")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Every document of every file.
fn manifests() -> Vec<Value> {
    let files = manifest_files();
    let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let mut all = Vec::new();
    for version in KUBERNETES {
        let arguments: Vec<_> = [version].iter().chain(&files).copied().collect();
        all = json(&python(MANIFESTS, &arguments)).as_array().unwrap().clone();
    }
    all
}

fn compose() -> Value {
    json(&python(COMPOSE, &[root().join("config/compose.yaml").to_str().unwrap()]))
}

fn fresh_dir(name: &str) -> PathBuf {
    let dir = watchdog::fresh_path(name);
    std::fs::create_dir(&dir).unwrap();
    dir
}

/// Each Deployment's pod, and Galeway's container in it.
fn pods(all: &[Value]) -> Vec<(&Value, &Value)> {
    let deployments = all.iter().filter(|d| d["kind"] == "Deployment");
    let found = deployments.map(|deployment| {
        let pod = &deployment["spec"]["template"]["spec"];
        let containers = ["initContainers", "containers"].into_iter().filter_map(|key| pod[key].as_array()).flatten();
        let ours: Vec<_> = containers.filter(|container| container["name"] == "galeway").collect();
        assert_eq!(ours.len(), 1, "{deployment}");
        (pod, ours[0])
    });
    found.collect()
}

/// Loads what these variables say, and wants no warning but that of a writer that one balancer chooses alone.
#[track_caller]
fn load_variables(variables: &BTreeMap<String, String>) -> Config {
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    // The password is read from the process's environment, which tests share: it is not what is looked at.
    let mut without: config::Environment = environment;
    without.remove(std::ffi::OsStr::new(Key::MonitorPassword.variable()));
    let flags = Flags::of(&BTreeMap::new(), &without).unwrap_or_else(|e| panic!("{e}")).expect("no GALEWAY_LISTEN");
    let loaded = flags.load().unwrap_or_else(|e| panic!("{e}"));
    let said: Vec<_> = loaded.warnings.iter().filter(|w| !w.message().contains("agreement = \"local\"")).collect();
    assert!(said.is_empty(), "{said:?}");
    loaded.config
}

#[test]
fn every_manifest_fits_the_schemas_of_kubernetes() {
    let all = manifests();
    let kinds: Vec<_> = all.iter().map(|d| d["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["Secret", "ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "Secret", "Deployment"],
        "files: {:?}",
        manifest_files()
    );
    // A check that lets everything pass would be none.
    let dir = fresh_dir("manifests");
    let text = read("config/kubernetes/galeway.yaml").replace("readOnlyRootFilesystem", "readOnlyRootFileSystem");
    std::fs::write(dir.join("wrong.yaml"), text).unwrap();
    let seen = python(MANIFESTS, &[KUBERNETES[0], dir.join("wrong.yaml").to_str().unwrap()]);
    assert!(seen.code == Some(1) && seen.stderr.contains("readOnlyRootFileSystem"), "{seen:?}");
}

#[test]
fn a_container_may_no_more_than_it_needs_and_is_asked_the_right_questions() {
    let all = manifests();
    let pods = pods(&all);
    assert_eq!(pods.len(), 2);
    for (pod, ours) in pods {
        let security = &ours["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(ours[probe]["httpGet"]["path"], path, "{probe}");
            assert_eq!(ours[probe]["httpGet"]["port"], "admin", "{probe}");
        }
        let ports = ours["ports"].as_array().unwrap();
        assert!(ports.iter().any(|p| p["name"] == "admin" && p["containerPort"] == 9306), "{ports:?}");
        for of in ["requests", "limits"] {
            assert!(ours["resources"][of]["memory"].is_string(), "{of}");
        }
        // Each mount is a volume of the pod.
        for mount in ours["volumeMounts"].as_array().unwrap() {
            assert!(pod["volumes"].as_array().unwrap().iter().any(|v| v["name"] == mount["name"]), "{mount}");
        }
    }
}

#[test]
fn the_time_to_end_is_longer_than_what_ends_in_it() {
    let all = manifests();
    let configs = config_maps(&all);
    for (pod, ours) in pods(&all) {
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        let wait = ours["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
        let config = if ours["args"].is_array() { configs[0].clone() } else { load_variables(&variables(ours)) };
        let drain = config.process.shutdown_timeout.as_secs();
        assert!(wait + drain < grace, "{wait} s and {drain} s in {grace} s");
    }
    let galeway = &compose()["services"]["galeway"];
    assert_eq!(galeway["stop_grace_period"], "40s");
    assert_eq!(load_variables(&text_map(&galeway["environment"])).process.shutdown_timeout.as_secs(), 30);
}

/// Every configuration of a ConfigMap, loaded. The secrets that it names are files of the Secret beside it.
#[track_caller]
fn config_maps(all: &[Value]) -> Vec<Config> {
    let dir = fresh_dir("config-maps");
    for secret in all.iter().filter(|d| d["kind"] == "Secret") {
        for (name, content) in secret["stringData"].as_object().unwrap() {
            std::fs::write(dir.join(name), content.as_str().unwrap()).unwrap();
        }
    }
    let maps = all.iter().filter(|d| d["kind"] == "ConfigMap").flat_map(|map| map["data"].as_object().unwrap());
    maps.map(|(name, text)| {
        let file = dir.join(name);
        let text = text.as_str().unwrap().replace("/etc/galeway-secrets", dir.to_str().unwrap());
        std::fs::write(&file, text).unwrap();
        let loaded = config::load(&file).unwrap_or_else(|e| panic!("{e}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        loaded.config
    })
    .collect()
}

#[test]
fn the_configuration_in_a_config_map_is_right_and_its_services_are_the_services() {
    let all = manifests();
    let configs = config_maps(&all);
    assert_eq!(configs.len(), 1);
    let service = all.iter().find(|d| d["kind"] == "Service").unwrap();
    let offered: Vec<_> = service["spec"]["ports"].as_array().unwrap().iter().collect();
    assert_eq!(offered.len(), configs[0].services.len());
    let (_, ours) = pods(&all)[0];
    for (port, service) in offered.iter().zip(&configs[0].services) {
        let held = ours["ports"].as_array().unwrap().iter().find(|p| p["name"] == port["targetPort"]).unwrap();
        assert_eq!(port["name"], *service.name);
        assert_eq!(service.accept[0].to_string(), format!("0.0.0.0:{}", held["containerPort"]));
    }
}

fn text_map(value: &Value) -> BTreeMap<String, String> {
    let pair = |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap().to_owned());
    value.as_object().unwrap().iter().map(pair).collect()
}

/// A container's environment; what comes from a Secret is `x`.
fn variables(container: &Value) -> BTreeMap<String, String> {
    let all = container["env"].as_array().unwrap().iter();
    all.map(|v| (v["name"].as_str().unwrap().to_owned(), v["value"].as_str().unwrap_or("x").to_owned())).collect()
}

#[test]
fn a_sidecar_is_configured_by_its_environment_alone() {
    let all = manifests();
    let (pod, ours) = pods(&all)[1];
    assert!(ours["args"].is_null() && ours["command"].is_null());
    assert_eq!(ours["restartPolicy"], "Always", "a native sidecar");
    assert_eq!(pod["initContainers"][0]["name"], "galeway");
    let config = load_variables(&variables(ours));
    assert_eq!(config.services[0].accept[0].to_string(), "127.0.0.1:3306");
    assert_eq!(config.clusters[0].discovery.by, config::Discover::Dns);
}

#[test]
fn every_variable_that_is_named_anywhere_exists_and_every_one_is_explained() {
    let ours: BTreeSet<_> = Key::ALL.iter().map(|key| key.variable()).collect();
    let mut seen = 0;
    let mut files: Vec<_> = manifest_files().iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
    files.extend(["config/compose.yaml", "Dockerfile", "docs/containers.md", "README.md"].map(read));
    for text in &files {
        for rest in text.split("GALEWAY_").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let name = format!("GALEWAY_{name}");
            // `GALEWAY_*` speaks of all of them, and scripts have their own.
            if name == "GALEWAY_" || name.starts_with("GALEWAY_TEST") {
                continue;
            }
            assert!(ours.contains(&*name), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 25, "only {seen} found");
    let page = read("docs/containers.md");
    for name in ours {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/containers.md");
    }
}

#[test]
fn the_compose_file_is_one_and_its_galeway_starts() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["db1", "db2", "db3", "galeway"]);
    let galeway = &services["galeway"];
    let config = load_variables(&text_map(&galeway["environment"]));
    let nodes: Vec<_> = config.clusters[0].nodes.iter().map(|n| n.name.to_string()).collect();
    assert_eq!(nodes, ["db1", "db2", "db3"]);
    assert_eq!(galeway["read_only"], true);
    // Of itself it is refused where it is wrong.
    let dir = fresh_dir("compose");
    for wrong in ["cap_drop: ALL", "cap_drops: [ALL]"] {
        std::fs::write(dir.join("wrong.yaml"), read("config/compose.yaml").replace("cap_drop: [ALL]", wrong)).unwrap();
        let seen = python(COMPOSE, &[dir.join("wrong.yaml").to_str().unwrap()]);
        assert!(seen.code == Some(1) && seen.stderr.contains("ValueError"), "{seen:?}");
    }
}

/// The start of the compose file's nodes as `node`, with `nodes`' directories in the place of the container's own: what it ran.
fn start(dir: &Path, node: &str) -> Output {
    let compose = compose();
    let script = compose["services"][node]["command"][0].as_str().unwrap();
    let data = dir.join(node);
    std::fs::create_dir_all(&data).unwrap();
    let script = script
        .replace("/var/lib/mysql", data.to_str().unwrap())
        .replace("/var/lib/galera-founded", dir.to_str().unwrap())
        .replace("exec docker-entrypoint.sh", "exec echo");
    cli::run(Command::new("bash").arg("-c").arg(script).env("HOSTNAME", node))
}

#[test]
fn the_composed_cluster_is_founded_once_and_goes_on_by_who_ended_last() {
    let dir = fresh_dir("nodes");
    let founds = |seen: &Output| {
        assert_eq!(seen.code, Some(0), "{seen:?}");
        seen.stdout.lines().last().unwrap().contains("--wsrep-new-cluster")
    };
    let state = |node: &str, safe: u8| {
        std::fs::write(dir.join(node).join("grastate.dat"), format!("version: 2.1\nsafe_to_bootstrap: {safe}\n"))
            .unwrap();
    };
    let first = start(&dir, "db1");
    assert!(founds(&first) && first.stdout.contains("--wsrep-node-name=db1"), "{first:?}");
    assert!(!founds(&start(&dir, "db2")), "one founds it");
    state("db1", 1);
    assert!(founds(&start(&dir, "db1")), "it ended last");
    state("db1", 0);
    assert!(!founds(&start(&dir, "db1")), "all were killed: the last view comes back");
    state("db2", 1);
    assert!(!founds(&start(&dir, "db2")), "that is for a person to decide");
    std::fs::remove_file(dir.join("db1/grastate.dat")).unwrap();
    let gone = start(&dir, "db1");
    assert_eq!(gone.code, Some(1), "its data are gone: {gone:?}");
    assert!(gone.stderr.contains("galeway recover"), "{gone:?}");
}

#[test]
fn the_composed_monitors_account_can_be_made_before_galera_was_ever_started() {
    let compose = compose();
    let sql = compose["configs"]["monitor"]["content"].as_str().unwrap();
    let node = server("plain", &[]);
    // The data of the tests' servers have seen Galera, and have the account.
    node.sql("DROP USER monitor@'%'");
    node.sql("DROP TABLE mysql.wsrep_cluster_members");
    for statement in sql.split(';').filter(|s| !s.trim().is_empty()) {
        node.sql(statement);
    }
    let grants = format!("{:?}", node.sql("SHOW GRANTS FOR monitor@'%'"));
    assert!(
        grants.contains("GRANT SELECT ON `mysql`.`wsrep_cluster_members`") && !grants.contains("CREATE"),
        "{grants}"
    );
}

/// What the Dockerfile copies out of the repository.
fn copied(dockerfile: &str) -> BTreeSet<&str> {
    dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.split(' ').rev().skip(1).collect::<Vec<_>>())
        .collect()
}

/// The files that are built into the program, by their paths in the repository.
fn embedded() -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            // Tests are not built there.
            if path.file_stem().is_some_and(|name| name == "tests") {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let parts = text.split("include_str!(\"").skip(1).chain(text.split("include_bytes!(\"").skip(1));
            for name in parts.filter_map(|rest| rest.split_once('"')).map(|(name, _)| name) {
                let file = std::fs::canonicalize(dir.join(name)).unwrap();
                found.push((
                    path.clone(),
                    file.strip_prefix(std::fs::canonicalize(root()).unwrap()).unwrap().to_owned(),
                ));
            }
        }
    }
    found
}

#[test]
fn the_image_is_built_of_every_file_that_the_program_embeds() {
    let file = read("Dockerfile");
    let embedded = embedded();
    assert!(!embedded.is_empty(), "there is none left: so goes this test");
    for (by, path) in embedded {
        assert!(copied(&file).iter().any(|copied| path.starts_with(copied)), "{path:?}, which {by:?} embeds");
    }
}

#[test]
fn the_dockerfile_copies_what_is_there_and_what_is_not_ignored() {
    let (file, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let kept: BTreeSet<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"));
    assert_eq!(copied(&file), kept);
    for path in copied(&file) {
        assert!(root().join(path).exists(), "{path}");
    }
    for line in ["USER 65532:65532", "STOPSIGNAL SIGTERM"] {
        assert!(file.lines().any(|l| l == line), "{line}");
    }
}
