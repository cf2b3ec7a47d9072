//! The certificates of a grid's hosts, made by openssl: one CA in a hashed directory with its CRL, and hosts of all sorts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::{cli, watchdog};

const CONFIG: &str = r"
[ca]
default_ca = settings
[settings]
database = index.txt
serial = serial
crlnumber = crlnumber
crl_extensions = list
new_certs_dir = .
default_md = sha256
default_days = 100
default_crl_days = 100
policy = any
x509_extensions = host
unique_subject = no
[any]
commonName = supplied
[host]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:$ENV::GRID_NAME
[list]
authorityKeyIdentifier = keyid
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[req]
distinguished_name = none
[none]
";

/// Where all of it lies; made once in this process, and only read by its tests.
#[derive(Debug)]
pub(super) struct Grid(PathBuf);

/// A host's certificate and key.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: &'static str,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// Those that are refused: a host of another CA, one whose certificate expired, and one whose certificate is revoked. Each with
/// what is said of it.
pub(super) const REFUSED: [(&str, &str); 3] = [
    ("stranger", "its issuer /DC=org/DC=example/CN=other CA is not in "),
    ("expired", "it expired at "),
    ("revoked", "it is revoked by the CRL in "),
];

pub(super) fn grid() -> &'static Grid {
    static ONE: OnceLock<Grid> = OnceLock::new();
    ONE.get_or_init(Grid::new)
}

impl Grid {
    fn new() -> Self {
        let grid = Self(watchdog::fresh_path("grid"));
        fs::create_dir(&grid.0).unwrap();
        fs::create_dir(grid.certificates()).unwrap();
        for ca in ["grid", "other"] {
            let dir = grid.0.join(ca);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("openssl.cnf"), CONFIG).unwrap();
            fs::write(dir.join("index.txt"), "").unwrap();
            fs::write(dir.join("serial"), "1000\n").unwrap();
            fs::write(dir.join("crlnumber"), "01\n").unwrap();
            let subject = format!("/DC=org/DC=example/CN={ca} CA");
            openssl(
                &dir,
                "req -x509 -config openssl.cnf -extensions authority -newkey rsa:2048 -nodes -keyout ca.key -days 1000 \
                 -out ca.pem -subj",
                &[&subject],
            );
        }
        for name in ["primary", "replica", "revoked"] {
            grid.sign("grid", name, "");
        }
        grid.sign("grid", "expired", "-startdate 20200101000000Z -enddate 20200201000000Z");
        grid.sign("other", "stranger", "");

        let dir = grid.0.join("grid");
        openssl(&dir, "ca -batch -config openssl.cnf -cert ca.pem -keyfile ca.key -revoke revoked.pem", &[]);
        openssl(&dir, "ca -config openssl.cnf -cert ca.pem -keyfile ca.key -gencrl -out crl.pem", &[]);
        fs::copy(grid.ca(), grid.certificates().join("grid-ca.pem")).unwrap();
        fs::copy(grid.crl(), grid.certificates().join("grid-crl.pem")).unwrap();
        // Such directories hold more than certificates.
        fs::write(grid.certificates().join("grid.signing_policy"), "access_id_CA X509 '/DC=org'\n").unwrap();
        openssl(&grid.0, "rehash certificates", &[]);
        grid
    }

    fn sign(&self, ca: &str, name: &str, times: &str) {
        let dir = self.0.join(ca);
        let host = format!("{name}.example.org");
        let subject = format!("/DC=org/DC=example/CN={host}");
        openssl(
            &dir,
            &format!(
                "req -new -config openssl.cnf -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj {subject}"
            ),
            &[],
        );
        let sign = format!(
            "ca -batch -notext -preserveDN -config openssl.cnf -cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.pem {times}"
        );
        run(command(&dir, &sign).env("GRID_NAME", host));
    }

    /// The directory of hashed names: the grid's CA and its CRL.
    pub(super) fn certificates(&self) -> PathBuf {
        self.0.join("certificates")
    }

    /// The grid's CA.
    pub(super) fn ca(&self) -> PathBuf {
        self.0.join("grid/ca.pem")
    }

    pub(super) fn crl(&self) -> PathBuf {
        self.0.join("grid/crl.pem")
    }

    #[track_caller]
    pub(super) fn host(&self, name: &'static str) -> Host {
        let dir = self.0.join(if name == "stranger" { "other" } else { "grid" });
        let host = Host { name, cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        assert!(host.cert.exists(), "{host:?}");
        host
    }
}

fn command(dir: &Path, line: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(line.split_whitespace()).current_dir(dir).env("GRID_NAME", "none");
    command
}

#[track_caller]
fn openssl(dir: &Path, line: &str, more: &[&str]) {
    run(command(dir, line).args(more));
}

#[track_caller]
fn run(command: &mut Command) {
    let seen = cli::run(command);
    assert_eq!(seen.code, Some(0), "{command:?}: {seen:?}");
}
