//! What a bundle requires of a site before anything changes there. A site looks at every line of it in its
//! preflight checks; what is not met keeps the bundle from being applied.
//!
//! This module knows the words and not the site: whether something holds is `installer`'s to find out.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::ListenPort;
use crate::range::Range;
use crate::string_form::string_form;
use crate::text::{ApiKind, DataKey, DnsLabel, DnsName, FileName, TextError};

/// As many things of one kind a bundle may require.
pub const REQUIRED_MAX: usize = 256;

/// What a site must have. In the inventory there is no word of it if nothing is required.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// Bytes that are free below the targets, beyond what the content of the bundle needs by itself: for what
    /// the software will write there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<NonZeroU64>,
    /// Bytes of memory that are available on the site's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<NonZeroU64>,
    /// Which versions of Kubernetes the cluster may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Range>,
    /// Which versions of Helm the site may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<Range>,
    /// Secrets that are in the cluster.
    #[serde(default, skip_serializing_if = "RequiredSet::is_empty")]
    pub secrets: RequiredSet<SecretRef>,
    /// Storage classes that the cluster has.
    #[serde(default, skip_serializing_if = "RequiredSet::is_empty")]
    pub storage_classes: RequiredSet<DnsName>,
    /// TCP ports of the site's machine on which nobody listens yet.
    #[serde(default, skip_serializing_if = "RequiredSet::is_empty")]
    pub ports: RequiredSet<ListenPort>,
    /// Kinds of objects that the cluster knows: what custom resource definitions bring.
    #[serde(default, skip_serializing_if = "RequiredSet::is_empty")]
    pub apis: RequiredSet<ApiRef>,
    /// Programs that are on the `PATH` of the site's machine.
    #[serde(default, skip_serializing_if = "RequiredSet::is_empty")]
    pub commands: RequiredSet<FileName>,
}

impl Requires {
    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something is required that only a cluster can tell.
    #[must_use]
    pub fn needs_cluster(&self) -> bool {
        self.kubernetes.is_some()
            || !(self.secrets.is_empty() && self.storage_classes.is_empty() && self.apis.is_empty())
    }

    /// One line for each thing, as a person writes it: its key and its value.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        fn one<T: ToString>(key: &'static str, value: Option<&T>) -> Option<(&'static str, String)> {
            value.map(|value| (key, value.to_string()))
        }
        fn each<T: ToString>(
            key: &'static str,
            set: &RequiredSet<T>,
        ) -> impl Iterator<Item = (&'static str, String)> {
            set.iter().map(move |item| (key, item.to_string()))
        }
        let single = [
            self.disk.map(|bytes| ("disk", spelled(bytes.get()))),
            self.memory.map(|bytes| ("memory", spelled(bytes.get()))),
            one("kubernetes", self.kubernetes.as_ref()),
            one("helm", self.helm.as_ref()),
        ];
        let lists = each("secrets", &self.secrets)
            .chain(each("storageClasses", &self.storage_classes))
            .chain(each("ports", &self.ports))
            .chain(each("apis", &self.apis))
            .chain(each("commands", &self.commands));
        single.into_iter().flatten().chain(lists).collect()
    }
}

/// A size as `bundle.yaml` spells it: `2GiB`, or the bytes if no unit fits.
fn spelled(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fits = |(_, bits): &&(&str, u32)| bytes.trailing_zeros() >= *bits;
    match UNITS.iter().find(fits) {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => bytes.to_string(),
    }
}

/// Several things of one kind, each once, at most [`REQUIRED_MAX`] of them. A person writes them in any order; in
/// a document they are sorted by their texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>", bound(deserialize = "T: fmt::Display + PartialEq + Deserialize<'de>"))]
pub struct RequiredSet<T>(Vec<T>);

impl<T> core::ops::Deref for RequiredSet<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> RequiredSet<T> {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for RequiredSet<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: fmt::Display + PartialEq> TryFrom<Vec<T>> for RequiredSet<T> {
    type Error = String;
    fn try_from(mut items: Vec<T>) -> Result<Self, String> {
        if items.len() > REQUIRED_MAX {
            return Err(format!("a list of {} is too long: at most {REQUIRED_MAX}", items.len()));
        }
        items.sort_by_cached_key(ToString::to_string);
        match items.windows(2).find(|pair| matches!(pair, [before, after] if before == after)) {
            Some([twice, ..]) => Err(format!("`{twice}` is there twice")),
            _ => Ok(Self(items)),
        }
    }
}

/// A secret of a cluster, or one key in it: `NAMESPACE/NAME` or `NAMESPACE/NAME:KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// Where it is.
    pub namespace: DnsLabel,
    /// Its name.
    pub name: DnsName,
    /// The key that it has to have; none if it only has to be there.
    pub key: Option<DataKey>,
}

impl FromStr for SecretRef {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parse = || {
            let (namespace, rest) = text.split_once('/')?;
            let (name, key) = rest.split_once(':').map_or((rest, None), |(name, key)| (name, Some(key)));
            let key = key.map(str::parse).transpose().ok()?;
            Some(Self { namespace: namespace.parse().ok()?, name: name.parse().ok()?, key })
        };
        let rule = "NAMESPACE/NAME or NAMESPACE/NAME:KEY, such as fraud-detection/db-password";
        parse().ok_or_else(|| TextError::new(text, "secret", rule))
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ":{key}"))
    }
}

string_form!(SecretRef);

/// A kind of object that a cluster serves: `GROUP/VERSION/KIND`, or `VERSION/KIND` for the core group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRef {
    /// `monitoring.coreos.com`; none for the core group.
    pub group: Option<DnsName>,
    /// `v1`
    pub version: DnsLabel,
    /// `ServiceMonitor`
    pub kind: ApiKind,
}

impl ApiRef {
    /// `apiVersion` of such an object: `GROUP/VERSION`, or `VERSION` alone.
    #[must_use]
    pub fn api_version(&self) -> String {
        self.group
            .as_ref()
            .map_or_else(|| self.version.to_string(), |group| format!("{group}/{}", self.version))
    }
}

impl FromStr for ApiRef {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parse = || {
            let (before, kind) = text.rsplit_once('/')?;
            let (group, version) =
                before.split_once('/').map_or((None, before), |(group, version)| (Some(group), version));
            let group = group.map(str::parse).transpose().ok()?;
            Some(Self { group, version: version.parse().ok()?, kind: kind.parse().ok()? })
        };
        let rule = "GROUP/VERSION/KIND, such as monitoring.coreos.com/v1/ServiceMonitor";
        parse().ok_or_else(|| TextError::new(text, "kind of object", rule))
    }
}

impl fmt::Display for ApiRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.kind)
    }
}

string_form!(ApiRef);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical;
    use std::vec;

    #[test]
    fn a_document_of_every_requirement_is_written_as_it_was_read() {
        let text = "{\"apis\":[\"monitoring.coreos.com/v1/ServiceMonitor\",\"v1/Secret\"],\"commands\":[\"psql\"],\"disk\":2147483648,\"helm\":\">=3.14, <5\",\"kubernetes\":\">=1.28\",\"memory\":1024,\"ports\":[\"127.0.0.1:8080\",\"8080\"],\"secrets\":[\"a/b\",\"a/b:c\"],\"storage_classes\":[\"fast\"]}\n";
        let requires: Requires = serde_json::from_str(text).unwrap();
        assert_eq!(canonical::to_canonical(&requires).unwrap(), text.as_bytes());
        assert_eq!(canonical::from_canonical::<Requires>(text.as_bytes()).unwrap(), requires);
        assert!(requires.needs_cluster() && !requires.is_empty());
        assert_eq!(requires.lines().len(), 12);
        assert_eq!(requires.lines()[3], ("helm", ">=3.14, <5".to_string()));
        assert_eq!(
            [1 << 41, 3 << 29, 1 << 10, 1025, 1].map(spelled),
            ["2TiB", "1536MiB", "1KiB", "1025", "1"]
        );
    }

    #[test]
    fn nothing_required_is_an_empty_document() {
        let nothing: Requires = serde_json::from_str("{}").unwrap();
        assert!(nothing.is_empty() && !nothing.needs_cluster() && nothing.lines().is_empty());
        assert_eq!(canonical::to_canonical(&nothing).unwrap(), b"{}\n");
    }

    #[test]
    fn what_is_not_of_the_wanted_form_is_refused() {
        for bad in [
            "{\"disk\":0}",
            "{\"disk\":\"2GiB\"}",
            "{\"kubernetes\":\"new\"}",
            "{\"secrets\":[\"a\"]}",
            "{\"secrets\":[\"a/b\",\"a/b\"]}",
            "{\"ports\":[8080]}",
            "{\"commands\":[\"-x\"]}",
            "{\"commands\":[\"/bin/sh\"]}",
            "{\"storageClasses\":[\"fast\"]}",
        ] {
            assert!(serde_json::from_str::<Requires>(bad).is_err(), "accepted {bad}");
        }
    }

    #[test]
    fn a_list_has_a_bound() {
        let ports = |count: u16| {
            (1..=count).map(|port| port.to_string().parse::<ListenPort>().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(RequiredSet::try_from(ports(256)).unwrap().len(), 256);
        assert!(RequiredSet::try_from(ports(257)).unwrap_err().contains("at most 256"));
        assert!(RequiredSet::try_from(vec!["a".to_string(), "a".to_string()]).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_secret_has_a_namespace_and_perhaps_a_key() {
        for good in ["a/b", "fraud-detection/db.password", "a/b:KEY_1.x"] {
            assert_eq!(good.parse::<SecretRef>().unwrap().to_string(), good);
        }
        for bad in ["", "a", "/b", "a/", "a/b:", "a/b/c", "a.b/c", "A/b", "a/b:c d", "a/-b"] {
            assert!(bad.parse::<SecretRef>().is_err(), "accepted {bad:?}");
        }
    }

    #[test]
    fn a_kind_of_object_has_a_version() {
        let api: ApiRef = "monitoring.coreos.com/v1/ServiceMonitor".parse().unwrap();
        assert_eq!(api.api_version(), "monitoring.coreos.com/v1");
        let core: ApiRef = "v1/Secret".parse().unwrap();
        assert_eq!((core.group.clone(), core.to_string()), (None, "v1/Secret".to_string()));
        for bad in
            ["", "Secret", "/v1/Secret", "a/b/v1/Secret", "v1/secret", "v1/", "a//Secret", "v1/S ecret"]
        {
            assert!(bad.parse::<ApiRef>().is_err(), "accepted {bad:?}");
        }
    }
}
