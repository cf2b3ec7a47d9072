//! From the settings of all sections to the model.

mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::duration::LONGEST;
use super::super::model::{
    Admin, Balance, Config, Listen, LogFormat, LogLevel, LogTo, Place, Process, ProxyVersion, Service, SocketAccess,
    Target,
};
use super::super::nearest::nearest;
use super::super::source::quote;
use super::load::{Sections, World};
use super::notes::{At, Notes};
use super::settings::{Settings, Written};
use super::{Launch, ServiceExtras, Syslog, VirtualHost, refused};

/// What the whole file is read against.
struct Whole<'a> {
    sections: &'a Sections,
    world: &'a World<'a>,
}

impl Whole<'_> {
    /// A path that is looked at inside the new root where there is one.
    fn inside(&self, path: &Path) -> PathBuf {
        match &self.sections.global.chroot {
            Some(_) if self.world.inside => self.within(path),
            Some(root) => root.value.join(path.strip_prefix("/").unwrap_or(path)),
            None => self.world.directory.join(path),
        }
    }

    /// The same as it is called once the root has changed.
    fn within(&self, path: &Path) -> PathBuf {
        if self.sections.global.chroot.is_some() { Path::new("/").join(path) } else { self.inside(path) }
    }
}

/// The configuration that the sections come to, and how its process starts. What is wrong is noted; then what is
/// returned is of no use.
pub(super) fn resolve(sections: &Sections, world: &World<'_>, notes: &mut Notes) -> (Config, Launch) {
    let whole = Whole { sections, world };
    if sections.sections.is_empty() && !sections.incomplete {
        let help =
            "write [NAME] before the options of the service, with accept = [HOST:]PORT and connect = [HOST:]PORT";
        let start = At { file: 0, span: (0..0).into() };
        notes.error(start, "there is no [section]: galeway does not run under inetd", help);
    }
    let names = unique_names(&sections.sections, notes);
    let mut services = Vec::new();
    let mut hidden = Vec::new();
    let mut extras: BTreeMap<Arc<str>, ServiceExtras> = BTreeMap::new();
    for (settings, name) in sections.sections.iter().zip(&names) {
        let Some((service, extra)) = section(&whole, settings, name, notes) else { continue };
        let list = if service.accept.is_empty() { &mut hidden } else { &mut services };
        list.push(Arc::new(service));
        extras.insert(Arc::clone(name), extra);
    }
    virtual_hosts(sections, &names, &mut extras, notes);
    let process = process(&whole);
    let launch = launch(&whole, hidden, extras);
    let admin = Admin { listen: None, socket: None, ..Admin::default() };
    (Config { clusters: Vec::new(), services, admin, process }, launch)
}

/// Names are labels: of two sections of one name the second gets a number.
fn unique_names(sections: &[Settings], notes: &mut Notes) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for section in sections {
        let mut name = Arc::clone(&section.name);
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{}-{number}", section.name).into();
            number += 1;
        }
        if name != section.name {
            let message = format!(
                "there is a section {} already: this one is called {} here",
                quote(&section.name),
                quote(&name)
            );
            notes.warning(
                section.header,
                message,
                "give each section a name of its own; logs and metrics tell them apart by it",
            );
        }
        names.push(name);
    }
    names
}

fn section(
    whole: &Whole<'_>,
    settings: &Settings,
    name: &Arc<str>,
    notes: &mut Notes,
) -> Option<(Service, ServiceExtras)> {
    let header = settings.header;
    let wrong = |options: &[&str]| settings.is_wrong(options);
    let hidden = !settings.client && !settings.sni.is_empty();
    let [accepts, connects] = settings.ends;
    let runs_nothing = exec(whole, settings, hidden, notes);
    if !accepts && !hidden && !wrong(&["accept", "sni"]) {
        let help = "write accept = [HOST:]PORT; without a host every address of this one is listened on";
        notes.error(header, ends(name, "accept"), help);
    }
    if let Some(accept) = settings.accept.first().filter(|_| hidden && !wrong(&["client"])) {
        let help = "it is reached by the accept of the service that `sni` names; take one of the two out";
        notes.error(accept.at, format!("section {} has both `accept` and `sni`", quote(name)), help);
    }
    if !connects && !runs_nothing && !wrong(&["connect", "exec", "redirect"]) {
        let help = "write connect = [HOST:]PORT, once for each target";
        notes.error(header, ends(name, "connect"), help);
    }
    if let Some(at) = settings.proxy.filter(|_| settings.client) {
        let help = "stunnel does not send it to a TLS server either; take the line out of this section";
        notes.error(at, "`protocol = proxy` is for sections that accept TLS", help);
    }
    redirect(settings, notes);

    let targets = targets(settings, notes);
    let mut service = Service::new(Arc::clone(name), accept(settings), Target::Fixed(targets.clone()));
    // With `delay` stunnel takes the targets in their order.
    service.balance = if settings.round_robin && !settings.delay { Balance::RoundRobin } else { Balance::First };
    service.attempts = u32::try_from(targets.len()).unwrap_or(u32::MAX).clamp(1, 1000);
    service.connect_timeout = Duration::from_secs(settings.connecting);
    // Every target has its whole time; that of one round is what stunnel gives a client.
    let round = service.connect_timeout.saturating_mul(service.attempts);
    service.queue_timeout = round.saturating_add(Duration::from_secs(1)).min(LONGEST);
    if !settings.client {
        service.first_byte_timeout = Duration::from_secs(settings.busy);
    }
    service.idle_timeout = settings.idle.map(Duration::from_secs);
    // Zero waits for nobody; a timer is no finer than this.
    service.half_close_timeout = Duration::from_secs(settings.close).max(Duration::from_millis(1));
    service.source = settings.local.map(|local| local.value);
    service.freebind = settings.sockets.freebind;
    service.send_proxy_protocol = settings.proxy.map(|_| ProxyVersion::V1);
    keepalive(&mut service, settings);
    if service.accept.iter().any(|listen| matches!(listen, Listen::Unix(_))) {
        // The mode is left to the umask by stunnel: with the usual one only the owner may connect.
        service.socket = SocketAccess {
            user: settings.user.as_ref().map(|user| Arc::clone(&user.value)),
            group: settings.group.as_ref().map(|group| Arc::clone(&group.value)),
            ..SocketAccess::default()
        };
    }
    tls::of_section(whole, settings, &mut service, notes)?;

    let extras = ServiceExtras {
        log_id: settings.log_id,
        level: settings.level,
        reset: settings.reset,
        one_round: true,
        redirect: settings.redirect.iter().map(|place| place.value.clone()).collect(),
        hosts: Vec::new(),
        transparent: settings.transparent.is_some(),
        accepted: settings.sockets.accepted,
        connected: settings.sockets.connected,
    };
    Some((service, extras))
}

/// In stunnel's words first: its users and their tools know them.
fn ends(name: &str, missing: &str) -> String {
    format!("Service [{name}]: Each service must define two endpoints: section {} has no `{missing}`", quote(name))
}

/// Whether a program stands in place of `connect` where that is let be: no program is ever run here.
fn exec(whole: &Whole<'_>, settings: &Settings, hidden: bool, notes: &mut Notes) -> bool {
    let Some(at) = settings.exec else { return false };
    let mut names = whole.sections.sections.iter().filter(|other| !other.client).flat_map(|other| &other.sni);
    let leads_on = names.any(|sni| sni.value.split_once(':').is_some_and(|(service, _)| *service == *settings.name));
    if !settings.client && (hidden || leads_on || !settings.redirect.is_empty()) {
        let help = "those that `redirect` or `sni` send elsewhere are served; write connect for the others";
        notes.warning(at, "no program is started here: connections that are for `exec` are closed", help);
        return true;
    }
    if let Some(refusal) = refused::always("exec") {
        notes.error(at, format!("`exec` is refused: {}", refusal.why), refusal.instead);
    }
    // Said once is enough.
    true
}

/// The targets, each once.
fn targets(settings: &Settings, notes: &mut Notes) -> Vec<Place> {
    let mut targets: Vec<Place> = Vec::new();
    for connect in &settings.connect {
        if targets.iter().any(|known| known.is_same(&connect.value)) {
            let message = format!("{} is a target of this section already", quote(&connect.value.to_string()));
            notes.warning(connect.at, message, "it is tried once in each round; take the line out");
        } else {
            targets.push(connect.value.clone());
        }
    }
    targets
}

/// Where a section listens, each address once. `::` takes IPv4 in as well, as it does on Linux unless IPV6_V6ONLY is set.
fn accept(settings: &Settings) -> Vec<Listen> {
    let mut all: Vec<Listen> = Vec::new();
    for listen in settings.accept.iter().flat_map(|accept| &accept.value) {
        let picked_by_the_kernel = matches!(listen, Listen::Tcp(address) if address.port() == 0);
        if picked_by_the_kernel || !all.contains(listen) {
            all.push(listen.clone());
        }
    }
    if settings.sockets.v6_only {
        return all;
    }
    for at in 0..all.len() {
        let Some(Listen::Tcp(address)) = all.get(at) else { continue };
        let both = address.is_ipv6() && address.ip().is_unspecified() && address.port() != 0;
        let v4 = Listen::Tcp((std::net::Ipv4Addr::UNSPECIFIED, address.port()).into());
        if both && !all.contains(&v4) {
            all.push(v4);
        }
    }
    all
}

/// One time for both sides. A `no` for one side alone is not followed: it costs that side a few packets.
fn keepalive(service: &mut Service, settings: &Settings) {
    if let Some(seconds) = settings.sockets.keepidle {
        service.keepalive = Some(Duration::from_secs(seconds.into()));
    }
    if settings.sockets.keepalive == [Some(false), Some(false)] {
        service.keepalive = None;
    }
}

fn redirect(settings: &Settings, notes: &mut Notes) {
    let Some(first) = settings.redirect.first() else { return };
    if settings.client {
        let help = "take it out: on the connecting side there is no client whose certificate could be refused";
        notes.error(first.at, "`redirect` is for sections that accept TLS", help);
    } else if !settings.verify.looks() && !settings.is_verify_wrong() && !settings.is_wrong(&["client"]) {
        let help = "write verifyChain = yes or verifyPeer = yes with it";
        notes.error(first.at, "`redirect` is never used: no client's certificate is looked at", help);
    }
}

/// Ties the sections with `sni = SERVICE:PATTERN` to their services.
fn virtual_hosts(
    whole: &Sections,
    names: &[Arc<str>],
    extras: &mut BTreeMap<Arc<str>, ServiceExtras>,
    notes: &mut Notes,
) {
    let named = whole.sections.iter().zip(names);
    for (settings, name) in named.filter(|(settings, _)| !settings.client && !settings.is_wrong(&["client"])) {
        for written in &settings.sni {
            if let Some((primary, pattern)) = host(whole, written, notes)
                && let Some(extra) = extras.get_mut(&primary)
            {
                extra.hosts.push(VirtualHost { pattern, service: Arc::clone(name) });
            }
        }
    }
}

/// The service and the pattern of one `sni`.
fn host(whole: &Sections, written: &Written<String>, notes: &mut Notes) -> Option<(Arc<str>, Arc<str>)> {
    let sections = &whole.sections;
    let form = "where TLS is accepted, `sni` is SERVICE:PATTERN; with client = yes it is the name to ask for";
    let Some((service, pattern)) = written.value.split_once(':') else {
        notes.error(written.at, format!("{} has no colon", quote(&written.value)), form);
        return None;
    };
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    let end = pattern.strip_prefix('*').unwrap_or(pattern);
    if !end.chars().all(plain) || pattern.is_empty() {
        let help = "write a host name, or * and the end of one: *.example.com";
        notes.error(written.at, format!("{} is no pattern of host names", quote(pattern)), help);
        return None;
    }
    let Some(primary) = sections.iter().find(|section| *section.name == *service) else {
        if whole.incomplete {
            return None;
        }
        let help = match nearest(service, sections.iter().map(|section| &*section.name)) {
            Some(meant) => format!("did you mean {meant}?"),
            None => form.to_owned(),
        };
        notes.error(written.at, format!("there is no section {}", quote(service)), help);
        return None;
    };
    if primary.is_wrong(&["client", "accept"]) {
        return None;
    }
    if primary.client || primary.accept.is_empty() {
        let help = "name a section with accept and without client = yes";
        notes.error(written.at, format!("section {} does not accept TLS", quote(service)), help);
        return None;
    }
    Some((Arc::clone(&primary.name), pattern.into()))
}

fn process(whole: &Whole<'_>) -> Process {
    let Sections { global, defaults, .. } = whole.sections;
    let output = global.output.as_ref().map(|output| whole.within(&output.value));
    let log = match output {
        Some(path) => LogTo::File(path),
        None if global.syslog && !global.stderr => LogTo::Syslog,
        None => LogTo::Stderr,
    };
    Process {
        state_dir: None,
        log_level: level(defaults.level),
        log_format: LogFormat::Text,
        access_log: false,
        // stunnel ends its connections at once.
        shutdown_timeout: Duration::ZERO,
        user: defaults.user.as_ref().map(|user| Arc::clone(&user.value)),
        group: defaults.group.as_ref().map(|group| Arc::clone(&group.value)),
        chroot: global.chroot.as_ref().map(|root| root.value.clone()),
        pid_file: global.pid.as_ref().map(|pid| pid.value.clone()),
        log,
        ..Process::default()
    }
}

/// The level of our own lines for one of syslog(3).
fn level(number: u8) -> LogLevel {
    match number {
        0..=3 => LogLevel::Error,
        4 => LogLevel::Warn,
        5 => LogLevel::Info,
        6 => LogLevel::Debug,
        _ => LogLevel::Trace,
    }
}

fn launch(whole: &Whole<'_>, hidden: Vec<Arc<Service>>, services: BTreeMap<Arc<str>, ServiceExtras>) -> Launch {
    let Sections { global, defaults, .. } = whole.sections;
    Launch {
        foreground: global.foreground,
        stderr: global.stderr,
        output: global.log_file().map(|output| super::Output { path: whole.within(&output.path), ..output }),
        syslog: global.syslog.then(|| Syslog { facility: global.facility, ident: Arc::clone(&defaults.name) }),
        level: defaults.level,
        virtual_services: hidden,
        services,
    }
}
