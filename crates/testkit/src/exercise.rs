//! What every parser promises about any input at all: the bodies of the fuzz targets, as plain functions,
//! so that ordinary tests run them too. Each panics if a promise is broken and is silent otherwise.

use base64::Engine as _;
use manifests::checkpoint::Checkpoint;
use manifests::inventory::Inventory;
use manifests::key::{KeyError, Scheme};
use manifests::oci::{
    MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST, MEDIA_INDEX, MEDIA_MANIFEST, ManifestDocument,
};
use manifests::revocation::RevocationDocument;
use manifests::root::{FoundSignature, RootDocument, SIGNATURE_BYTES_MAX};
use manifests::{
    ArchivePath, BundleManifest, Digest, PartsList, PublicKey, Reference, SecretKey, Timestamp, audit,
    canonical,
};

/// Reading an archive never panics and never asks for more memory than its limits allow.
pub fn archive(bytes: &[u8]) {
    let Ok(reader) = layout::reader::BundleReader::open(bytes) else { return };
    let head = reader.head();
    assert!(head.manifest.len() as u64 <= manifests::bundle::MANIFEST_BYTES_MAX);
    let Ok(manifest) = BundleManifest::from_bytes(&head.manifest) else { return };
    let mut reader = reader;
    let Ok((contents, _)) = reader.contents(&manifest) else { return };
    let checked = reader.stream(contents, &mut layout::reader::Discard, &mut |_| {});
    if let Ok(checked) = checked {
        let size: u64 = checked.inventory().contents().map(|(_, content)| content.size).sum();
        assert!(size < bytes.len() as u64, "more content than the archive has bytes");
    }
}

/// A header that is accepted is the one that we would have written.
pub fn header(bytes: &[u8]) {
    let Ok(block) = <layout::header::Block>::try_from(bytes) else { return };
    if let Ok((path, size)) = layout::header::decode(&block) {
        assert_eq!(layout::header::encode(&path, size), block);
    }
}

/// A receipt in any form: what is taken is written again as it was, its pieces give it back, and nobody has signed
/// what a stranger made.
pub fn receipt(bytes: &[u8]) {
    use manifests::receipt::pieces::{LINE_CHARACTERS, Pieces, cut};
    use manifests::receipt::{ReceiptDocument, SignedReceipt, VerifiedReceipt};
    if let Ok(document) = canonical::from_canonical::<ReceiptDocument>(bytes) {
        assert_eq!(document.to_bytes().unwrap(), bytes);
        for (_, line) in document.lines() {
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
    let mut found = Vec::from_iter(SignedReceipt::from_bytes(bytes));
    found.iter().for_each(|signed| assert_eq!(signed.bytes(), bytes));
    let mut pieces = Pieces::default();
    match pieces.read(&String::from_utf8_lossy(bytes)).and_then(|()| pieces.finish()) {
        Ok(signed) => found.push(signed),
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error}"),
    }
    let stranger = SecretKey::from_seed(&[9; 32]).public().unwrap();
    for signed in found {
        assert!(VerifiedReceipt::verify(&signed, std::slice::from_ref(&stranger)).is_err());
        let Ok(cut) = cut(&signed, LINE_CHARACTERS) else { continue };
        let mut again = Pieces::default();
        for piece in cut.iter().rev() {
            again.read(&piece.code()).unwrap();
        }
        assert_eq!(again.finish().unwrap(), signed);
    }
}

/// A recovery file: what its header says is written again as it was, and looking for damage with it ends soon
/// and takes no memory that the file does not have, whatever it claims. What repairs is what the headers vouch
/// for.
pub fn recovery(bytes: &[u8]) {
    use layout::recovery::{RecoveryFile, RecoverySet, repair, survey};
    let (header, archive) = bytes.split_at(bytes.len().min(512));
    if let Ok(block) = layout::recovery::header::HeaderBytes::try_from(header)
        && let Ok(header) = layout::recovery::Header::decode(&block)
    {
        assert_eq!(header.encode(), block);
        assert!(header.geometry.blocks() <= layout::recovery::geometry::BLOCKS_MAX);
    }
    let file = RecoveryFile { source: Box::new(bytes.to_vec()), size: bytes.len() as u64 };
    let Ok(set) = RecoverySet::open(vec![file], None) else { return };
    if set.geometry().length() > 1 << 20 {
        return;
    }
    let found = survey(&set, archive, &mut |_| {});
    assert_eq!(found.is_whole(), found.damaged().is_empty());
    if let Ok(repaired) = repair(&set, found, archive, &std::env::temp_dir(), &mut |_| {}) {
        assert_eq!(repaired.length(), set.geometry().length());
    }
}

/// A patch, and a frame of one: an index that is taken is the one that we would have written, and whatever somebody has
/// signed makes what was signed or nothing, and never more.
pub fn patch(bytes: &[u8]) {
    use layout::patch::{Decoder, FRAME_BYTES_MAX, Index, SEGMENT_BYTES, Segment, Wish};
    use manifests::bundle::Content;
    let base: Vec<u8> = (0..2000_u32).flat_map(u32::to_le_bytes).collect();
    let of = Content::of(&base);
    let make = |wish: Wish, patch: &[u8]| {
        let (mut out, mut decoder) = (Vec::new(), Decoder::new(wish, Some(base.as_slice())));
        let pushed = patch.chunks(1000).try_for_each(|piece| decoder.push(piece, &mut out));
        assert!(out.len() as u64 <= wish.result.size);
        if pushed.and_then(|()| decoder.finish()).is_ok() {
            assert_eq!(Content::of(&out), wish.result);
        }
    };
    // Whatever it states of itself was signed.
    let digest = |at: usize| Some(Digest::from_bytes(bytes.get(at..at + 32)?.try_into().ok()?));
    let size = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    if let (Some(blob), Some(length)) = (digest(16), size(48)) {
        let wish = Wish { result: Content { digest: blob, size: length }, base: of, index: Digest::of(b"") };
        let whole = wish.index_bytes().ok().and_then(|length| usize::try_from(length).ok());
        let head = whole.and_then(|whole| bytes.get(..whole)).unwrap_or(bytes);
        if let Ok(index) = Index::decode(head, &wish) {
            assert_eq!(index.encode(), head);
        }
        make(Wish { index: Digest::of(head), ..wish }, bytes);
    }
    // Whatever it is, it is a frame that an index speaks of.
    let Some((length, frame)) = bytes.split_first_chunk::<4>() else { return };
    let length = u64::from(u32::from_le_bytes(*length) % (SEGMENT_BYTES + 1)).max(1);
    let result = Content { digest: Digest::of(frame), size: length };
    let taken = u32::try_from(frame.len()).unwrap_or(FRAME_BYTES_MAX);
    let segment = Segment { offset: 100, prefix: 7000, frame: taken, digest: Digest::of(frame) };
    let head = Index { result, base: of, segments: vec![segment] }.encode();
    make(Wish { result, base: of, index: Digest::of(&head) }, &[head, frame.to_vec()].concat());
}

/// A document that is accepted is canonical: writing it again gives the same bytes.
pub fn documents(bytes: &[u8]) {
    if let Ok(manifest) = BundleManifest::from_bytes(bytes) {
        assert_eq!(manifest.to_bytes().unwrap(), bytes);
    }
    if let Ok(inventory) = Inventory::from_bytes(bytes) {
        assert_eq!(inventory.to_bytes().unwrap(), bytes);
        let _ = inventory.oci_index().unwrap();
    }
    if let Ok(root) = canonical::from_canonical::<RootDocument>(bytes)
        && let Ok(written) = root.to_bytes()
    {
        assert_eq!(written, bytes);
    }
    if let Ok(list) = RevocationDocument::from_bytes(bytes) {
        assert_eq!(list.to_bytes().unwrap(), bytes);
    }
    if let Ok((entry, next)) = audit::Head::default().follow(bytes) {
        assert_eq!((entry.seq, next.entries), (0, 1));
    }
    // Signed whatever they are: else nothing of it would be parsed.
    let secret = SecretKey::from_seed(&[7; 32]);
    let key = secret.public().unwrap();
    let signature = FoundSignature { claimed: key.id(), bytes: secret.sign(bytes).unwrap() };
    if let Ok(checkpoint) = Checkpoint::verify(bytes, &[signature], &[key]) {
        assert_eq!(checkpoint.document().to_bytes().unwrap(), bytes);
    }
}

/// A list of parts that is accepted is canonical, and its parts lie one behind the other without a gap.
pub fn parts(bytes: &[u8]) {
    let Ok(list) = PartsList::from_bytes(bytes) else { return };
    assert_eq!(list.to_bytes().unwrap(), bytes);
    assert!((1..=manifests::parts::PARTS_MAX).contains(&list.count()));
    let mut end = 0;
    for (number, range) in list.ranges() {
        assert!(range.start == end && range.start < range.end, "part {number}: {range:?}");
        assert_eq!(list.range(number), Some(range.clone()));
        assert_eq!((list.part_at(range.start), list.part_at(range.end - 1)), (number, number));
        assert!(!list.file_name(number).contains('/'));
        end = range.end;
    }
    assert_eq!(end, list.total());
}

/// Somebody else's manifest: read without a panic, never both kinds at once.
pub fn oci(bytes: &[u8]) {
    let taken = |media_type| ManifestDocument::parse(bytes, media_type).ok();
    let image = taken(MEDIA_MANIFEST).or_else(|| taken(MEDIA_DOCKER_MANIFEST));
    let index = taken(MEDIA_INDEX).or_else(|| taken(MEDIA_DOCKER_LIST));
    assert!(image.is_none() || index.is_none(), "one document is an image manifest and an index");
    for child in image.iter().chain(&index).flat_map(ManifestDocument::children) {
        assert!(child.urls.is_empty(), "content that must not travel");
        let _ = child.platform.is_some_and(|platform| platform.matches("linux/arm/v7"));
    }
}

/// The short texts print back what they took.
pub fn texts(text: &str) {
    fn round<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            assert_eq!(value.to_string().parse::<T>().ok(), Some(value));
        }
    }
    round::<Digest>(text);
    round::<ArchivePath>(text);
    round::<Reference>(text);
    round::<Timestamp>(text);
    round::<manifests::KeyId>(text);
    round::<manifests::bundle::BundleDigest>(text);
    round::<manifests::inventory::FileMode>(text);
    round::<manifests::text::BundleVersion>(text);
    round::<manifests::text::PackageVersion>(text);
    round::<manifests::text::Marking>(text);
    round::<manifests::text::LongLine>(text);
    round::<manifests::text::LongLine>(manifests::text::LongLine::printable(text).as_str());
    round::<manifests::text::Name>(text);
    round::<manifests::text::RelativePath>(text);
    round::<manifests::text::Destination>(text);
    round::<manifests::text::FileName>(text);
    round::<manifests::text::Audience>(text);
    round::<manifests::text::DnsLabel>(text);
    round::<manifests::text::DnsName>(text);
    round::<manifests::text::DataKey>(text);
    round::<manifests::text::ApiKind>(text);
    round::<manifests::range::Range>(text);
    round::<manifests::address::HostPort>(text);
    round::<manifests::address::ListenPort>(text);
    round::<manifests::address::HttpUrl>(text);
    round::<manifests::requires::SecretRef>(text);
    round::<manifests::requires::ApiRef>(text);
    round::<manifests::health::RolloutObject>(text);
    let shown = manifests::text::printable(text);
    assert!(shown.chars().all(|c| matches!(c, ' '..='~' | '…')));
}

/// Keys and signatures: what is taken has one spelling, and a file cannot ask for endless work.
pub fn keys(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(key) = PublicKey::read(&text) {
        assert_eq!(PublicKey::listed(key.scheme(), key.pem()), Ok(key.clone()));
        if let Some(line) = key.openssh() {
            assert_eq!(PublicKey::read(&line).map(|again| again.id()), Ok(key.id()));
        }
        assert!(!key.verifies(b"x", bytes), "a key is its own signature");
    }
    if let Ok(key) = SecretKey::from_encrypted_pem(&text, b"correct") {
        let again = SecretKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(key.public(), again.public());
    }
    for key in signature_keys() {
        if let Some(stored) = key.stored_form(SIGNED, bytes) {
            assert!(stored.len() as u64 <= SIGNATURE_BYTES_MAX && key.verifies(SIGNED, &stored));
            assert_eq!(key.stored_form(SIGNED, &stored), Some(stored));
        }
        if key.verifies(SIGNED, bytes) {
            assert_eq!(key.stored_form(SIGNED, bytes).as_deref(), Some(bytes));
        }
    }
}

/// What the signatures for [`keys`] are over.
pub const SIGNED: &[u8] = b"hi\n";

/// The key with the signature that [`sshsig`] gives.
const SSH_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII/v2CRGAo4ChmMn9io4uHUdpSHu0BbwIxd1rufkKLvA";

/// One key of each scheme.
fn signature_keys() -> Vec<PublicKey> {
    let mut keys: Vec<PublicKey> = secret_keys().iter().map(|key| key.public().unwrap()).collect();
    keys.push(PublicKey::from_openssh(SSH_KEY).unwrap());
    keys
}

fn secret_keys() -> Vec<SecretKey> {
    let schemes = [Scheme::Ed25519, Scheme::EcdsaP256Sha256, Scheme::EcdsaP384Sha384];
    let fill = |buffer: &mut [u8]| -> Result<(), KeyError> {
        buffer.fill(7);
        Ok(())
    };
    schemes.into_iter().map(|scheme| SecretKey::generate(scheme, fill).unwrap()).collect()
}

/// Good inputs for [`keys`], to start mutations from: each kind of key file and of signature.
#[must_use]
pub fn key_files() -> Vec<Vec<u8>> {
    let mut files = vec![SSH_KEY.into(), sshsig().into(), ENCRYPTED.into()];
    for key in secret_keys() {
        let signature = key.sign(SIGNED).unwrap();
        files.push(base64::engine::general_purpose::STANDARD.encode(&signature).into_bytes());
        files.push(signature);
        files.push(key.public().unwrap().pem().into());
        files.push(key.to_pem().unwrap().as_bytes().to_vec());
    }
    files
}

/// What `ssh-keygen -Y sign -n airlock` has made of [`SIGNED`].
fn sshsig() -> &'static str {
    "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgj+/YJEYCjgKGYyf2Kji4dR2lIe
7QFvAjF3Wu5+Qou8AAAAAHYWlybG9jawAAAAAAAAAGc2hhNTEyAAAAUwAAAAtzc2gtZWQy
NTUxOQAAAEB5+MA+BSymErTBz63HjBxcOPUucQjMGwJUcg/aEy95L5qeqJtPCOMy8FvQtu
Pn27347FK+dVPZiXF9lDsZgswB
-----END SSH SIGNATURE-----
"
}

/// An Ed25519 key that openssl has encrypted with the passphrase `correct`.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAircxnUDwlRGQICEAAw
DAYIKoZIhvcNAgsFADAdBglghkgBZQMEAQIEEKSZcaVEA/v4IjW8qEA2mWkEQOgr
a9uITZBLGcfU9psr02yVA23hH73BBdFyxUUMZt20c3jbgVfM5iUhMXUO45hj2tl+
ELUaQYjcfqywjby+2B8=
-----END ENCRYPTED PRIVATE KEY-----
";
