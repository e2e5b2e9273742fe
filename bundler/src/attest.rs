//! The provenance of a bundle: which inputs, from where, became which `bundle.json`, made by which version
//! of this program. It is an in-toto statement (v1) with a SLSA provenance predicate (v1) in a DSSE envelope,
//! a file beside the archive, for tools and policies that read those.
//!
//! The statement follows from `bundle.json`, `inventory.json` and the program's version alone: no time, no
//! host, no path of this machine. So several people can sign the same bytes, each in a place of their own.
//! No check of a bundle rests on it: sites go by the raw signatures over `bundle.json`.
//!
//! *Invariant:* an envelope that this module writes holds only signatures that it has verified against
//! their public keys, or that stood in the file before, over this very statement.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge::{Classified, Exit};
use manifests::bundle::{BundleDigest, Sequence};
use manifests::canonical::{self, CanonicalError};
use manifests::inventory::Component;
use manifests::key::KeyError;
use manifests::sigstore::MessageDigest;
use manifests::text::Audience;
use manifests::{BundleManifest, BundleVersion, Digest, Inventory, KeyId, Name, PublicKey};
use serde::{Deserialize, Serialize};

/// What is inside the envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// How a bundle comes about: the name of `docs/provenance.md`, §2.
pub const BUILD_TYPE: &str = "tag:airlock,2026:bundle/v1";
/// Who brings it about.
pub const BUILDER: &str = "tag:airlock,2026:bundler";
/// Bounds an envelope that is read: a statement about the largest inventory, in base64.
pub const ENVELOPE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why a bundle's provenance cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// A file is not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not writable.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What lies there was not written by us.
    #[error("{} is not an envelope of ours", path.display())]
    Envelope {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: CanonicalError,
    },
    /// It is about something else.
    #[error("{} holds another statement than the one that follows from this bundle", path.display())]
    OtherStatement {
        /// Which file.
        path: PathBuf,
    },
    /// The signature is not this key's over this statement.
    #[error("the signature is not one of key {0} over the provenance of this bundle")]
    Wrong(KeyId),
    /// A good signature that no reader of envelopes would understand.
    #[error(
        "the signature of key {0} is neither a raw Ed25519 nor an ECDSA signature: an envelope takes no other"
    )]
    Kind(KeyId),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
}

impl Classified for AttestError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Write { .. } => Exit::Unreachable,
            Self::Envelope { .. } => Exit::Damaged,
            Self::OtherStatement { .. } | Self::Wrong(_) => Exit::Refused,
            Self::Kind(_) | Self::Key(_) => Exit::Usage,
            Self::Document(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::OtherStatement { .. } => Some(
                "move it away or choose another --out, or use the version of bundler that made it"
                    .to_string(),
            ),
            Self::Wrong(_) => {
                Some("sign the very bytes of the file that `bundler attest --prepare DIR` writes".to_string())
            }
            _ => None,
        }
    }
}

/// An in-toto statement.
#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [Resource; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    build_definition: BuildDefinition<'a>,
    run_details: RunDetails,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition<'a> {
    build_type: &'static str,
    external_parameters: Parameters<'a>,
    resolved_dependencies: Vec<Resource>,
}

/// What a person asked for, as far as `bundle.json` says it.
#[derive(Serialize)]
struct Parameters<'a> {
    publisher: &'a Name,
    product: &'a Name,
    version: &'a BundleVersion,
    order: Sequence,
    audience: &'a [Audience],
}

#[derive(Serialize)]
struct RunDetails {
    builder: Builder,
}

#[derive(Serialize)]
struct Builder {
    id: &'static str,
    version: Version,
}

#[derive(Serialize)]
struct Version {
    bundler: &'static str,
}

/// in-toto's `ResourceDescriptor`.
#[derive(Serialize)]
struct Resource {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    digest: Sha256,
}

#[derive(Serialize)]
struct Sha256 {
    sha256: String,
}

impl Resource {
    fn new(name: String, source: Option<String>, digest: Digest) -> Self {
        Self { name, uri: source, digest: Sha256 { sha256: digest.hex() } }
    }
}

/// Every input of a component: an image by its manifest, a chart by its archive, and each wheel, values file
/// and file by itself. The name starts with the component's ref name.
fn inputs(component: &Component) -> Vec<Resource> {
    let name = component.ref_name();
    match component {
        Component::Image(image) => {
            vec![Resource::new(name, Some(image.source.to_string()), image.manifest.digest)]
        }
        Component::Wheelhouse(wheelhouse) => {
            let source = wheelhouse.source.to_string();
            let wheel = |wheel: &manifests::inventory::Wheel| {
                Resource::new(format!("{name}/{}", wheel.filename), Some(source.clone()), wheel.digest)
            };
            wheelhouse.wheels.iter().map(wheel).collect()
        }
        Component::Chart(chart) => {
            let source = chart.source.to_string();
            let values = chart.values.iter().flat_map(|values| &values.files);
            // Where a values file came from is not in the inventory.
            let values =
                values.map(|file| Resource::new(format!("{name}.values/{}", file.path), None, file.digest));
            let archive = Resource::new(name.clone(), Some(source), chart.archive.digest);
            // What was vendored came with its chart.
            let fetched = |one: &&manifests::inventory::ChartDependency| one.source.as_str() != "vendored";
            let dependency = |one: &manifests::inventory::ChartDependency| {
                let file = format!("{name}/charts/{}-{}.tgz", one.name, one.version);
                Some(Resource::new(file, Some(one.source.to_string()), one.digest?))
            };
            let dependencies = chart.dependencies.iter().filter(fetched).filter_map(dependency);
            std::iter::once(archive).chain(dependencies).chain(values).collect()
        }
        Component::FileSet(set) => {
            let source = set.source.to_string();
            let file = |file: &manifests::inventory::SetFile| {
                Resource::new(format!("{name}/{}", file.path), Some(source.clone()), file.digest)
            };
            set.files.iter().map(file).collect()
        }
        Component::KubernetesManifests(set) => {
            let source = set.source.to_string();
            let file = |file: &manifests::kubernetes::PlainFile| {
                Resource::new(format!("{name}/{}", file.path), Some(source.clone()), file.digest)
            };
            set.files.iter().map(file).collect()
        }
        Component::Script(script) => {
            let file = |file: &manifests::script::ScriptFile| {
                // Where an undo came from is not in the inventory.
                let source = (*file == script.file).then(|| script.source.to_string());
                Resource::new(format!("{name}/{}", file.filename), source, file.digest)
            };
            script.files().into_iter().map(file).collect()
        }
    }
}

/// The statement about one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    statement: Vec<u8>,
}

impl Provenance {
    /// What follows from a bundle's documents. `bundle` is the digest of the bytes that `manifest` was
    /// parsed from, and `inventory` the one that it names.
    ///
    /// # Errors
    /// None for documents of these types.
    pub fn of(
        bundle: BundleDigest,
        manifest: &BundleManifest,
        inventory: &Inventory,
    ) -> Result<Self, AttestError> {
        let statement = Statement {
            kind: "https://in-toto.io/Statement/v1",
            // Not the archive: its bytes change with each signature that is added.
            subject: [Resource::new("bundle.json".to_string(), None, bundle.0)],
            predicate_type: "https://slsa.dev/provenance/v1",
            predicate: Predicate {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE,
                    external_parameters: Parameters {
                        publisher: &manifest.publisher,
                        product: &manifest.product,
                        version: &manifest.version,
                        order: manifest.order,
                        audience: &manifest.audience,
                    },
                    resolved_dependencies: inventory.components.iter().flat_map(inputs).collect(),
                },
                run_details: RunDetails {
                    builder: Builder { id: BUILDER, version: Version { bundler: env!("CARGO_PKG_VERSION") } },
                },
            },
        };
        Ok(Self { statement: canonical::to_canonical(&statement)? })
    }

    /// The statement, in canonical form: the envelope's payload.
    #[must_use]
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// The bytes that are signed: DSSE's pre-authentication encoding. They start with `DSSEv1` and our other
    /// signed documents with `{`, so a signature over one never passes for one over another.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), self.statement.len());
        [head.as_bytes(), &self.statement].concat()
    }
}

/// A DSSE envelope, in canonical form on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: KeyId,
    sig: String,
}

/// A file with a signed statement, or the place for one.
pub struct Attestation {
    path: PathBuf,
    signed_bytes: Vec<u8>,
    envelope: Envelope,
}

impl Attestation {
    /// Opens the file if there is one; nothing is written yet.
    ///
    /// # Errors
    /// It is not readable, not an envelope of ours, or about something else.
    pub fn open(path: &Path, provenance: &Provenance) -> Result<Self, AttestError> {
        let new = Envelope {
            payload: STANDARD.encode(provenance.statement()),
            payload_type: PAYLOAD_TYPE.to_string(),
            signatures: Vec::new(),
        };
        let path = path.to_path_buf();
        let envelope = match layout::durable::read_bounded(&path, ENVELOPE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => new,
            Err(source) => return Err(AttestError::Read { path, source }),
            Ok(bytes) => match canonical::from_canonical::<Envelope>(&bytes) {
                Err(source) => return Err(AttestError::Envelope { path, source }),
                Ok(found) if found.payload == new.payload && found.payload_type == new.payload_type => found,
                Ok(_) => return Err(AttestError::OtherStatement { path }),
            },
        };
        Ok(Self { path, signed_bytes: provenance.signed_bytes(), envelope })
    }

    /// Checks a signature and puts it into the file, which is replaced as a whole. Gives `false` if a good
    /// signature of this key was there already; a bad one gives way.
    ///
    /// # Errors
    /// See [`AttestError`].
    pub fn attach(&mut self, key: &PublicKey, raw: &[u8]) -> Result<bool, AttestError> {
        let keyid = key.id();
        if !key.verifies(&self.signed_bytes, raw) {
            return Err(AttestError::Wrong(keyid));
        }
        if MessageDigest::of_signature(raw).is_none() {
            return Err(AttestError::Kind(keyid));
        }
        let is_good = |found: &EnvelopeSignature| {
            let raw = STANDARD.decode(&found.sig);
            found.keyid == keyid && raw.is_ok_and(|raw| key.verifies(&self.signed_bytes, &raw))
        };
        if self.envelope.signatures.iter().any(is_good) {
            return Ok(false);
        }
        let mut envelope = self.envelope.clone();
        envelope.signatures.retain(|found| found.keyid != keyid);
        envelope.signatures.push(EnvelopeSignature { keyid, sig: STANDARD.encode(raw) });
        let bytes = canonical::to_canonical(&envelope)?;
        layout::durable::replace(&self.path, &bytes, 0o644)
            .map_err(|source| AttestError::Write { path: self.path.clone(), source })?;
        self.envelope = envelope;
        Ok(true)
    }
}

/// What a person takes to the place where the key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prepared {
    /// The bytes to sign.
    pub to_sign: PathBuf,
    /// Their digest.
    pub digest: Digest,
    /// How to sign them.
    pub instructions: PathBuf,
}

/// Writes the bytes to sign and how to do it into a directory.
///
/// # Errors
/// The directory cannot be written to.
pub fn prepare(
    dir: &Path,
    bundle: BundleDigest,
    manifest: &BundleManifest,
    provenance: &Provenance,
) -> Result<Prepared, AttestError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| AttestError::Write { path, source }
    };
    // A new directory: another one may hold what somebody is about to sign.
    std::fs::create_dir(dir).map_err(failed(dir))?;
    let name = file_name(manifest, "provenance");
    let (bytes, to_sign) = (provenance.signed_bytes(), dir.join(format!("{name}.pae")));
    layout::durable::replace(&to_sign, &bytes, 0o644).map_err(failed(&to_sign))?;
    let digest = Digest::of(&bytes);
    let text = instructions(&name, digest, bundle, manifest);
    let instructions = dir.join("SIGN.txt");
    layout::durable::replace(&instructions, text.as_bytes(), 0o644).map_err(failed(&instructions))?;
    Ok(Prepared { to_sign, digest, instructions })
}

/// `PRODUCT-VERSION.ENDING`
#[must_use]
pub fn file_name(manifest: &BundleManifest, ending: &str) -> String {
    format!("{}-{}.{ending}", manifest.product, manifest.version)
}

fn instructions(name: &str, digest: Digest, bundle: BundleDigest, manifest: &BundleManifest) -> String {
    let (product, version, order, marking) =
        (&manifest.product, &manifest.version, manifest.order, &manifest.marking);
    let digest = digest.hex();
    format!(
        "{marking}

The provenance of {product} {version} (order {order})
bundle   {bundle}
sign     {name}.pae
SHA-256  {digest}

Compare the digest with what the person says who gave you this file. What is stated can be read in the file:
everything after the first {{. Then sign the very bytes of the file, by one of these.

Ed25519, a key file:
  openssl pkeyutl -sign -inkey KEY.pem -rawin -in {name}.pae -out {name}.sig
ECDSA on P-256, a key file (on P-384: -sha384):
  openssl dgst -sha256 -sign KEY.pem -out {name}.sig {name}.pae
ECDSA on P-256 in a token (on P-384: -sha384):
  openssl dgst -sha256 -binary -out {name}.digest {name}.pae
  pkcs11-tool --module MODULE --login --sign -m ECDSA --signature-format openssl --id ID -i {name}.digest -o {name}.sig
An Ed25519 key in a token has to be given the whole file, and pkcs11-tool 0.23 gives it 1024 bytes at most.

Bring {name}.sig and the public key back, and put the signature in:
  bundler attest BUNDLE --signature {name}.sig --public-key KEY.pub.pem
"
    )
}
