//! A certificate authority and a server certificate for 127.0.0.1 and `localhost`, made by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::real::real_part;

/// Files in PEM form, in a directory of the caller's.
pub struct Certificates {
    /// The authority that a client has to trust.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `directory`; nothing where there is no `openssl`.
    ///
    /// # Panics
    /// Where `openssl` fails.
    #[must_use]
    pub fn make(directory: &Path) -> Option<Self> {
        let openssl = real_part("openssl")?;
        let run = |arguments: &[&str]| {
            let output = Command::new(&openssl).args(arguments).current_dir(directory).output().unwrap();
            assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        };
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let ca = ["req", "-x509", "-days", "2", "-subj", "/CN=test authority"];
        run(&[&ca[..], &curve[..], &["-keyout", "ca.key", "-out", "ca.pem"]].concat());
        let request =
            ["req", "-new", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
        run(&[&request[..], &curve[..]].concat());
        let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";
        fs::write(directory.join("extensions"), extensions).unwrap();
        run(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "extensions",
            "-out",
            "server.pem",
        ]);
        let file = |name: &str| directory.join(name);
        Some(Self { ca: file("ca.pem"), certificate: file("server.pem"), key: file("server.key") })
    }
}
