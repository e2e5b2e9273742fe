//! A chart's directory, packed into the cache: the same bytes each time. Sorted names, no times or owners,
//! and what `.helmignore` says left out.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::GzBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use manifests::bundle::Content;
use manifests::text::Name;

use super::super::World;
use super::SMALL_FILE_BYTES_MAX;
use super::archive::ChartYaml;
use super::error::{ChartError, not_a_chart};

/// The level of `helm package`.
const LEVEL: u32 = 6;

/// A file that is packed beside those of the directory.
#[derive(Debug)]
pub(super) struct Extra {
    /// Its path in the chart.
    pub(super) name: PathBuf,
    /// Where it is.
    pub(super) file: PathBuf,
}

/// Packs a chart's directory into the cache.
///
/// # Errors
/// It is no chart, or cannot be read.
pub(super) fn pack(
    directory: &Path,
    shown: &Path,
    extras: &[Extra],
    world: &World<'_>,
) -> Result<Content, ChartError> {
    let read = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ChartError::Read { path, source }
    };
    let yaml_path = directory.join("Chart.yaml");
    let text = layout::durable::read_bounded(&yaml_path, SMALL_FILE_BYTES_MAX);
    let text = text.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => not_a_chart(shown, "it has no Chart.yaml".to_string()),
        _ => ChartError::Read { path: shown.join("Chart.yaml"), source: error },
    })?;
    let yaml: ChartYaml =
        edge::yaml::parse(&format!("{}/Chart.yaml", shown.display()), &String::from_utf8_lossy(&text))?;
    let name: Name =
        yaml.name.parse().map_err(|source| ChartError::Field { path: shown.to_path_buf(), source })?;
    let ignored = helmignore(directory).map_err(read(&shown.join(".helmignore")))?;
    let mut names = Vec::new();
    collect(directory, Path::new(""), &ignored, &mut names).map_err(read(shown))?;
    let own = names.into_iter().map(|name| Extra { file: directory.join(&name), name });
    let more = extras.iter().map(|extra| Extra { name: extra.name.clone(), file: extra.file.clone() });
    let mut files: Vec<Extra> = own.chain(more).collect();
    // Helm looks at the first entry to tell a chart, and `helm package` puts Chart.yaml there.
    files.sort_by_key(|file| (file.name.as_path() != Path::new("Chart.yaml"), file.name.clone()));
    let content = world.cache.add(&mut |out| write_archive(name.as_str(), &files, out));
    content.map_err(ChartError::Cache)
}

fn write_archive(chart: &str, files: &[Extra], out: &mut dyn Write) -> io::Result<()> {
    let encoder = GzBuilder::new().mtime(0).operating_system(255).write(out, flate2::Compression::new(LEVEL));
    let mut archive = tar::Builder::new(encoder);
    for wanted in files {
        let file = File::open(&wanted.file)?;
        let mut header = tar::Header::new_ustar();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, Path::new(chart).join(&wanted.name), file)?;
    }
    archive.into_inner()?.finish()?.flush()
}

fn helmignore(directory: &Path) -> io::Result<Gitignore> {
    let mut builder = GitignoreBuilder::new(directory);
    // Helm's own default rule.
    let added = builder.add_line(None, "templates/.?*").map(|_| ());
    let path = directory.join(".helmignore");
    let added =
        added.and_then(|()| if path.exists() { builder.add(&path).map_or(Ok(()), Err) } else { Ok(()) });
    added.and_then(|()| builder.build()).map_err(io::Error::other)
}

/// The files below a directory, by their path below it.
fn collect(root: &Path, below: &Path, ignored: &Gitignore, names: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if ignored.matched(&name, kind.is_dir()).is_ignore() {
            continue;
        }
        if kind.is_dir() {
            collect(root, &name, ignored, names)?;
        } else if kind.is_file() {
            names.push(name);
        } else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is a link or a device", name.display()),
            ));
        }
    }
    Ok(())
}
