//! `installer post-render`: what Helm starts for us, and nobody else. Reads what Helm has rendered from its standard
//! input and writes it with the images' names on this site (`docs/adr/0020-image-references.md`).

use std::io::{Read, Write};
use std::path::PathBuf;

use clap::Args;
use discovery::reference;
use discovery::rewrite::{self, Decisions};
use edge::{Exit, Failure, Screen};
use serde::{Deserialize, Serialize};

use crate::plan::InstallRelease;

/// What the map is called in a scratch directory.
pub(crate) const MAP_NAME: &str = "images.json";
/// Bounds what Helm hands over, and the map.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The arguments of `post-render`.
#[derive(Debug, Args)]
pub(super) struct PostRenderArgs {
    /// What becomes of each image
    #[arg(long)]
    map: PathBuf,
}

/// The version of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum MapSchema {
    #[serde(rename = "airlock-image-map/v1")]
    V1,
}

/// What becomes of each image.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Map {
    schema: MapSchema,
    images: Vec<(String, String)>,
    left: Vec<String>,
}

impl Map {
    /// That of a step.
    pub(crate) fn of(new: &InstallRelease) -> Self {
        let pair = |image: &crate::plan::RenamedImage| (image.from.clone(), image.to.clone());
        Self { schema: MapSchema::V1, images: new.images.iter().map(pair).collect(), left: new.left.clone() }
    }

    fn decisions(&self) -> Option<Decisions> {
        let pair = |(from, to): &(String, String)| Some((reference::parse(from)?, to.clone()));
        let replaced = self.images.iter().map(pair).collect::<Option<_>>()?;
        Some(Decisions { replaced, left: self.left.iter().cloned().collect() })
    }
}

impl PostRenderArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let unreadable = |what: &str, error: std::io::Error| {
            Failure::new(Exit::Unreachable, format!("cannot read {what}: {error}"))
        };
        let path = screen.env.path(&self.map);
        let map = layout::durable::read_bounded(&path, BYTES_MAX)
            .map_err(|error| unreadable(&path.display().to_string(), error))?;
        let map: Map = serde_json::from_slice(&map)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        let decisions =
            map.decisions().ok_or_else(|| Failure::usage(format!("{}: no image", path.display())))?;
        let mut text = String::new();
        let mut input = (&mut screen.env.stdin).take(BYTES_MAX.saturating_add(1));
        input.read_to_string(&mut text).map_err(|error| unreadable("what Helm has rendered", error))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(Failure::new(
                Exit::NotReady,
                format!("Helm has rendered more than {BYTES_MAX} bytes"),
            ));
        }
        let rewritten = rewrite::stream("helm's output", &text, &decisions)
            .map_err(|error| Failure::new(Exit::NotReady, error.to_string()))?;
        let written = screen.env.stdout.write_all(rewritten.text.as_bytes());
        written
            .and_then(|()| screen.env.stdout.flush())
            .map_err(|error| Failure::new(Exit::Unreachable, format!("cannot write to Helm: {error}")))
    }
}
