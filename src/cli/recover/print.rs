//! Advice for people and for programs.

use serde_json::json;

use crate::galera::advice::{Advice, NodeReport, Step, Verdict};

pub(super) fn text(advice: &Advice) {
    println!("{}", advice.headline);
    list("Why", &advice.why);
    println!("\nNodes:");
    let rows: Vec<[String; 3]> = advice.nodes.iter().map(|n| [n.name.clone(), n.state.clone(), position(n)]).collect();
    let width = |column: usize| rows.iter().filter_map(|r| Some(r.get(column)?.chars().count())).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for ([name, state, at], node) in rows.iter().zip(&advice.nodes) {
        let [n, s, a] = widths;
        println!("  {}", format!("{name:n$}  {state:s$}  {at:a$}  {}", meaning(node)).trim_end());
    }
    list("Mind", &advice.warnings);
    list("Make sure of this first", &advice.before);
    if !advice.steps.is_empty() {
        println!("\nThen:");
    }
    for (number, step) in (1..).zip(&advice.steps) {
        steps(number, step);
    }
}

fn list(title: &str, lines: &[String]) {
    if !lines.is_empty() {
        println!("\n{title}:");
    }
    for line in lines {
        println!("  - {line}");
    }
}

fn steps(number: u32, step: &Step) {
    println!("  {number}. {}", step.title);
    for command in &step.commands {
        if !command.label.is_empty() {
            println!("       # {}", command.label);
        }
        println!("       {}", command.line);
    }
}

fn position(node: &NodeReport) -> String {
    match (node.seqno, node.uuid.as_str()) {
        (Some(seqno), uuid) => format!("{uuid}:{seqno}"),
        (None, "") => "-".to_owned(),
        (None, uuid) => format!("{uuid}:?"),
    }
}

fn meaning(node: &NodeReport) -> String {
    let mut beside = Vec::new();
    if !node.source.is_empty() {
        beside.push(format!("by {}", node.source));
    }
    if let Some(safe) = node.safe_to_bootstrap {
        beside.push(format!("safe_to_bootstrap: {}", u8::from(safe)));
    }
    let beside = if beside.is_empty() { String::new() } else { format!(" ({})", beside.join("; ")) };
    format!("{}{beside}", node.meaning)
}

pub(super) fn json(advice: &Advice) {
    let nodes: Vec<_> = advice
        .nodes
        .iter()
        .map(|n| {
            json!({
                "name": n.name,
                "state": n.state,
                "uuid": (!n.uuid.is_empty()).then_some(&n.uuid),
                "seqno": n.seqno,
                "behind": n.behind,
                "safe_to_bootstrap": n.safe_to_bootstrap,
                "meaning": n.meaning,
                "source": (!n.source.is_empty()).then_some(&n.source),
            })
        })
        .collect();
    let steps: Vec<_> = advice
        .steps
        .iter()
        .map(|s| {
            let command = |c: &crate::galera::advice::Command| {
                json!({ "label": (!c.label.is_empty()).then_some(c.label), "line": c.line })
            };
            json!({ "title": s.title, "commands": s.commands.iter().map(command).collect::<Vec<_>>() })
        })
        .collect();
    let candidate = match &advice.verdict {
        Verdict::Bootstrap(name) => Some(name),
        _ => None,
    };
    println!(
        "{}",
        json!({
            "verdict": advice.verdict.word(),
            "candidate": candidate,
            "headline": advice.headline,
            "why": advice.why,
            "nodes": nodes,
            "warnings": advice.warnings,
            "before": advice.before,
            "steps": steps,
        })
    );
}
