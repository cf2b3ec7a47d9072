//! Options that are refused, and those that change nothing here.

/// Why an option is refused, and what to do instead.
pub(super) struct Refusal {
    /// Goes on from "`NAME = VALUE` is refused: ".
    pub(super) why: &'static str,
    pub(super) instead: &'static str,
}

/// Options that are refused whatever their value; `key` is the name in small letters.
pub(super) fn always(key: &str) -> Option<Refusal> {
    let (why, instead) = match key {
        "ocsp" | "ocspaia" | "ocspflag" | "ocspnonce" | "ocsprequire" | "timeoutocsp" => (
            "OCSP is not asked here, and without it a revoked certificate would be let in",
            "give the CA's revocation list with CRLfile or CRLpath; it is read again when it changes",
        ),
        "pskidentity" | "psksecrets" => (
            "keys shared beforehand are not supported, and without them nobody would be authenticated",
            "give both ends certificates: cert, key, verifyPeer = yes and CAfile with the other end's certificate",
        ),
        "engine" | "enginectrl" | "enginedefault" | "engineid" | "enginenum" | "caengine" => (
            "OpenSSL's engines are not used here, so the key or the CA behind one cannot be reached",
            "give the key and the certificates as files: cert, key, CAfile",
        ),
        "provider" | "providerparameter" | "castore" => (
            "OpenSSL's providers are not used here, so what is behind one cannot be reached",
            "give the key and the certificates as files: cert, key, CAfile",
        ),
        "setenv" => ("it sets the environment of OpenSSL's modules, which are not used here", "take the line out"),
        "exec" | "execargs" | "pty" => (
            "programs are not started here",
            "let the program listen by itself (a systemd socket unit, socat) and write connect = ADDRESS",
        ),
        "ident" => (
            "IDENT is not asked, so everybody would be let in whom it was to keep out",
            "let in by certificate instead: verifyPeer = yes with CAfile",
        ),
        "protocolauthentication"
        | "protocoldomain"
        | "protocolheader"
        | "protocolhost"
        | "protocolpassword"
        | "protocolusername" => (
            "no application protocol that needs it is spoken before TLS here",
            "keep stunnel for this section, or let the far end speak TLS from the first byte on",
        ),
        "compression" => (
            "compressed TLS gives secrets away (CRIME), and is not supported",
            "take the line out; galeway never compresses",
        ),
        "config" => (
            "OpenSSL's own configuration commands are unknown here, and one may be what keeps a peer out",
            "say the same with ciphers, ciphersuites, curves, sslVersionMin or options",
        ),
        "sessiond" => (
            "sessions are not shared with other hosts",
            "take the line out; each end makes full handshakes with the others",
        ),
        "ticketkeysecret" | "ticketmacsecret" => (
            "session tickets under a fixed key can be read for ever by whoever has the key",
            "take the line out; sessions are resumed with the process that made them only",
        ),
        _ => return None,
    };
    Some(Refusal { why, instead })
}

/// Options without any effect here, and why none is needed.
pub(super) fn idle(key: &str) -> Option<&'static str> {
    Some(match key {
        "rndbytes" | "rndfile" | "rndoverwrite" | "egd" => "random numbers come from the kernel",
        "stack" => "connections have no threads of their own",
        "iconactive" | "iconerror" | "iconidle" | "taskbar" => "there is no graphical interface",
        "sessioncachesize" => "the session cache is bounded by itself",
        "sessioncachetimeout" | "session" => "a session is kept until newer ones take its place",
        _ => return None,
    })
}
