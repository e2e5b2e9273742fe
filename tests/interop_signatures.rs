//! Whoever signs, with whatever tool: the signature goes into the archive, the installer takes it, and the
//! tool takes what we sign. Each tool is the real one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::World;
use edge::Exit;
use manifests::PublicKey;
use testkit::real_part;
use testkit::sample::{SampleOptions, sample_bundle};

const SCHEMES: [&str; 3] = ["ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384"];

/// An unsigned bundle, and what a signer is given of it.
struct Desk {
    world: World,
}

impl Desk {
    fn new() -> Self {
        let world = World::new();
        world.write(
            "bundle.tar",
            sample_bundle(&SampleOptions { signers: Vec::new(), ..SampleOptions::default() }).archive,
        );
        world.bundler(&["sign", "bundle.tar", "--prepare", "ceremony"]).ok();
        std::fs::copy(world.path("ceremony/bundle.json"), world.path("bundle.json")).unwrap();
        Self { world }
    }

    /// Runs a program in the directory of the desk.
    fn run(&self, program: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.world.dir()).env("LC_ALL", "C");
        command.env("COSIGN_PASSWORD", "x").env("SOFTHSM2_CONF", self.world.path("softhsm2.conf"));
        command.output().unwrap()
    }

    /// Runs a program that must succeed, and gives what it printed.
    fn ok(&self, program: &Path, args: &[&str]) -> Vec<u8> {
        let output = self.run(program, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {args:?}: {errors}", program.display());
        output.stdout
    }

    /// Attaches a signature that a tool has made, and lets a site judge the bundle that trusts only this key.
    fn site_takes(&self, signature: &str, public_key: &str) {
        let world = &self.world;
        let attach = ["sign", "bundle.tar", "--signature", signature, "--public-key", public_key];
        world.bundler(&attach).ok();
        self.site_trusts(public_key);
        world.installer(&["verify", "bundle.tar"]).ok();
    }

    /// A new site whose root lists this key for bundles.
    fn site_trusts(&self, public_key: &str) {
        let world = &self.world;
        world.bundler(&["key", "new", "--name", "alice", "--out", "roots"]).ok();
        let stem = Path::new(public_key).file_name().unwrap().to_str().unwrap();
        let stem = stem.trim_end_matches(".pub.pem").trim_end_matches(".pub");
        let holder = format!("{stem}=signer");
        let root = world.bundler(&[
            "--output",
            "json",
            "trust",
            "new",
            "--publisher",
            "acme",
            "--release-key",
            public_key,
            "--holder",
            &holder,
            "--root-key",
            "roots/alice.pub.pem",
            "--sign",
            "roots/alice.key.pem",
            "--out",
            "root.json",
        ]);
        let root = root.ok();
        let fingerprint = root.json()["fingerprint"].as_str().unwrap().to_string();
        world.installer(&["trust", "init", "root.json", "--expect-sha256", &fingerprint]).ok();
    }

    /// The signature of this key as it lies in the archive, for a tool to check.
    fn unpacked(&self, tar: &Path, public_key: &str) -> String {
        let text = std::fs::read_to_string(self.world.path(public_key)).unwrap();
        let name = format!("signatures/{}.sig", PublicKey::read(&text).unwrap().id());
        self.ok(tar, &["-xf", "bundle.tar", &name]);
        name
    }

    /// A key of ours, and the bundle signed with it.
    fn sign_with_our_own(&self, scheme: &str) {
        let world = &self.world;
        world.bundler(&["key", "new", "--name", "signer", "--out", "keys", "--scheme", scheme]).ok();
        world.bundler(&["sign", "bundle.tar", "--key", "keys/signer.key.pem"]).ok();
        self.site_trusts("keys/signer.pub.pem");
        world.installer(&["verify", "bundle.tar"]).ok();
    }

    /// Changes the document that a tool is about to check.
    fn tamper(&self) {
        let mut document = std::fs::read(self.world.path("bundle.json")).unwrap();
        document[20] ^= 1;
        self.world.write("bundle.json", document);
    }

    fn close(&self, path: &str) {
        std::fs::set_permissions(self.world.path(path), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// How openssl names the algorithm of a key.
fn genpkey(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "ed25519" => &["-algorithm", "ed25519"],
        "ecdsa-p256-sha256" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        _ => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    }
}

/// The command of the guide that signs with a key of this scheme.
fn openssl_sign(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "ed25519" => &[
            "pkeyutl",
            "-sign",
            "-inkey",
            "key.pem",
            "-rawin",
            "-in",
            "bundle.json",
            "-out",
            "bundle.json.sig",
        ],
        "ecdsa-p256-sha256" => {
            &["dgst", "-sha256", "-sign", "key.pem", "-out", "bundle.json.sig", "bundle.json"]
        }
        _ => &["dgst", "-sha384", "-sign", "key.pem", "-out", "bundle.json.sig", "bundle.json"],
    }
}

fn openssl_verify<'a>(scheme: &str, key: &'a str, signature: &'a str) -> Vec<&'a str> {
    match scheme {
        "ed25519" => vec![
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            key,
            "-rawin",
            "-in",
            "bundle.json",
            "-sigfile",
            signature,
        ],
        "ecdsa-p256-sha256" => {
            vec!["dgst", "-sha256", "-verify", key, "-signature", signature, "bundle.json"]
        }
        _ => vec!["dgst", "-sha384", "-verify", key, "-signature", signature, "bundle.json"],
    }
}

// openssl.

#[test]
fn openssl_signs_and_a_site_takes_it_in_every_scheme() {
    let Some(openssl) = real_part("openssl") else { return };
    for scheme in SCHEMES {
        let desk = Desk::new();
        desk.ok(&openssl, &[&["genpkey"], genpkey(scheme), &["-out", "key.pem"]].concat());
        desk.ok(&openssl, &["pkey", "-in", "key.pem", "-pubout", "-out", "signer.pub.pem"]);
        desk.ok(&openssl, openssl_sign(scheme));
        desk.site_takes("bundle.json.sig", "signer.pub.pem");
    }
}

#[test]
fn openssl_takes_what_we_sign_in_every_scheme() {
    let (Some(openssl), Some(tar)) = (real_part("openssl"), real_part("tar")) else { return };
    for scheme in SCHEMES {
        let desk = Desk::new();
        desk.sign_with_our_own(scheme);
        let signature = desk.unpacked(&tar, "keys/signer.pub.pem");
        let verify = openssl_verify(scheme, "keys/signer.pub.pem", &signature);
        desk.ok(&openssl, &verify);
        desk.tamper();
        assert!(!desk.run(&openssl, &verify).status.success(), "{scheme}");
    }
}

#[test]
fn the_second_reader_takes_what_we_sign_in_every_scheme() {
    let (Some(_), Some(python)) = (real_part("openssl"), real_part("python3")) else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, reader) = page.split_once("```python file=reader.py\n").unwrap();
    let (reader, _) = reader.split_once("```").unwrap();
    for scheme in SCHEMES {
        let desk = Desk::new();
        desk.world.write("reader.py", reader);
        desk.sign_with_our_own(scheme);
        desk.ok(&python, &["reader.py", "bundle.tar", "keys/signer.pub.pem"]);
        let other = ["key", "new", "--name", "other", "--out", "keys", "--scheme", scheme];
        desk.world.bundler(&other).ok();
        let output = desk.run(&python, &["reader.py", "bundle.tar", "keys/other.pub.pem"]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("has not signed"));
        // A signature of this key over something else, under its name.
        let mut archive = std::fs::read(desk.world.path("bundle.tar")).unwrap();
        let head = layout::reader::BundleReader::open(archive.as_slice()).unwrap().head().clone();
        let good = &head.signatures[0].bytes;
        let at = archive.windows(good.len()).position(|window| window == good).unwrap();
        archive[at + good.len() - 1] ^= 1;
        desk.world.write("bundle.tar", archive);
        let output = desk.run(&python, &["reader.py", "bundle.tar", "keys/signer.pub.pem"]);
        assert!(!output.status.success(), "{scheme}");
    }
}

#[test]
fn openssl_and_we_read_each_other_s_private_keys_encrypted_and_not() {
    let (Some(openssl), Some(tar)) = (real_part("openssl"), real_part("tar")) else { return };
    for scheme in SCHEMES {
        let desk = Desk::new();
        desk.world.write("passphrase", "correct horse\n");
        desk.close("passphrase");
        // Theirs: plain, and encrypted in each way that openssl 3 does by itself or is asked to.
        desk.ok(&openssl, &[&["genpkey"], genpkey(scheme), &["-out", "plain.pem"]].concat());
        desk.ok(&openssl, &["pkey", "-in", "plain.pem", "-pubout", "-out", "theirs.pub.pem"]);
        let pass = ["-passout", "file:passphrase"];
        let with_cipher = ["pkey", "-in", "plain.pem", "-aes256", "-out", "pkey.pem"];
        desk.ok(&openssl, &[with_cipher.as_slice(), &pass].concat());
        for (ways, out) in [
            (["-v2", "aes-256-cbc"].as_slice(), "cbc.pem"),
            (&["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512", "-iter", "10000"], "sha512.pem"),
            (&["-scrypt"], "scrypt.pem"),
        ] {
            let convert = ["pkcs8", "-topk8", "-in", "plain.pem", "-out", out];
            desk.ok(&openssl, &[convert.as_slice(), ways, &pass].concat());
        }
        for theirs in ["plain.pem", "pkey.pem", "cbc.pem", "sha512.pem", "scrypt.pem"] {
            desk.close(theirs);
            let sign = ["sign", "bundle.tar", "--key", theirs, "--passphrase-file", "passphrase"];
            desk.world.bundler(&sign).ok();
        }
        let signature = desk.unpacked(&tar, "theirs.pub.pem");
        desk.ok(&openssl, &openssl_verify(scheme, "theirs.pub.pem", &signature));
        // Ours.
        let new = ["key", "new", "--out", "keys", "--scheme", scheme];
        desk.world.bundler(&[new.as_slice(), &["--name", "plain"]].concat()).ok();
        let closed = ["--name", "closed", "--passphrase-file", "passphrase"];
        desk.world.bundler(&[new.as_slice(), &closed].concat()).ok();
        for (name, pass) in [("plain", [].as_slice()), ("closed", ["-passin", "file:passphrase"].as_slice())]
        {
            let private = format!("keys/{name}.key.pem");
            let public = desk.ok(&openssl, &[&["pkey", "-pubout", "-in", &private], pass].concat());
            assert_eq!(public, std::fs::read(desk.world.path(&format!("keys/{name}.pub.pem"))).unwrap());
        }
        let wrong = ["pkey", "-in", "keys/closed.key.pem", "-passin", "pass:wrong"];
        assert!(!desk.run(&openssl, &wrong).status.success());
    }
}

#[test]
fn openssl_s_traditional_keys_are_refused_with_the_way_out() {
    let Some(openssl) = real_part("openssl") else { return };
    let desk = Desk::new();
    desk.ok(&openssl, &["ecparam", "-name", "prime256v1", "-genkey", "-out", "old.pem"]);
    desk.close("old.pem");
    let refused = desk.world.bundler(&["sign", "bundle.tar", "--key", "old.pem"]).expect_exit(Exit::Usage);
    assert!(refused.stderr.contains("traditional format"), "{}", refused.stderr);
    assert!(refused.stderr.contains("openssl pkcs8 -topk8"), "{}", refused.stderr);
    desk.ok(&openssl, &["pkcs8", "-topk8", "-nocrypt", "-in", "old.pem", "-out", "new.pem"]);
    desk.close("new.pem");
    desk.world.bundler(&["sign", "bundle.tar", "--key", "new.pem"]).ok();
}

// cosign. Its version 2.5 hashes with SHA-256 for every EC key, so P-384 is not for it yet.

const SIGN_BLOB: [&str; 4] = ["sign-blob", "--key", "signer.key", "--tlog-upload=false"];

#[test]
fn cosign_signs_and_a_site_takes_it() {
    let (Some(cosign), Some(openssl)) = (real_part("cosign"), real_part("openssl")) else { return };
    for scheme in ["ed25519", "ecdsa-p256-sha256"] {
        let desk = Desk::new();
        if scheme == "ed25519" {
            desk.ok(&openssl, &[&["genpkey"], genpkey(scheme), &["-out", "key.pem"]].concat());
            let import = ["import-key-pair", "--key", "key.pem", "--output-key-prefix", "signer"];
            desk.ok(&cosign, &import);
        } else {
            // Its own kind of key; version 2.5 does not import EC keys in PKCS#8.
            desk.ok(&cosign, &["generate-key-pair", "--output-key-prefix", "signer"]);
        }
        // What it prints is base64, and a file of it is base64 as well.
        let printed = desk.ok(&cosign, &[SIGN_BLOB.as_slice(), &["bundle.json"]].concat());
        desk.world.write("printed", printed);
        let to_file = ["--output-signature", "written", "bundle.json"];
        desk.ok(&cosign, &[SIGN_BLOB.as_slice(), &to_file].concat());
        let attach = ["sign", "bundle.tar", "--public-key", "signer.pub", "--signature", "printed"];
        desk.world.bundler(&attach).ok();
        desk.site_takes("written", "signer.pub");
        // Its private keys are not for us.
        let refused = desk.world.bundler(&["sign", "bundle.tar", "--key", "signer.key"]);
        let refused = refused.expect_exit(Exit::Usage);
        assert!(refused.stderr.contains("cosign sign-blob"), "{}", refused.stderr);
    }
}

#[test]
fn cosign_takes_what_we_sign() {
    let (Some(cosign), Some(tar)) = (real_part("cosign"), real_part("tar")) else { return };
    for scheme in ["ed25519", "ecdsa-p256-sha256"] {
        let desk = Desk::new();
        desk.sign_with_our_own(scheme);
        let signature = desk.unpacked(&tar, "keys/signer.pub.pem");
        let verify = [
            "verify-blob",
            "--key",
            "keys/signer.pub.pem",
            "--signature",
            &signature,
            "--insecure-ignore-tlog=true",
            "bundle.json",
        ];
        desk.ok(&cosign, &verify);
        desk.tamper();
        assert!(!desk.run(&cosign, &verify).status.success(), "{scheme}");
    }
}

// A PKCS#11 token.

struct Token {
    desk: Desk,
    tool: PathBuf,
    module: String,
}

impl Token {
    fn new() -> Option<Self> {
        let (tool, util) = (real_part("pkcs11-tool")?, real_part("softhsm2-util")?);
        let places = ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib64/softhsm"];
        let modules = places.iter().map(|place| Path::new(place).join("libsofthsm2.so"));
        let module = modules.into_iter().find(|module| module.is_file()).expect("SoftHSM has its module");
        let desk = Desk::new();
        std::fs::create_dir(desk.world.path("tokens")).unwrap();
        let tokens = desk.world.path("tokens");
        desk.world.write(
            "softhsm2.conf",
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display()),
        );
        desk.ok(&util, &["--init-token", "--free", "--label", "t", "--pin", "1234", "--so-pin", "1234"]);
        Some(Self { desk, tool, module: module.to_str().unwrap().to_string() })
    }

    fn ok(&self, args: &[&str]) -> String {
        let session = ["--module", &self.module, "--login", "--pin", "1234", "--id", "01"];
        String::from_utf8(self.desk.ok(&self.tool, &[session.as_slice(), args].concat())).unwrap()
    }

    /// The public key of the token as PEM, made of its EC_POINT: this version of the tool cannot export
    /// P-384 by itself.
    fn public_key(&self, head: &str, openssl: &Path) {
        let listed = self.ok(&["--list-objects", "--type", "pubkey"]);
        let point = listed.lines().find_map(|line| line.trim().strip_prefix("EC_POINT:")).unwrap().trim();
        // The point is an octet string: its tag and length come first.
        let hex = format!("{head}{}", &point[4..]);
        let der = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        self.desk.world.write("public.der", der.collect::<Vec<u8>>());
        let convert = ["pkey", "-pubin", "-inform", "DER", "-in", "public.der", "-out", "signer.pub.pem"];
        self.desk.ok(openssl, &convert);
    }
}

#[test]
fn a_token_signs_and_a_site_takes_it_in_every_scheme() {
    let Some(openssl) = real_part("openssl") else { return };
    for (kind, mechanism, hash, head) in [
        ("EC:edwards25519", "EDDSA", None, "302a300506032b6570032100"),
        ("EC:prime256v1", "ECDSA", Some("-sha256"), "3059301306072a8648ce3d020106082a8648ce3d030107034200"),
        ("EC:secp384r1", "ECDSA", Some("-sha384"), "3076301006072a8648ce3d020106052b81040022036200"),
    ] {
        let Some(token) = Token::new() else { return };
        token.ok(&["--keypairgen", "--key-type", kind, "--label", "signer"]);
        token.public_key(head, &openssl);
        let signed = match hash {
            None => "bundle.json",
            Some(hash) => {
                token.desk.ok(&openssl, &["dgst", hash, "-binary", "-out", "digest", "bundle.json"]);
                "digest"
            }
        };
        let sign = ["--sign", "--mechanism", mechanism, "-i", signed, "-o", "bundle.json.sig"];
        token.ok(&sign);
        if hash.is_some() {
            // The two bare numbers, or DER: both are taken.
            let der = ["--signature-format", "openssl"];
            token.ok(&[&sign[..6], &["der.sig"], &der].concat());
            let attach = ["sign", "bundle.tar", "--public-key", "signer.pub.pem", "--signature", "der.sig"];
            token.desk.world.bundler(&attach).ok();
        }
        token.desk.site_takes("bundle.json.sig", "signer.pub.pem");
    }
}

#[test]
fn a_token_that_signs_the_digest_or_does_not_hash_is_explained() {
    let Some(openssl) = real_part("openssl") else { return };
    for (kind, mechanism, head, signed, expected) in [
        ("EC:edwards25519", "EDDSA", "302a300506032b6570032100", "digest", "over the digest of the file"),
        (
            "EC:prime256v1",
            "ECDSA",
            "3059301306072a8648ce3d020106082a8648ce3d030107034200",
            "bundle.json",
            "without a hash",
        ),
    ] {
        let Some(token) = Token::new() else { return };
        token.ok(&["--keypairgen", "--key-type", kind, "--label", "signer"]);
        token.public_key(head, &openssl);
        token.desk.ok(&openssl, &["dgst", "-sha256", "-binary", "-out", "digest", "bundle.json"]);
        // A token takes no more than a digest from `ECDSA`: what people do is to cut the file.
        let mut document = std::fs::read(token.desk.world.path(signed)).unwrap();
        document.truncate(32);
        token.desk.world.write("wrong", document);
        token.ok(&["--sign", "--mechanism", mechanism, "-i", "wrong", "-o", "bundle.json.sig"]);
        let before = std::fs::read(token.desk.world.path("bundle.tar")).unwrap();
        let attach =
            ["sign", "bundle.tar", "--signature", "bundle.json.sig", "--public-key", "signer.pub.pem"];
        let refused = token.desk.world.bundler(&attach).expect_exit(Exit::Refused);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
        assert!(std::fs::read(token.desk.world.path("bundle.tar")).unwrap() == before);
    }
}

#[test]
fn a_token_takes_what_we_sign() {
    // This version of pkcs11-tool cannot put an Ed25519 key on a token, and SoftHSM hashes for nobody.
    let (Some(openssl), Some(tar)) = (real_part("openssl"), real_part("tar")) else { return };
    for (scheme, hash) in [("ecdsa-p256-sha256", "-sha256"), ("ecdsa-p384-sha384", "-sha384")] {
        let Some(token) = Token::new() else { return };
        token.desk.sign_with_our_own(scheme);
        let signature = token.desk.unpacked(&tar, "keys/signer.pub.pem");
        let convert =
            ["pkey", "-pubin", "-in", "keys/signer.pub.pem", "-outform", "DER", "-out", "signer.der"];
        token.desk.ok(&openssl, &convert);
        token.ok(&["--write-object", "signer.der", "--type", "pubkey"]);
        let verify = [
            "--verify",
            "--mechanism",
            "ECDSA",
            "--signature-format",
            "openssl",
            "-i",
            "digest",
            "--signature-file",
            &signature,
        ];
        let digest = ["dgst", hash, "-binary", "-out", "digest", "bundle.json"];
        token.desk.ok(&openssl, &digest);
        assert!(token.ok(&verify).contains("Signature is valid"));
        token.desk.tamper();
        token.desk.ok(&openssl, &digest);
        let session = ["--module", &token.module, "--login", "--pin", "1234", "--id", "01"];
        let output = token.desk.run(&token.tool, &[session.as_slice(), &verify].concat());
        assert!(!String::from_utf8_lossy(&output.stdout).contains("Signature is valid"));
    }
}

// SSH.

fn ssh_key(desk: &Desk, ssh_keygen: &Path) {
    desk.ok(ssh_keygen, &["-q", "-t", "ed25519", "-N", "", "-C", "signer@example", "-f", "id_signer"]);
}

#[test]
fn ssh_keygen_signs_and_a_site_takes_it_and_ssh_keygen_takes_what_is_stored() {
    let (Some(ssh_keygen), Some(tar)) = (real_part("ssh-keygen"), real_part("tar")) else { return };
    for hash in ["hashalg=sha512", "hashalg=sha256"] {
        let desk = Desk::new();
        ssh_key(&desk, &ssh_keygen);
        desk.ok(&ssh_keygen, &["-Y", "sign", "-O", hash, "-n", "airlock", "-f", "id_signer", "bundle.json"]);
        desk.site_takes("bundle.json.sig", "id_signer.pub");
        let stored = desk.unpacked(&tar, "id_signer.pub");
        let same = std::fs::read(desk.world.path("bundle.json.sig")).unwrap();
        assert!(std::fs::read(desk.world.path(&stored)).unwrap() == same);
        // What a site trusts becomes what ssh-keygen trusts.
        let root: manifests::root::RootDocument =
            serde_json::from_slice(&std::fs::read(desk.world.path("root.json")).unwrap()).unwrap();
        let listed = root.keys.values().find(|key| key.holder.as_str() == "signer").unwrap();
        assert_eq!(listed.scheme.as_str(), "sshsig-ed25519");
        let line = PublicKey::listed(listed.scheme, &listed.pem).unwrap().openssh().unwrap();
        desk.world.write("allowed", format!("signer {line}\n"));
        let verify = |namespace: &str| {
            let document = std::fs::File::open(desk.world.path("bundle.json")).unwrap();
            let args = ["-Y", "verify", "-f", "allowed", "-I", "signer", "-n", namespace, "-s", &stored];
            let mut command = Command::new(&ssh_keygen);
            command
                .args(args)
                .current_dir(desk.world.dir())
                .stdin(document)
                .output()
                .unwrap()
                .status
                .success()
        };
        assert!(verify("airlock"));
        assert!(!verify("file"));
        desk.tamper();
        assert!(!verify("airlock"));
    }
}

#[test]
fn ssh_signatures_for_other_things_are_refused_and_explained() {
    let Some(ssh_keygen) = real_part("ssh-keygen") else { return };
    let desk = Desk::new();
    ssh_key(&desk, &ssh_keygen);
    let attach = ["sign", "bundle.tar", "--signature", "bundle.json.sig", "--public-key"];
    let refused = |key: &str, why: &str| {
        let ran = desk.world.bundler(&[attach.as_slice(), &[key]].concat()).expect_exit(Exit::Refused);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    };
    desk.ok(&ssh_keygen, &["-Y", "sign", "-n", "git", "-f", "id_signer", "bundle.json"]);
    refused("id_signer.pub", "another namespace: sign with `ssh-keygen -Y sign -n airlock`");
    std::fs::remove_file(desk.world.path("bundle.json.sig")).unwrap();
    desk.ok(&ssh_keygen, &["-Y", "sign", "-n", "airlock", "-f", "id_signer", "bundle.json"]);
    desk.ok(&ssh_keygen, &["-q", "-t", "ed25519", "-N", "", "-f", "id_other"]);
    refused("id_other.pub", "by another key");
    let pem = PublicKey::read(&std::fs::read_to_string(desk.world.path("id_signer.pub")).unwrap()).unwrap();
    desk.world.write("signer.pub.pem", pem.pem());
    refused("signer.pub.pem", "give the SSH public key");
    desk.ok(&ssh_keygen, &["-q", "-t", "ecdsa", "-N", "", "-f", "id_ecdsa"]);
    let ran = desk.world.bundler(&[attach.as_slice(), &["id_ecdsa.pub"]].concat()).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("another type than ssh-ed25519"), "{}", ran.stderr);
    desk.close("id_signer");
    let ran = desk.world.bundler(&["sign", "bundle.tar", "--key", "id_signer"]).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("ssh-keygen -Y sign -n airlock"), "{}", ran.stderr);
}
