//! `galeway check`: what is wrong with a file, and what it lets in.

mod facts;
mod format;
mod policy;
mod resolve;
#[cfg(test)]
mod tests;
mod warnings;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use self::facts::Facts;
use self::format::Checked;
use self::warnings::Remark;
use super::{FileArg, WRONG, say};
use crate::config::{self, Config, Dialect, Service};
use crate::health::probe::Prober;
use crate::net::tls::Policy;

const AFTER_HELP: &str = "\
A stunnel.conf is taken as well. Keys and certificates are read, no address is bound, and no node
is asked. Warnings are not errors.

Examples:
  galeway check -c galeway.toml --print    what holds, every default included
  galeway check -c stunnel.conf            what it lets in

Exit codes: 0 it can be run; 2 it cannot, or usage.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    file: FileArg,
    /// Print the resolved configuration with every default; secrets as ***
    #[arg(long)]
    print: bool,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let path = &args.file.file;
    let checked = match format::load(path) {
        Ok(checked) => checked,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(WRONG);
        }
    };
    if !checked.warnings.is_empty() {
        eprintln!("{}", checked.warnings);
    }
    let config = &checked.config;
    let audit = match Audit::of(&checked) {
        Ok(audit) => audit,
        Err(wrong) => {
            for why in wrong {
                eprintln!("{}: error: {why}", path.display());
            }
            return ExitCode::from(WRONG);
        }
    };
    for (name, why) in resolve::unresolved(config) {
        eprintln!(
            "{}: warning: {name} does not resolve now ({why}); its node will be unreachable, and retried, until it does",
            path.display()
        );
    }
    for remark in audit.remarks(&checked, now()) {
        eprintln!("{}: {remark}", path.display());
    }
    if args.print {
        say(&config::print(config));
        return ExitCode::SUCCESS;
    }
    for (service, facts) in checked.services().zip(&audit.services) {
        let sentence = policy::sentence(service, facts, checked.redirect(service));
        say(&format!("{}: {sentence}.\n", title(service, &checked)));
    }
    say(&format!("{}: right ({})\n", path.display(), summary(&checked)));
    ExitCode::SUCCESS
}

/// The content of the files that a configuration names, as it would be used.
struct Audit {
    /// In the order of [`Checked::services`].
    services: Vec<Facts>,
    admin: Option<Policy>,
}

impl Audit {
    /// Reads them.
    ///
    /// # Errors
    /// Everything for which Galeway would not start. The files are there; whether they hold what they should shows only when
    /// they are read.
    fn of(checked: &Checked) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        for cluster in &checked.config.clusters {
            if let Err(e) = Prober::tls(&cluster.monitor) {
                wrong.push(format!("cluster {:?}: monitor TLS: {e}", &*cluster.name));
            }
        }
        let mut services = Vec::new();
        for service in checked.services() {
            match Facts::of(service) {
                Ok(facts) => services.push(facts),
                Err(all) => wrong.extend(all.into_iter().map(|why| format!("service {}: {why}", service.name))),
            }
        }
        let admin = checked.config.admin.tls.as_deref().map(facts::of_accept).transpose();
        match admin {
            Ok(admin) if wrong.is_empty() => Ok(Self { services, admin }),
            admin => {
                wrong.extend(admin.err().map(|why| format!("admin: {why}")));
                Err(wrong)
            }
        }
    }

    /// What is to be said besides, each once: services may share their files.
    fn remarks(&self, checked: &Checked, now: i64) -> Vec<Remark> {
        let config = &checked.config;
        let mut all: Vec<Remark> = Vec::new();
        let of_services = checked.services().zip(&self.services);
        let found = of_services
            .flat_map(|(service, facts)| warnings::of_service(config, service, facts, checked.dialect, now))
            .chain(warnings::of_others(config, self.admin.as_ref(), now));
        for remark in found {
            if !all.contains(&remark) {
                all.push(remark);
            }
        }
        all
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn title(service: &Service, checked: &Checked) -> String {
    let name = &service.name;
    match policy::addresses(&service.accept).as_str() {
        "" => {
            let names = checked.names(service);
            let asked = policy::list(names.iter().map(|(pattern, _)| (*pattern).to_owned()), "or");
            let master = names.first().map(|(_, master)| *master).unwrap_or_default();
            format!("service {name}, for clients of {master} that ask for {asked}")
        }
        addresses => format!("service {name} on {addresses}"),
    }
}

fn summary(checked: &Checked) -> String {
    let config = &checked.config;
    if checked.dialect == Dialect::Stunnel {
        return format!("stunnel.conf, {}", count(checked.services().count(), "service"));
    }
    let nodes: usize = config.clusters.iter().map(|c| c.nodes.len()).sum();
    format!(
        "{} in {}, {}, {}",
        count(nodes, "node"),
        count(config.clusters.len(), "cluster"),
        count(config.services.len(), "service"),
        admin(config),
    )
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn admin(config: &Config) -> String {
    let tls = if config.admin.tls.is_some() { " by TLS" } else { "" };
    config.admin.listen.map_or_else(|| "admin off".to_owned(), |a| format!("admin on {a}{tls}"))
}
