//! What is read of a chart's archive beside its templates: every `Chart.yaml` and every list of images, of the
//! chart and of the charts inside it, unpacked or packed.
//!
//! *May never* write to disk or believe a size from inside.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// Helm itself reads no larger chart by default.
const UNPACKED_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Bounds one file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How many charts may lie packed inside each other.
const NESTED_MAX: usize = 8;
/// What lists a chart's images; Helm charts spell it in each of these ways.
const LISTS: [&str; 4] = ["Images.lock", "images.lock", "images-lock.yaml", "images-lock.yml"];

/// A file of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartFile {
    /// Its path, the chart's name first.
    pub path: String,
    /// Its text.
    pub text: String,
    /// What it is.
    pub kind: FileKind,
    /// Whether it belongs to the chart itself and not to one inside it.
    pub own: bool,
}

/// What a file of a chart is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `Chart.yaml`
    Chart,
    /// `Images.lock` and its other spellings.
    List,
}

/// What an archive holds beside values and documentation.
#[derive(Debug, Default)]
pub struct Contents {
    /// The files that count, in order of their paths.
    pub files: Vec<ChartFile>,
    /// Whether there is anything that Helm would render: a template, or a definition in `crds/`.
    pub renders: bool,
}

/// Reads an archive to its end.
///
/// # Errors
/// The archive is damaged, or larger than Helm would take.
pub fn read(archive: impl Read) -> io::Result<Contents> {
    let mut budget = UNPACKED_BYTES_MAX;
    let mut contents = Contents::default();
    chart(archive, "", 0, &mut budget, &mut contents)?;
    contents.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(contents)
}

fn chart(
    packed: impl Read,
    above: &str,
    depth: usize,
    budget: &mut u64,
    contents: &mut Contents,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(packed).take(*budget));
    let mut inner = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = format!("{above}{name}");
        let (directory, file) = name.rsplit_once('/').unwrap_or(("", &name));
        let below = directory.split_once('/').map_or("", |(_, below)| below);
        contents.renders |= below.split('/').any(|part| matches!(part, "templates" | "crds"));
        let is_chart = below.is_empty() || is_chart_below(below);
        let kind = match file {
            "Chart.yaml" if is_chart => FileKind::Chart,
            list if is_chart && LISTS.contains(&list) => FileKind::List,
            packed if packed.ends_with(".tgz") && (below == "charts" || below.ends_with("/charts")) => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                inner.push((path, bytes));
                continue;
            }
            _ => continue,
        };
        let mut text = Vec::new();
        entry.take(FILE_BYTES_MAX.saturating_add(1)).read_to_end(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let reason = format!("`{path}` is longer than {FILE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let own = depth == 0 && below.is_empty();
        contents.files.push(ChartFile { path, text: String::from_utf8_lossy(&text).into_owned(), kind, own });
    }
    *budget = archive.into_inner().limit();
    if *budget == 0 {
        let reason = format!("it unpacks to more than {UNPACKED_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    for (path, bytes) in inner {
        // Helm takes what is no chart for none; a bundle whose chart holds one does not render either.
        if depth < NESTED_MAX {
            chart(io::Cursor::new(bytes), &format!("{path}/"), depth.saturating_add(1), budget, contents)?;
        }
    }
    Ok(())
}

/// `charts/db`, `charts/db/charts/exporter`.
fn is_chart_below(below: &str) -> bool {
    let parts: Vec<&str> = below.split('/').collect();
    parts.len().is_multiple_of(2) && parts.iter().step_by(2).all(|part| *part == "charts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tgz(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(encoder);
        for (name, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, *content).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn the_files_of_a_chart_and_of_charts_inside_it_are_found() {
        let packed = tgz(&[("db/Chart.yaml", b"c"), ("db/Images.lock", b"d")]);
        let archive = tgz(&[
            ("app/Chart.yaml", b"a"),
            ("app/images.lock", b"b"),
            ("app/files/Chart.yaml", b"not one"),
            ("app/charts/web/Chart.yaml", b"e"),
            ("app/charts/web/charts/x/Images.lock", b"f"),
            ("app/charts/db-1.0.0.tgz", &packed),
            ("app/charts/web/README.md", b"no"),
        ]);
        let found = read(archive.as_slice()).unwrap();
        assert!(!found.renders);
        let found = found.files;
        let shown: Vec<String> =
            found.iter().map(|file| format!("{} {} {}", file.path, file.text, file.own)).collect();
        assert_eq!(
            shown,
            [
                "app/Chart.yaml a true",
                "app/charts/db-1.0.0.tgz/db/Chart.yaml c false",
                "app/charts/db-1.0.0.tgz/db/Images.lock d false",
                "app/charts/web/Chart.yaml e false",
                "app/charts/web/charts/x/Images.lock f false",
                "app/images.lock b true",
            ]
        );
    }

    #[test]
    fn an_archive_in_an_archive_in_an_archive_ends() {
        let mut packed = tgz(&[("a/Chart.yaml", b"x")]);
        for _ in 0..20 {
            packed = tgz(&[("a/charts/a.tgz", &packed), ("a/Chart.yaml", b"x")]);
        }
        assert_eq!(read(packed.as_slice()).unwrap().files.len(), NESTED_MAX + 1);
        assert!(read(b"no archive".as_slice()).is_err());
    }

    #[test]
    fn what_helm_would_render_is_told_from_the_rest() {
        for (name, renders) in [
            ("a/templates/x.yaml", true),
            ("a/crds/x.yaml", true),
            ("a/charts/b/templates/deep/x.yaml", true),
            ("a/files/x.yaml", false),
            ("a/templates", false),
        ] {
            assert_eq!(read(tgz(&[(name, b"x")]).as_slice()).unwrap().renders, renders, "{name}");
        }
    }
}
