//! What the journeys over several versions share: bundles of files, and somebody who watches a run and ends it.

#![allow(dead_code, reason = "each journey is a crate of its own and uses a part of this")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use e2e::{Ran, World};
use installer::apply::{PowerCut, Watch};

use crate::onsite::{build_as_written, site_yaml, tree};

/// A site with a root for files, and with these targets as well.
pub(crate) fn site(targets: &[&str]) -> World {
    let world = World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    let mut all = vec![format!("files: {{root: {}}}", world.path("root").display())];
    all.extend(targets.iter().map(ToString::to_string));
    site_yaml(&world, &all);
    world
}

/// Version `SEQUENCE.0` of a product: files by their path below `/etc/app`, and the rest of `bundle.yaml`.
pub(crate) fn bundle(world: &World, product: &str, sequence: u64, files: &[(&str, &str)], rest: &str) {
    let source = format!("{product}-{sequence}");
    let _ = std::fs::remove_dir_all(world.path(&source));
    for (path, content) in files {
        world.write(&format!("{source}/{path}"), content);
    }
    let files = if files.is_empty() {
        String::new()
    } else {
        format!("files: [{{source: {source}, dest: /etc/app}}]\n")
    };
    world.spec(&format!("{sequence}.0"), sequence, &format!("{files}{rest}"));
    let spec = std::fs::read_to_string(world.path("bundle.yaml")).unwrap();
    world.write("bundle.yaml", spec.replace("product: demo", &format!("product: {product}")));
    build_as_written(world, &format!("{product}-{sequence}.tar"));
}

pub(crate) fn apply(world: &World, product: &str, sequence: u64) -> Ran {
    world.installer(&["apply", &format!("{product}-{sequence}.tar"), "--yes"])
}

pub(crate) fn root(world: &World) -> BTreeMap<PathBuf, String> {
    tree(world, "root", &[])
}

/// Ends a run at one moment, as a power cut would.
pub(crate) struct Cut((&'static str, usize));

impl Cut {
    pub(crate) fn at(moment: (&'static str, usize)) -> Self {
        Self(moment)
    }
}

impl Watch for Cut {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == self.0 { Err(PowerCut) } else { Ok(()) }
    }
}

/// Writes down the moments of a run.
#[derive(Default)]
pub(crate) struct Moments(pub(crate) RefCell<Vec<(&'static str, usize)>>);

impl Watch for Moments {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        self.0.borrow_mut().push((moment, step));
        Ok(())
    }
}
