//! What a stunnel.conf says and TOML cannot.

use std::sync::Arc;

use super::super::super::model::{ClientAuth, Config, Listen, LogTo, Target, TlsAccept};
use super::super::{Buffers, Launch, LogId, ServiceExtras};

/// What is left out.
#[derive(Debug, Default)]
pub(super) struct Wanting {
    /// It makes a difference to clients.
    pub(super) missing: Vec<String>,
    /// It makes a difference to whoever runs or watches it, or hardly any.
    pub(super) notes: Vec<String>,
}

pub(super) fn wanting(launch: &Launch, config: &Config) -> Wanting {
    let mut wanting = Wanting::default();
    for (name, extras) in &launch.services {
        of_service(name, extras, launch.level, &mut wanting);
    }
    for service in &launch.virtual_services {
        wanting.missing.push(format!(
            "section [{}] (`sni`): TOML has no services behind the address of another. Give it an address of its own, or run \
             `galeway stunnel` with the old file.",
            service.name
        ));
    }
    for service in &config.services {
        if matches!(&service.target, Target::Fixed(targets) if targets.is_empty()) {
            wanting.missing.push(format!(
                "section [{}] (`exec`): it serves none but those that `redirect` or `sni` send elsewhere. Run `galeway stunnel` \
                 with the old file.",
                service.name
            ));
            continue;
        }
        let asked = |tls: &Arc<TlsAccept>| tls.client_auth != ClientAuth::Off && tls.resumption;
        if service.tls.as_ref().is_some_and(asked) {
            wanting.notes.push(format!(
                "[{}] asks for certificates: its clients resume no sessions, and make a full handshake each time.",
                service.name
            ));
        }
        let (v4, v6) = (any(&service.accept, true), any(&service.accept, false));
        if v4 && v6 {
            wanting.notes.push(format!(
                "[{}] listens on IPv4 and on IPv6, and both have to be there. On a host without IPv6 take \"[::]\" out.",
                service.name
            ));
        }
    }
    if !launch.foreground {
        wanting
            .notes
            .push("TOML has no daemon: `galeway run` stays in the foreground, as systemd wants it.".to_owned());
    }
    logs(launch, config, &mut wanting);
    wanting.notes.push(
        "where no target can be had, clients wait for `queue_timeout` before they are turned away; under `galeway stunnel` \
         they are after one round."
            .to_owned(),
    );
    wanting
}

fn any(accept: &[Listen], v4: bool) -> bool {
    accept.iter().any(
        |listen| matches!(listen, Listen::Tcp(address) if address.is_ipv4() == v4 && address.ip().is_unspecified()),
    )
}

fn of_service(name: &str, extras: &ServiceExtras, level: u8, wanting: &mut Wanting) {
    let missing = &mut wanting.missing;
    if !extras.redirect.is_empty() {
        missing.push(format!(
            "`redirect` of [{name}]: clients whose certificate is refused are turned away instead of being sent elsewhere. Run \
             `galeway stunnel` with the old file if they have to be."
        ));
    }
    if extras.transparent {
        missing.push(format!(
            "`transparent` of [{name}]: targets see Galeway's address. Write send_proxy_protocol = \"v1\" where they \
             understand it."
        ));
    }
    if !extras.reset {
        missing.push(format!("`reset = no` of [{name}]: connections that fail end with a TCP reset."));
    }
    if [extras.accepted, extras.connected] != [Buffers::default(); 2] {
        missing.push(format!("`socket` buffers of [{name}]: the system tunes them."));
    }
    if extras.level != level {
        wanting.notes.push(format!("`debug` of [{name}] is left out: one log_level is for all services."));
    }
    if extras.log_id != LogId::Sequential {
        wanting.notes.push(format!("`logId` of [{name}] is left out: log lines are another's than stunnel's."));
    }
}

fn logs(launch: &Launch, config: &Config, wanting: &mut Wanting) {
    let to_file = matches!(config.process.log, LogTo::File(_));
    let mut left_out = Vec::new();
    if launch.syslog.is_some() && config.process.log != LogTo::Syslog {
        left_out.push("to the system's log (`syslog`)");
    }
    if launch.stderr && to_file {
        left_out.push("to standard error (`foreground = yes`)");
    }
    if !left_out.is_empty() {
        wanting.notes.push(format!("log lines go to one place; left out: {}.", left_out.join(", ")));
    }
    if launch.output.as_ref().is_some_and(|output| !output.append) {
        wanting.notes.push("`log = overwrite` is left out: the file is appended to.".to_owned());
    }
    if let Some(syslog) =
        launch.syslog.as_ref().filter(|syslog| syslog.facility != 3 && config.process.log == LogTo::Syslog)
    {
        wanting.notes.push(format!("the system's log has it under facility `daemon`, not number {}.", syslog.facility));
    }
}
