//! The exact commands that recheck one bundle without this program: public keys, signatures, digests,
//! completeness. They are one POSIX shell script that needs `tar`, `openssl` 3, `sha256sum` and the
//! usual small tools, and `ssh-keygen` where a signer uses an SSH key.
//!
//! *What it never does:* run anything, or put a text of the bundle into a command unquoted. The script
//! trusts the trust root's fingerprint and nothing else that we say: it prints the fingerprint to compare
//! with paper, and every key is hashed again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use manifests::root::{RootDocument, RootKey, SignatureVerdict, Verdict};
use manifests::verify::SignedManifest;
use manifests::{KeyId, Scheme, TrustRoot};
use serde::Serialize;

/// One check: what it shows, and the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What holds if the command ends with exit code 0.
    pub shows: String,
    /// One or more lines of POSIX shell.
    pub command: String,
}

/// Everything that has to be checked, in its order.
#[must_use]
pub fn checks(root: &TrustRoot, signed: &SignedManifest, files: &[PathBuf]) -> Vec<Check> {
    let document = root.document();
    let mut checks = vec![
        Check { shows: "this directory is empty".to_string(), command: "[ -z \"$(ls -A .)\" ]".to_string() },
        // Before anything else is written: a link in the archive must not lead a command of ours elsewhere.
        Check {
            shows: "the archive holds plain files and nothing else".to_string(),
            command: format!(
                "mkdir bundle keys\n{}\n[ -z \"$(find bundle ! -type f ! -type d)\" ]",
                unpack(files)
            ),
        },
    ];
    checks.push(Check {
        shows: "this is the bundle that these commands are for".to_string(),
        command: format!(
            "[ \"$(sha256sum bundle/bundle.json | cut -d' ' -f1)\" = {} ]",
            signed.digest().0.hex()
        ),
    });
    for verdict in counted(signed) {
        if let Some(key) = document.keys.get(&verdict.keyid) {
            let signature = format!("bundle/signatures/{}.sig", verdict.keyid);
            checks.extend(signed_by(verdict.keyid, key, "bundle.json", "bundle/bundle.json", &signature));
        }
    }
    checks.extend(contents(signed));
    checks
}

/// One archive, or its parts one after the other.
fn unpack(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|file| quoted(&file.display().to_string())).collect();
    match names.as_slice() {
        [only] => format!("tar -C bundle -xf {only}"),
        parts => format!("cat {} | tar -C bundle -xf -", parts.join(" ")),
    }
}

/// Signatures that count.
fn counted(signed: &SignedManifest) -> impl Iterator<Item = &SignatureVerdict> {
    signed.signatures().iter().filter(|signature| signature.verdict == Verdict::Good)
}

/// That this key is the one with this id, and that it has signed the document that is called `what`. Both paths go
/// into the commands as they are.
pub(crate) fn signed_by(
    keyid: KeyId,
    key: &RootKey,
    what: &str,
    document: &str,
    signature: &str,
) -> [Check; 2] {
    let pem = format!("keys/{keyid}.pub.pem");
    let write = format!("cat >{pem} <<'END'\n{}END", with_line_feed(&key.pem));
    let hash = format!(
        "[ \"$(openssl pkey -pubin -in {pem} -outform DER | sha256sum | cut -d' ' -f1)\" = {keyid} ]"
    );
    [
        Check {
            shows: format!("the key of {} is the one with this id; compare the id with paper", key.holder),
            command: format!("{write}\n{hash}"),
        },
        Check {
            shows: format!("{} has signed {what} ({})", key.holder, key.scheme),
            command: verify_command(keyid, key, &pem, document, signature),
        },
    ]
}

fn verify_command(keyid: KeyId, key: &RootKey, pem: &str, document: &str, file: &str) -> String {
    match key.scheme {
        Scheme::EcdsaP384Sha384 => {
            format!("openssl dgst -sha384 -verify {pem} -signature {file} {document}")
        }
        Scheme::EcdsaP256Sha256 => {
            format!("openssl dgst -sha256 -verify {pem} -signature {file} {document}")
        }
        // An SSH key is the last 32 bytes of the DER form, behind its name, each with its length.
        Scheme::SshsigEd25519 => {
            let line = format!(
                "{{ printf '\\0\\0\\0\\013ssh-ed25519\\0\\0\\0\\040'; openssl pkey -pubin -in {pem} -outform DER | tail -c 32; }} | base64 -w0"
            );
            format!(
                "echo \"{holder} namespaces=\\\"{namespace}\\\" ssh-ed25519 $({line})\" >keys/{keyid}.allowed\nssh-keygen -Y verify -f keys/{keyid}.allowed -I {holder} -n {namespace} -s {file} <{document}",
                holder = key.holder,
                namespace = manifests::key::SSHSIG_NAMESPACE,
            )
        }
        _ => format!("openssl pkeyutl -verify -pubin -inkey {pem} -rawin -in {document} -sigfile {file}"),
    }
}

fn contents(signed: &SignedManifest) -> [Check; 3] {
    let signatures: String = signed
        .signatures()
        .iter()
        .map(|signature| {
            format!(" signatures/{keyid}.sig signatures/{keyid}.sigstore.json", keyid = signature.keyid)
        })
        .collect();
    [
        Check {
            shows: "the signed document names this very SHA256SUMS".to_string(),
            command:
                "[ \"$(grep -c \"$(sha256sum bundle/SHA256SUMS | cut -d' ' -f1)\" bundle/bundle.json)\" = 1 ]"
                    .to_string(),
        },
        Check {
            shows: "every file is the one that was signed".to_string(),
            command: "(cd bundle && sha256sum --check --strict --quiet SHA256SUMS)".to_string(),
        },
        // The forms for other tools are in some archives and not in others, and nothing here uses them.
        Check {
            shows: "no file is there that nobody signed".to_string(),
            command: format!(
                "printf '%s\\n' bundle.json SHA256SUMS signatures/.reserved{signatures} >keys/listed\nawk '{{print $2}}' bundle/SHA256SUMS >>keys/listed\n(cd bundle && find . -type f | cut -c3-) >keys/found\n[ -z \"$(grep -v -x -F -f keys/listed keys/found)\" ]"
            ),
        },
    ]
}

/// The whole script.
#[must_use]
pub fn script(root: &TrustRoot, signed: &SignedManifest, files: &[PathBuf]) -> String {
    let manifest = signed.manifest();
    let mut text = format!(
        "#!/bin/sh\n# {marking}\n# Rechecks {publisher} {product} {version} (order {order})\n# bundle     {digest}\n# trust root version {root_version}, fingerprint {fingerprint}: compare it with paper\n",
        marking = manifest.marking,
        publisher = manifest.publisher,
        product = manifest.product,
        version = manifest.version,
        order = manifest.order,
        digest = signed.digest(),
        root_version = root.document().version,
        fingerprint = root.fingerprint().hex(),
    );
    for line in needed(root.document()) {
        text.push_str(&format!("# {line}\n"));
    }
    text.push_str("# Needs tar, openssl 3.0 or newer and sha256sum. Run it in an empty directory; it ends with\n# `all of it holds`, or stops at the first check that does not hold and names it.\n");
    text.push_str(STOPS);
    for check in checks(root, signed, files) {
        text.push_str(&in_script(&check));
    }
    for signature in signed.signatures().iter().filter(|signature| signature.verdict != Verdict::Good) {
        text.push_str(&format!("\n# {}\n", signature.line()));
    }
    text.push_str(&format!("\necho 'all of it holds: {}'\n", tally(root.document(), signed)));
    text
}

/// What the root asks for, in words: one line for each clause.
fn needed(root: &RootDocument) -> Vec<String> {
    let clause = |clause: &manifests::root::Clause| {
        let (threshold, holders) = (clause.threshold, root.holders(clause));
        format!("needed     {threshold} of {holders}; a holder counts once, however many keys")
    };
    root.roles.release.clauses.iter().map(clause).collect()
}

fn tally(root: &RootDocument, signed: &SignedManifest) -> String {
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in counted(signed) {
        if let Some(key) = root.keys.get(&verdict.keyid) {
            *holders.entry(key.holder.as_str()).or_default() += 1;
        }
    }
    let names: Vec<&str> = holders.keys().copied().collect();
    format!("signed by {}", names.join(", "))
}

/// How a script begins that stops at the first check that does not hold, and names it.
pub(crate) const STOPS: &str = "set -eu\ntrap '[ $? = 0 ] || echo \"does not hold: $what\" >&2' EXIT\n";

/// A check as a part of such a script.
pub(crate) fn in_script(check: &Check) -> String {
    format!("\nwhat={}\n{}\n", quoted(&check.shows), check.command)
}

/// A text in single quotes: nothing in it means anything to a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn with_line_feed(pem: &str) -> String {
    format!("{}\n", pem.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_say_anything_to_the_shell() {
        assert_eq!(quoted("/media/a b/it's $(x)"), "'/media/a b/it'\\''s $(x)'");
    }
}
