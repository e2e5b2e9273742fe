//! Debian's `docker-registry` on a free port of the loopback interface, with its storage in a temporary
//! directory. Stopped and removed when dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::certificates::{Certificates, Flaw};
use crate::real::real_part;

/// How to run it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealRegistryOptions {
    /// Whether manifests can be deleted: off by default, as in the registry itself.
    pub delete: bool,
    /// Whether it speaks TLS with a certificate of an authority of its own.
    pub tls: bool,
    /// Whether it wants the login of [`REAL_USER`] and [`REAL_PASSWORD`].
    pub htpasswd: bool,
}

/// Whom a registry with `htpasswd` knows.
pub const REAL_USER: &str = "airlock";
/// The password of [`REAL_USER`].
pub const REAL_PASSWORD: &str = "hunter2";
/// The same as bcrypt, which is what the registry reads.
const REAL_HTPASSWD: &str = "airlock:$2b$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n";

/// A running registry.
pub struct RealRegistry {
    process: Child,
    address: String,
    ca_pem: Option<Vec<u8>>,
    directory: TempDir,
}

impl RealRegistry {
    /// Starts one and waits until it listens; nothing, after saying so, where it is not installed.
    ///
    /// # Panics
    /// Where it is installed and does not start.
    #[must_use]
    pub fn start(options: RealRegistryOptions) -> Option<Self> {
        Self::start_with(options, Flaw::None)
    }

    /// The same, with something wrong with its certificate.
    ///
    /// # Panics
    /// Where it is installed and does not start.
    #[must_use]
    pub fn start_with(options: RealRegistryOptions, flaw: Flaw) -> Option<Self> {
        let program = real_part("docker-registry")?;
        let directory = tempfile::tempdir().unwrap();
        let certificates =
            if options.tls { Some(Certificates::make_with(directory.path(), flaw)?) } else { None };
        let config = directory.path().join("config.yml");
        fs::write(directory.path().join("htpasswd"), REAL_HTPASSWD).unwrap();
        fs::write(&config, configuration(&directory, options, certificates.as_ref())).unwrap();
        let mut process = Command::new(program)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let address = listening_address(&mut process);
        let ca_pem = certificates.map(|certificates| fs::read(certificates.ca).unwrap());
        Some(Self { process, address, ca_pem, directory })
    }

    /// `http://127.0.0.1:PORT` or `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.ca_pem.is_some() { "https" } else { "http" }, self.address)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.address
    }

    /// With TLS: what a client has to trust.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&[u8]> {
        self.ca_pem.as_deref()
    }

    /// With TLS: where the authority's certificate is.
    #[must_use]
    pub fn ca_path(&self) -> std::path::PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Where its storage is, to look at or to damage.
    #[must_use]
    pub fn storage(&self) -> std::path::PathBuf {
        self.directory.path().join("storage")
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        // It may have ended by itself, which is no reason to fail a test that is over.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(
    directory: &TempDir,
    options: RealRegistryOptions,
    certificates: Option<&Certificates>,
) -> String {
    let tls = certificates.map_or(String::new(), |files| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        format!("  tls:\n    certificate: {certificate}\n    key: {key}\n")
    });
    let auth = if options.htpasswd {
        let path = directory.path().join("htpasswd");
        format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path.display())
    } else {
        String::new()
    };
    format!(
        "version: 0.1\n{auth}\
         log:\n  level: info\n  accesslog:\n    disabled: true\n\
         storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: {}\n\
         http:\n  addr: 127.0.0.1:0\n{tls}",
        directory.path().join("storage").display(),
        options.delete,
    )
}

/// Reads the log until the registry says where it listens, and keeps reading it in the background, so
/// that the registry never blocks on a full pipe.
fn listening_address(process: &mut Child) -> String {
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut log = String::new();
    let address = loop {
        let Some(Ok(line)) = lines.next() else {
            panic!("docker-registry ended before it listened:\n{log}");
        };
        if let Some((_, rest)) = line.split_once("listening on ") {
            let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')));
            break rest[..end.unwrap_or(rest.len())].to_string();
        }
        log.push_str(&line);
        log.push('\n');
    };
    std::thread::spawn(move || lines.for_each(drop));
    address
}
