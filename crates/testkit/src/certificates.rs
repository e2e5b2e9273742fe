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

/// What is wrong with certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing; they last 60 days.
    #[default]
    None,
    /// The server's expired yesterday.
    Expired,
    /// The server's is for another name.
    OtherName,
    /// The authority's expired yesterday; the server's did not.
    ExpiredAuthority,
    /// The server's ends in three days.
    EndsSoon,
}

impl Certificates {
    /// Makes them in `directory`; nothing where there is no `openssl`.
    ///
    /// # Panics
    /// Where `openssl` fails.
    #[must_use]
    pub fn make(directory: &Path) -> Option<Self> {
        Self::make_with(directory, Flaw::None)
    }

    /// The same, with something wrong.
    ///
    /// # Panics
    /// Where `openssl` fails.
    #[must_use]
    pub fn make_with(directory: &Path, flaw: Flaw) -> Option<Self> {
        let openssl = real_part("openssl")?;
        let run = |arguments: &[&str]| {
            let output = Command::new(&openssl).args(arguments).current_dir(directory).output().unwrap();
            assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        };
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let ca = ["req", "-x509", "-days", "60", "-subj", "/CN=test authority"];
        run(&[&ca[..], &curve[..], &["-keyout", "ca.key", "-out", "ca.pem"]].concat());
        let request =
            ["req", "-new", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
        run(&[&request[..], &curve[..]].concat());
        let names = if flaw == Flaw::OtherName { "DNS:elsewhere" } else { "IP:127.0.0.1,DNS:localhost" };
        let extensions = format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\n");
        fs::write(directory.join("extensions"), extensions).unwrap();
        let days = match flaw {
            Flaw::Expired => "-1",
            Flaw::EndsSoon => "3",
            _ => "60",
        };
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
            days,
            "-extfile",
            "extensions",
            "-out",
            "server.pem",
        ]);
        if flaw == Flaw::ExpiredAuthority {
            // The same name and key, and other dates.
            fs::write(directory.join("authority"), "basicConstraints=critical,CA:TRUE\n").unwrap();
            run(&["req", "-new", "-subj", "/CN=test authority", "-key", "ca.key", "-out", "ca.csr"]);
            let sign = ["x509", "-req", "-in", "ca.csr", "-signkey", "ca.key", "-days", "-1"];
            run(&[&sign[..], &["-extfile", "authority", "-out", "ca.pem"]].concat());
        }
        let file = |name: &str| directory.join(name);
        Some(Self { ca: file("ca.pem"), certificate: file("server.pem"), key: file("server.key") })
    }
}
