//! Every option of stunnel, in one place.

use super::super::nearest::nearest;

/// Where an option may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Before the first section.
    Global,
    /// There as the default of all sections, and in a section.
    Service,
}

/// An option.
#[derive(Debug)]
pub(super) struct Known {
    /// As the manual writes it; case does not matter.
    pub(super) name: &'static str,
    pub(super) scope: Scope,
    /// Its value is nobody's business.
    pub(super) secret: bool,
}

const fn global(name: &'static str) -> Known {
    Known { name, scope: Scope::Global, secret: false }
}

const fn service(name: &'static str) -> Known {
    Known { name, scope: Scope::Service, secret: false }
}

const fn secret(name: &'static str, scope: Scope) -> Known {
    Known { name, scope, secret: true }
}

/// All of them, in the order of the manual.
pub(super) static OPTIONS: &[Known] = &[
    global("chroot"),
    global("compression"),
    global("EGD"),
    global("engine"),
    secret("engineCtrl", Scope::Global),
    global("engineDefault"),
    global("fips"),
    global("foreground"),
    global("iconActive"),
    global("iconError"),
    global("iconIdle"),
    global("log"),
    global("output"),
    global("pid"),
    global("provider"),
    secret("providerParameter", Scope::Global),
    global("RNDbytes"),
    global("RNDfile"),
    global("RNDoverwrite"),
    global("setEnv"),
    global("syslog"),
    global("taskbar"),
    service("accept"),
    service("CAengine"),
    service("CAfile"),
    service("CApath"),
    service("CAstore"),
    service("cert"),
    service("checkEmail"),
    service("checkHost"),
    service("checkIP"),
    service("ciphers"),
    service("ciphersuites"),
    service("client"),
    service("config"),
    service("connect"),
    service("CRLfile"),
    service("CRLpath"),
    service("curve"),
    service("curves"),
    service("debug"),
    service("delay"),
    service("engineId"),
    service("engineNum"),
    service("exec"),
    service("execArgs"),
    service("failover"),
    service("ident"),
    service("include"),
    service("key"),
    service("libwrap"),
    service("local"),
    service("logId"),
    service("OCSP"),
    service("OCSPaia"),
    service("OCSPflag"),
    service("OCSPnonce"),
    service("OCSPrequire"),
    service("options"),
    service("protocol"),
    service("protocolAuthentication"),
    service("protocolDomain"),
    service("protocolHeader"),
    service("protocolHost"),
    secret("protocolPassword", Scope::Service),
    service("protocolUsername"),
    service("PSKidentity"),
    service("PSKsecrets"),
    service("pty"),
    service("redirect"),
    service("renegotiation"),
    service("requireCert"),
    service("reset"),
    service("retry"),
    service("securityLevel"),
    service("service"),
    service("session"),
    service("sessionCacheSize"),
    service("sessionCacheTimeout"),
    service("sessionResume"),
    service("sessiond"),
    service("setgid"),
    service("setuid"),
    service("sni"),
    service("socket"),
    service("sslVersion"),
    service("sslVersionMax"),
    service("sslVersionMin"),
    service("stack"),
    secret("ticketKeySecret", Scope::Service),
    secret("ticketMacSecret", Scope::Service),
    service("TIMEOUTbusy"),
    service("TIMEOUTclose"),
    service("TIMEOUTconnect"),
    service("TIMEOUTidle"),
    service("TIMEOUTocsp"),
    service("transparent"),
    service("verify"),
    service("verifyChain"),
    service("verifyPeer"),
];

/// The option of this name, in whatever case.
pub(super) fn known(name: &str) -> Option<&'static Known> {
    OPTIONS.iter().find(|option| option.name.eq_ignore_ascii_case(name))
}

/// What was probably meant by a name that is none.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    nearest(name, OPTIONS.iter().map(|option| option.name))
}
