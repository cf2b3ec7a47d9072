//! Advice for people and for programs.

use serde_json::json;

use crate::galera::advice::{Advice, NodeReport, Step, Verdict};

/// For people.
pub(super) fn text(advice: &Advice) -> String {
    let mut out = format!("{}\n", advice.headline);
    list(&mut out, "Why", &advice.why);
    out += "\nNodes:\n";
    let rows: Vec<[String; 3]> = advice.nodes.iter().map(|n| [n.name.clone(), n.state.clone(), position(n)]).collect();
    let width = |column: usize| rows.iter().filter_map(|r| Some(r.get(column)?.chars().count())).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for ([name, state, at], node) in rows.iter().zip(&advice.nodes) {
        let [n, s, a] = widths;
        out += &format!("  {}\n", format!("{name:n$}  {state:s$}  {at:a$}  {}", meaning(node)).trim_end());
    }
    list(&mut out, "Mind", &advice.warnings);
    list(&mut out, "Make sure of this first", &advice.before);
    if !advice.steps.is_empty() {
        out += "\nThen:\n";
    }
    for (number, step) in (1..).zip(&advice.steps) {
        steps(&mut out, number, step);
    }
    out
}

fn list(out: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        *out += &format!("\n{title}:\n");
    }
    for line in lines {
        *out += &format!("  - {line}\n");
    }
}

fn steps(out: &mut String, number: u32, step: &Step) {
    *out += &format!("  {number}. {}\n", step.title);
    for command in &step.commands {
        if !command.label.is_empty() {
            *out += &format!("       # {}\n", command.label);
        }
        *out += &format!("       {}\n", command.line);
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

/// For programs: one line.
pub(super) fn json(advice: &Advice) -> String {
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
    let answer = json!({
        "verdict": advice.verdict.word(),
        "candidate": candidate,
        "headline": advice.headline,
        "why": advice.why,
        "nodes": nodes,
        "warnings": advice.warnings,
        "before": advice.before,
        "steps": steps,
    });
    format!("{answer}\n")
}
