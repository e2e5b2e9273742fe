//! `serve` of `site.yaml`: where `installer serve` listens, to whom, and how often it hashes again what it has.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::serve::{Network, RehashPolicy};

/// How the embedded server is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServeConfig {
    /// Address and port; `127.0.0.1:8080` without this.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Certificate and key.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// An htpasswd file; a relative path starts at `site.yaml`.
    #[serde(default)]
    pub users: Option<PathBuf>,
    /// The only addresses that are let in; all without any.
    #[serde(default)]
    pub allow: Vec<Network>,
    /// Whether plain HTTP may be spoken beyond this machine.
    #[serde(default)]
    pub plain_http: bool,
    /// How blobs are hashed again.
    #[serde(default)]
    pub rehash: RehashConfig,
}

/// Certificate and key, PEM; relative paths start at `site.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How blobs are hashed again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RehashConfig {
    /// Each once in this time.
    #[serde(default = "day", deserialize_with = "interval")]
    pub every: Duration,
    /// Bytes read in a second at the most.
    #[serde(default = "usual_rate", deserialize_with = "rate")]
    pub rate: u64,
}

impl Default for RehashConfig {
    fn default() -> Self {
        Self { every: day(), rate: usual_rate() }
    }
}

impl From<&RehashConfig> for RehashPolicy {
    fn from(config: &RehashConfig) -> Self {
        Self { every: Some(config.every), bytes_per_second: config.rate }
    }
}

impl ServeConfig {
    /// With every path as it is meant in a file beside which it stands.
    pub(super) fn beside(mut self, directory: &Path) -> Self {
        let own = self.tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key]);
        own.chain(&mut self.users).for_each(|path| *path = directory.join(&*path));
        self
    }
}

fn day() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}

fn usual_rate() -> u64 {
    RehashPolicy::default().bytes_per_second
}

/// Nobody waits a year to hear of a rotten blob.
const DAYS_MAX: u64 = 90;

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let units = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];
    let seconds =
        units.iter().find_map(|(unit, seconds)| number(text.strip_suffix(*unit)?)?.checked_mul(*seconds));
    let in_range = seconds.filter(|seconds| (1..=DAYS_MAX * 24 * 60 * 60).contains(seconds));
    in_range.map(Duration::from_secs).ok_or_else(|| {
        let shown = manifests::text::printable(&text);
        serde::de::Error::custom(format!(
            "`{shown}` is no interval: expected one such as 90m, 24h or 7d, at most {DAYS_MAX}d"
        ))
    })
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let bytes =
        units.iter().find_map(|(unit, bits)| number(text.strip_suffix(unit)?)?.checked_mul(1 << bits));
    // Less would not get round a site's store in a season.
    bytes.filter(|bytes| *bytes >= 64 * 1024).ok_or_else(|| {
        let shown = manifests::text::printable(&text);
        serde::de::Error::custom(format!(
            "`{shown}` is no rate: expected one such as 32MiB, which is in a second, at least 64KiB"
        ))
    })
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigError, SiteConfig};
    use super::*;

    const HEAD: &str = "apiVersion: airlock/v1\nkind: Site\nsite: s\n";

    fn load(text: &str) -> Result<SiteConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.yaml");
        std::fs::write(&path, format!("{HEAD}{text}")).unwrap();
        let mut config = SiteConfig::load(&path)?;
        // Paths as they would be beside a file in the root directory.
        let strip =
            |path: &mut PathBuf| *path = Path::new("/").join(path.strip_prefix(dir.path()).unwrap_or(path));
        let own = config.serve.tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key]);
        own.chain(&mut config.serve.users).for_each(strip);
        Ok(config)
    }

    #[test]
    fn every_key_of_the_server_is_read_and_its_files_lie_beside_the_one_that_names_them() {
        let text = "serve:\n  listen: '[::]:8443'\n  tls: {certificate: tls/cert.pem, key: /etc/key.pem}\n  users: htpasswd\n  allow: [10.0.0.0/8, 'fd00::/8', 192.0.2.7]\n  plainHttp: true\n  rehash: {every: 7d, rate: 8MiB}\n";
        let serve = load(text).unwrap().serve;
        assert_eq!(serve.listen, Some("[::]:8443".parse().unwrap()));
        let tls = TlsConfig { certificate: "/tls/cert.pem".into(), key: "/etc/key.pem".into() };
        assert_eq!((serve.tls, serve.users), (Some(tls), Some("/htpasswd".into())));
        let allowed: Vec<String> = serve.allow.iter().map(ToString::to_string).collect();
        assert_eq!(allowed, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);
        assert!(serve.plain_http);
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        assert_eq!(serve.rehash, RehashConfig { every: week, rate: 8 << 20 });
        assert_eq!(load("").unwrap().serve, ServeConfig::default());
        assert_eq!(load("serve: {rehash: {}}\n").unwrap().serve.rehash, RehashConfig::default());
    }

    #[test]
    fn what_is_wrong_in_it_is_named_with_its_place() {
        for (text, wanted) in [
            ("serve: {port: 80}\n", "port"),
            ("serve: {listen: localhost}\n", "socket address"),
            ("serve: {tls: {certificate: a}}\n", "key"),
            ("serve: {tls: {certificate: a, key: b, chain: c}}\n", "chain"),
            ("serve: {allow: [10.1.2.3/8]}\n", "the network is 10.0.0.0/8"),
            ("serve: {allow: [everybody]}\n", "`everybody` is no network"),
            ("serve: {rehash: {every: 0s}}\n", "`0s` is no interval"),
            ("serve: {rehash: {every: 91d}}\n", "at most 90d"),
            ("serve: {rehash: {every: '-1h'}}\n", "is no interval"),
            ("serve: {rehash: {rate: 1KiB}}\n", "at least 64KiB"),
            ("serve: {rehash: {rate: 32MB}}\n", "`32MB` is no rate"),
            ("serve: {rehash: {when: never}}\n", "when"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains("site.yaml:4:") && error.contains(wanted), "{text}: {error}");
        }
    }
}
