//! TLS: a certificate with its chain and its key, from two PEM files. Versions 1.2 and 1.3.
//!
//! Of a certificate only its dates are read here, so that one that nobody will take is named before the first
//! client fails.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layout::private::{self, PrivateError};
use manifests::Timestamp;
use registry::tls::Validity;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Bounds each of the two files: a chain has a few certificates of a few kilobytes.
const PEM_BYTES_MAX: u64 = 256 * 1024;
/// How long before its end a certificate is spoken of.
const ENDS_SOON_SECONDS: i64 = 14 * 24 * 60 * 60;

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read the key.
    #[error("the private key {} is open to others (mode {mode:04o})", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// No certificate in PEM.
    #[error("{} holds no certificate in PEM form", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// No key in PEM, or one of a kind that is not known.
    #[error("{} holds no private key that can be used: an unencrypted one in PEM form, of ECDSA, Ed25519 or RSA", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The one is not for the other.
    #[error("the certificate {} is not for the key {}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Its last second is over.
    #[error("the certificate {} has expired on {until}", path.display())]
    Expired {
        /// Which file.
        path: PathBuf,
        /// Its last second.
        until: Timestamp,
    },
    /// Its first second is to come.
    #[error("the certificate {} is not valid before {from}", path.display())]
    NotYet {
        /// Which file.
        path: PathBuf,
        /// Its first second.
        from: Timestamp,
    },
    /// A defect of ours or of the library.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
}

/// What connections are made with.
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// The last second of the certificate, if that is soon.
    pub(super) ends_soon: Option<Timestamp>,
}

impl Tls {
    /// Reads both files, and looks at the dates of the certificate.
    pub(super) fn load(files: &TlsFiles, now: Timestamp) -> Result<Self, TlsError> {
        let chain = read_chain(&files.certificate)?;
        let key = read_key(&files.key)?;
        let ends_soon = judge(&files.certificate, &chain, now)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable = || TlsError::NoKey { path: files.key.clone() };
        let key = provider.key_provider.load_private_key(key).map_err(|_| unusable())?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Some kinds of keys cannot say which public half is theirs.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let TlsFiles { certificate, key } = files.clone();
                return Err(TlsError::Mismatch { certificate, key });
            }
            Err(_) => return Err(TlsError::NoCertificate { path: files.certificate.clone() }),
        }
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(TlsError::Library)?.with_no_client_auth();
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let mut config = config.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), ends_soon })
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = layout::durable::read_bounded(path, PEM_BYTES_MAX)
        .map_err(|source| TlsError::Read { path: path.to_path_buf(), source })?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::NoCertificate { path: path.to_path_buf() })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path_buf = || path.to_path_buf();
    let text = private::read(path, PEM_BYTES_MAX).map_err(|error| match error {
        PrivateError::Open { mode } => TlsError::Open { path: path_buf(), mode },
        PrivateError::Read(source) => TlsError::Read { path: path_buf(), source },
        other => TlsError::Read { path: path_buf(), source: io::Error::other(other) },
    })?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| TlsError::NoKey { path: path_buf() })
}

/// When the first certificate ends, if that is soon.
fn judge(path: &Path, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Option<Timestamp>, TlsError> {
    let Some(validity) = chain.first().and_then(|der| Validity::of(der)) else {
        return Err(TlsError::NoCertificate { path: path.to_path_buf() });
    };
    let Validity { from, until } = validity;
    if now > until {
        return Err(TlsError::Expired { path: path.to_path_buf(), until });
    }
    if now < from {
        return Err(TlsError::NotYet { path: path.to_path_buf(), from });
    }
    let left = until.unix_seconds().saturating_sub(now.unix_seconds());
    Ok((left < ENDS_SOON_SECONDS).then_some(until))
}
