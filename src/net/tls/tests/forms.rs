//! The forms in which files hold certificates and keys.

use super::*;
use crate::config::Secret;

/// Sets an end up with a certificate and a key from these files.
fn build(cert: PathBuf, key: PathBuf, passphrase: Option<&str>) -> Result<Arc<Acceptor>, String> {
    let identity = Identity { cert, key, passphrase: passphrase.map(Secret::new) };
    Acceptor::new(&accepting(identity, ClientAuth::Off, PeerRules::default())).map_err(|e| e.to_string())
}

/// The same with both in one file.
fn one(path: PathBuf, passphrase: Option<&str>) -> Result<Arc<Acceptor>, String> {
    build(path.clone(), path, passphrase)
}

/// `cert.pem` (subject `/CN=db1`), its key in `key.pem`, and what signed it in `ca.pem`.
fn openssl() -> Dir {
    let dir = Dir::new();
    dir.write(
        "req.cnf",
        "[req]\ndistinguished_name=dn\n[dn]\n[v3]\nbasicConstraints=CA:FALSE\n[ca]\nbasicConstraints=CA:TRUE\n",
    );
    dir.openssl("req -x509 -config req.cnf -extensions ca -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 3650");
    dir.openssl("req -new -config req.cnf -newkey rsa:2048 -nodes -keyout key.pem -out csr.pem -subj /CN=db1");
    dir.openssl("x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile req.cnf -extensions v3 -out cert.pem");
    dir
}

#[test]
fn keys_in_all_forms_of_pem_are_read() {
    let dir = openssl();
    dir.openssl("rsa -in key.pem -traditional -out pkcs1.pem");
    dir.openssl("pkcs8 -topk8 -in key.pem -passout pass:secret -out aes.pem");
    dir.openssl("pkcs8 -topk8 -v2 des3 -in key.pem -passout pass:secret -out des3.pem");
    dir.openssl("pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA1 -in key.pem -passout pass:secret -out sha1.pem");
    dir.openssl("rsa -in key.pem -aes128 -traditional -passout pass:secret -out old.pem");
    dir.openssl("pkcs8 -topk8 -v1 PBE-SHA1-3DES -in key.pem -passout pass:secret -out v1.pem");
    let cert = dir.path("cert.pem");
    for key in ["key.pem", "pkcs1.pem"] {
        build(cert.clone(), dir.path(key), None).unwrap();
    }
    for key in ["aes.pem", "des3.pem", "sha1.pem"] {
        build(cert.clone(), dir.path(key), Some("secret")).unwrap();
        let wrong = build(cert.clone(), dir.path(key), Some("wrong")).unwrap_err();
        assert!(wrong.ends_with(&format!("{key}: its key does not open with this passphrase")), "{wrong}");
        let none = build(cert.clone(), dir.path(key), None).unwrap_err();
        assert!(
            none.ends_with(": its key is encrypted: set passphrase_file, or decrypt it with `openssl pkey`"),
            "{none}"
        );
    }
    let old = build(cert.clone(), dir.path("old.pem"), Some("secret")).unwrap_err();
    assert!(old.contains("(Proc-Type: 4,ENCRYPTED): write it anew with `openssl pkcs8 -topk8 "), "{old}");
    let v1 = build(cert.clone(), dir.path("v1.pem"), Some("secret")).unwrap_err();
    assert!(v1.contains("its key is encrypted in a way that is not taken"), "{v1}");
    // All in one file, the encrypted key behind the certificate.
    let both = [std::fs::read(&cert).unwrap(), std::fs::read(dir.path("aes.pem")).unwrap()].concat();
    one(dir.write("both.pem", both), Some("secret")).unwrap();
    // An EC key in its own form, parameters in front of it.
    let ec = Dir::new();
    ec.openssl("ecparam -name prime256v1 -genkey -out ec.pem");
    ec.openssl("req -x509 -new -key ec.pem -subj /CN=ec -out cert.pem");
    build(ec.path("cert.pem"), ec.path("ec.pem"), None).unwrap();
}

#[test]
fn pkcs12_is_read_as_openssl_writes_it() {
    let dir = openssl();
    for (name, how) in [("modern", ""), ("legacy", " -legacy"), ("iterations", " -iter 100000"), ("nomac", " -nomac")] {
        let export = format!("pkcs12 -export{how} -in cert.pem -inkey key.pem -certfile ca.pem");
        dir.openssl(&format!("{export} -passout pass:secret -out {name}.p12"));
        dir.openssl(&format!("{export} -passout pass: -out {name}-open.p12"));
        let acceptor = one(dir.path(&format!("{name}.p12")), Some("secret")).unwrap();
        let shown: Vec<_> = acceptor.describe().own.into_iter().map(|own| own.subject).collect();
        assert_eq!(shown, ["/CN=db1"], "the root is not sent along");
        one(dir.path(&format!("{name}-open.p12")), None).unwrap();
        let wrong = one(dir.path(&format!("{name}.p12")), Some("wrong")).unwrap_err();
        assert!(wrong.ends_with(&format!("{name}.p12: is PKCS#12 and does not open with this passphrase")), "{wrong}");
        let none = one(dir.path(&format!("{name}.p12")), None).unwrap_err();
        assert!(none.ends_with(": is PKCS#12 with a passphrase: set passphrase_file"), "{none}");
    }
    // The certificate in PEM, the key out of PKCS#12.
    build(dir.path("cert.pem"), dir.path("modern.p12"), Some("secret")).unwrap();
    dir.openssl("pkcs12 -export -nokeys -in cert.pem -passout pass: -out keyless.p12");
    assert!(one(dir.path("keyless.p12"), None).unwrap_err().ends_with("is PKCS#12 without a private key"));
}

#[test]
fn what_a_file_holds_instead_is_named() {
    let dir = openssl();
    dir.openssl("x509 -in cert.pem -trustout -out trusted.pem");
    dir.openssl("x509 -in cert.pem -outform DER -out cert.der");
    dir.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out other.pem");
    dir.write("empty.pem", "");
    let key = dir.path("key.pem");
    for (file, what) in [
        (
            "trusted.pem",
            "holds no certificate in PEM form but a TRUSTED CERTIFICATE of OpenSSL: write it anew with `openssl x509 ",
        ),
        ("cert.der", "holds no certificate in PEM form but DER: write it anew in PEM"),
        ("csr.pem", "holds no certificate in PEM form but a CERTIFICATE REQUEST: a CA has to sign it first"),
        ("empty.pem", "holds no certificate in PEM form"),
        ("absent.pem", "No such file or directory"),
    ] {
        let error = build(dir.path(file), key.clone(), None).unwrap_err();
        assert!(error.starts_with(&format!("{}: {what}", dir.path(file).display())), "{error}");
    }
    let cert = dir.path("cert.pem");
    for (file, what) in [
        ("cert.pem", "holds no private key in PEM form but certificates".to_owned()),
        ("empty.pem", "holds no private key in PEM form".into()),
        ("other.pem", format!("is not the key of the certificate in {}", cert.display())),
    ] {
        let error = build(cert.clone(), dir.path(file), None).unwrap_err();
        assert_eq!(error, format!("{}: {what}", dir.path(file).display()));
    }
    let ca = super::super::store::Store::load(&chain_to(&dir.path("trusted.pem")), None, &Default::default())
        .unwrap_err()
        .to_string();
    assert!(ca.contains("but a TRUSTED CERTIFICATE of OpenSSL"), "{ca}");
    let v1 = build("tests/it/peer/keys/v1.pem".into(), "tests/it/peer/keys/v1-key.pem".into(), None).unwrap_err();
    assert!(v1.contains("is of X.509 version 1: have it issued anew as version 3"), "{v1}");
}

#[test]
fn no_secret_is_printed() {
    let dir = openssl();
    let identity =
        Identity { cert: dir.path("cert.pem"), key: dir.path("key.pem"), passphrase: Some(Secret::new("hunter2")) };
    let acceptor = Acceptor::new(&accepting(identity, ClientAuth::Off, PeerRules::default())).unwrap();
    let text = format!("{acceptor:?}");
    assert!(!text.contains("hunter2") && text.len() < 1_000, "{text}");
}
