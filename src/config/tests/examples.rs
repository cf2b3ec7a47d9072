//! The files in `config/`.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::keys::{SECTIONS, Section};
use crate::config::load;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// An example beside the password file that it names.
fn load_copy(name: &str) -> Config {
    let scratch = Scratch::new();
    scratch.write("monitor.password", "s3cret\n");
    let copy = scratch.write(name, std::fs::read(directory().join(name)).unwrap());
    let loaded = load(&copy).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.config
}

#[test]
fn every_example_loads_without_a_warning_and_none_is_forgotten() {
    let mut names: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // What is for other programs is given to them by the tests of what it is for.
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    let counted: Vec<(String, usize, usize, usize)> = names
        .into_iter()
        .map(|name| {
            let config = load_copy(&name);
            let nodes = config.clusters.iter().map(|cluster| cluster.nodes.len()).sum();
            (name, config.clusters.len(), nodes, config.services.len())
        })
        .collect();
    assert_eq!(counted, [("full.toml".to_owned(), 1, 3, 1), ("galeway.toml".to_owned(), 1, 3, 1)]);
}

#[test]
fn the_start_for_production_reads_its_password_from_the_file_beside_it() {
    assert_eq!(load_copy("galeway.toml").clusters[0].monitor.password.expose(), "s3cret");
}

#[test]
fn the_full_example_writes_out_nothing_but_defaults() {
    let least = good(
        "[cluster.main]\nnodes = ['10.0.0.11', '10.0.0.12', '10.0.0.13']\nmonitor.user = 'galeway'\n\
         [service.mysql]\naccept = '0.0.0.0:3306'\ncluster = 'main'\n",
    );
    assert_eq!(load_copy("full.toml"), least);
}

#[test]
fn the_full_example_names_every_key_and_no_key_that_does_not_work() {
    let text = std::fs::read_to_string(directory().join("full.toml")).unwrap();
    // `key = value` at the start of a line, commented out or not, and the keys of a node's table.
    let mut named: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| key.chars().all(|char| char.is_ascii_lowercase() || char == '_'))
        .collect();
    named.extend(["address", "name", "weight", "priority", "zone", "backup"]);
    let sections =
        ["cluster", "service", "admin", "process", "monitor", "eligibility", "writer", "sessions", "connect_tls"];
    let keys = |list: fn(&'static Section) -> &'static [&'static str]| SECTIONS.iter().copied().flat_map(list);
    for key in keys(|section| section.now) {
        assert!(named.contains(key) || sections.contains(key), "{key} is not in full.toml");
    }
    let now: Vec<&str> = keys(|section| section.now).copied().collect();
    assert_eq!(named.iter().filter(|key| !now.contains(key)).collect::<Vec<_>>(), Vec::<&&str>::new());
}
