//! A look at a server's certificate, before anything is sent: what is wrong with it, until when it is good, and
//! whether the authority that a site names has expired. Browsers, containerd and Docker judge the expiry of an
//! authority; the TLS library here takes one that was named at its word, so it is looked at by its own dates.
//!
//! The chain is judged by the same library, with the same roots, as in [`crate::http`]. Of a certificate
//! (RFC 5280) only issuer, validity and subject are read here, for messages and warnings: never to trust one.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manifests::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::http::HttpError;
use crate::url::Url;

/// What a server showed, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What keeps it from being trusted.
    pub problem: Option<Problem>,
    /// Its last second.
    pub not_after: Option<Timestamp>,
    /// The last second of the authority that was named for it, if it hangs on one of those.
    pub authority_not_after: Option<Timestamp>,
    /// When it was judged.
    pub now: Option<Timestamp>,
}

/// What keeps a certificate from being trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It has expired, or one between it and its authority.
    Expired,
    /// It is not valid yet: one of the clocks is wrong.
    NotYet,
    /// Nobody whom we know stands behind it.
    UnknownAuthority,
    /// It is for another host.
    OtherName,
    /// Its authority has expired.
    AuthorityExpired,
    /// Anything else, in the library's words.
    Other(String),
}

/// Shakes hands with a server and hangs up.
///
/// # Errors
/// Nobody listens there, or the authorities cannot be used.
pub fn look(url: &Url, ca_pem: Option<&[u8]>, limit: Duration) -> Result<Certificate, HttpError> {
    let named = authorities(ca_pem)?;
    let watcher = Arc::new(Watcher { inner: judge(&named)?, seen: Mutex::default() });
    let name = ServerName::try_from(url.host().trim_matches(['[', ']']).to_string());
    let name = name.map_err(|error| HttpError::Tls { url: url.to_string(), source: Box::new(error) })?;
    let mut stream = connect(url, limit)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| roots(&error.to_string()))?;
    let config = config
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&watcher) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let mut connection =
        ClientConnection::new(Arc::new(config), name).map_err(|error| roots(&error.to_string()))?;
    let mut shaken = Ok(());
    while connection.is_handshaking() && shaken.is_ok() {
        shaken = connection.complete_io(&mut stream).map(|_| ());
    }
    let seen = watcher.seen.lock().ok().and_then(|mut seen| seen.take());
    match (seen, shaken) {
        (Some(seen), shaken) => Ok(seen.certificate(&named, shaken.err())),
        (None, Err(error)) => Err(HttpError::Tls { url: url.to_string(), source: Box::new(error) }),
        (None, Ok(())) => Err(roots("the server showed no certificate")),
    }
}

fn roots(what: &str) -> HttpError {
    HttpError::Roots { what: what.to_string() }
}

fn connect(url: &Url, limit: Duration) -> Result<TcpStream, HttpError> {
    let unreachable = |source| HttpError::Unreachable { url: url.to_string(), source };
    let authority = url.authority();
    let default = format!("{}:443", url.host());
    let has_port = authority != url.host();
    let authority = if has_port { authority } else { default };
    let stream = crate::connect::connect(&authority, limit).map_err(unreachable)?;
    let set = stream.set_read_timeout(Some(limit));
    set.and_then(|()| stream.set_write_timeout(Some(limit))).map_err(unreachable)?;
    Ok(stream)
}

/// Every certificate of a PEM text.
fn authorities(ca_pem: Option<&[u8]>) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let Some(pem) = ca_pem else { return Ok(Vec::new()) };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(roots("the PEM text that was given holds no certificate")),
        Err(error) => Err(roots(&error.to_string())),
    }
}

fn judge(named: &[CertificateDer<'static>]) -> Result<Arc<WebPkiServerVerifier>, HttpError> {
    let mut store = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(native.certs.into_iter().chain(named.iter().cloned()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
    judge.map_err(|error| roots(&error.to_string()))
}

/// What was seen of a handshake.
#[derive(Debug)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    now: UnixTime,
    error: Option<rustls::Error>,
}

impl Seen {
    fn certificate(self, named: &[CertificateDer<'static>], broken: Option<std::io::Error>) -> Certificate {
        let seconds = i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
        let now = Timestamp::from_unix_seconds(seconds);
        let read: Vec<Read<'_>> = self.chain.iter().filter_map(|der| Read::of(der)).collect();
        let not_after = read.first().and_then(|leaf| leaf.not_after);
        let is_above = |authority: &Read<'_>| read.iter().any(|below| below.issuer == authority.subject);
        let above = named.iter().filter_map(|der| Read::of(der)).filter(is_above);
        let authority_not_after = above.filter_map(|authority| authority.not_after).max();
        let problem = match self.error {
            Some(error) => Some(Problem::of(&error)),
            None if authority_not_after < now && authority_not_after.is_some() => {
                Some(Problem::AuthorityExpired)
            }
            None => broken.map(|error| Problem::Other(error.to_string())),
        };
        Certificate { problem, not_after, authority_not_after, now }
    }
}

impl Problem {
    fn of(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(error) = error else { return Self::Other(error.to_string()) };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// Judges as always, and remembers what it saw.
#[derive(Debug)]
struct Watcher {
    inner: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<Seen>>,
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|der| der.clone().into_owned()).collect();
        if let Ok(mut seen) = self.seen.lock() {
            *seen = Some(Seen { chain, now, error: verdict.as_ref().err().cloned() });
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// When a certificate (RFC 5280) is valid, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub from: Timestamp,
    /// Its last second.
    pub until: Timestamp,
}

impl Validity {
    /// That of a certificate in DER form; nothing if it is none.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let read = Read::of(der)?;
        Some(Self { from: read.not_before?, until: read.not_after? })
    }
}

/// The parts of a certificate that are read.
#[derive(Debug, PartialEq, Eq)]
struct Read<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, which holds the version.
const VERSION: u8 = 0xa0;

impl<'a> Read<'a> {
    /// `Certificate` and `TBSCertificate` of RFC 5280, section 4.1, as far as the subject.
    fn of(der: &'a [u8]) -> Option<Self> {
        let mut outer = Elements(der);
        let mut signed = Elements(outer.content(SEQUENCE)?);
        let mut fields = Elements(signed.content(SEQUENCE)?);
        if fields.0.first() == Some(&VERSION) {
            fields.next()?;
        }
        let (_serial, _algorithm) = (fields.next()?, fields.content(SEQUENCE)?);
        let issuer = fields.content(SEQUENCE)?;
        let mut validity = Elements(fields.content(SEQUENCE)?);
        let (before, after) = (validity.next()?, validity.next()?);
        let subject = fields.content(SEQUENCE)?;
        Some(Self {
            issuer,
            subject,
            not_before: time(before.0, before.1),
            not_after: time(after.0, after.1),
        })
    }
}

/// `YYMMDDHHMMSSZ`, for 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii())?;
    let (century, rest) = match tag {
        UTC_TIME if text.get(..1)? < "5" => ("20", text),
        UTC_TIME => ("19", text),
        GENERALIZED_TIME => ("", text),
        _ => return None,
    };
    let full = format!("{century}{rest}");
    let part = |from: usize, to: usize| full.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second, zone) = (part(8, 10)?, part(10, 12)?, part(12, 14)?, full.get(14..)?);
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}{zone}").parse().ok()
}

/// The elements of a DER value, one after the other.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The next one's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        if length >= 0x80 {
            let count = length - 0x80;
            if !(1..=4).contains(&count) {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            length = bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((*tag, content))
    }

    fn content(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_certificates_are_read_in_both_forms() {
        let read = |tag, text: &str| time(tag, text.as_bytes()).map(|time| time.to_string());
        assert_eq!(read(UTC_TIME, "261120120000Z").as_deref(), Some("2026-11-20T12:00:00Z"));
        assert_eq!(read(UTC_TIME, "991231235959Z").as_deref(), Some("1999-12-31T23:59:59Z"));
        assert_eq!(read(GENERALIZED_TIME, "20601120120000Z").as_deref(), Some("2060-11-20T12:00:00Z"));
        for odd in ["", "2611", "26112012000Z", "261120120000+0100", "26\u{e9}1120000Z"] {
            assert_eq!(read(UTC_TIME, odd), None, "{odd}");
        }
        assert_eq!(read(0x02, "261120120000Z"), None);
    }

    #[test]
    fn no_bytes_make_the_reader_fall_over() {
        for der in [
            &b""[..],
            b"\x30",
            b"\x30\x80",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x02\x30\x05",
            b"\x30\x85\x01\x01\x01\x01\x01",
        ] {
            assert_eq!(Read::of(der), None, "{der:?}");
        }
    }
}
