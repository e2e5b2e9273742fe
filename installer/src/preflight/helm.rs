//! `helm/version`, `helm/reachable`, `helm/pending`, `helm/release`, `helm/render` and `helm/images`: Helm is there
//! and reaches the cluster, nobody is at work on a release of ours, no release of somebody else would be taken over,
//! every chart renders with the values of this site, and every image in what comes out is there.

use discovery::helm::HelmError;
use discovery::hit::place_line;
use discovery::rewrite::{self, Placed};
use manifests::inventory::Component;
use manifests::range::Range;
use manifests::{Reference, VerifiedBundle};

use super::Finding;
use crate::apply::chain;
use crate::charts::{self, RenderedChart, Renderer, ToInstall};
use crate::journal;
use crate::plan::{Release, Step, no_release};
use crate::references::{self, Resolved};
use crate::rendered::Object;
use crate::site::config::{HelmTarget, ImageReferences};
use crate::targets::Context;
use crate::targets::helm::{Cli, History};

/// How many places of an image a finding names.
const PLACES_SHOWN: usize = 2;

/// Looks at Helm, once, and at each chart that becomes a release.
#[must_use]
pub fn check(bundle: &VerifiedBundle, target: &HelmTarget, context: &Context<'_>) -> Vec<Finding> {
    let charts = charts::to_install(bundle, context.config);
    let required = bundle.inventory().requires.helm.as_ref();
    if charts.is_empty() && required.is_none() {
        return Vec::new();
    }
    let capabilities = charts::capabilities(target, context);
    let renderer = match Renderer::new(target, capabilities, context) {
        Ok(renderer) => renderer,
        Err(error) => return vec![no_helm(&error)],
    };
    let mut findings = vec![version(renderer.helm().version(), required, target)];
    let mut reached = true;
    for (chart, overlays) in &charts {
        let step = no_release(chart.release.clone(), chart.namespace.clone(), target, context.config);
        let history = if reached { Cli::of(&step, context).history() } else { Ok(History::default()) };
        let history = history.unwrap_or_else(|error| {
            reached = false;
            findings.push(unreachable(&chain(&error)));
            History::default()
        });
        findings.extend(release(&step, &history, target, context));
        let upgrade = history.last().is_some_and(|last| last.status != "uninstalled");
        let look = Look { chart, target, bundle, context, major: renderer.helm().major() };
        let rendered = match overlays {
            Ok(()) => renderer.render(chart, upgrade).map_err(|error| chain(&error)),
            Err(error) => Err(chain(error)),
        };
        match rendered {
            Ok(rendered) => findings.extend(look.at(&rendered)),
            Err(words) => findings.push(look.not_rendered(words)),
        }
    }
    if reached && !charts.is_empty() {
        let fact = format!("the cluster of {} answers helm", target.kubeconfig().display());
        findings.insert(1, Finding::pass("helm/reachable", fact, "a cluster that answers"));
    }
    findings
}

/// Whether Helm is of a version that the bundle asks for.
fn version(found: &str, required: Option<&Range>, target: &HelmTarget) -> Finding {
    let fact = format!("`{}` is helm {found}", target.program().display());
    let Some(range) = required else { return Finding::pass("helm/version", fact, "helm 3 or 4") };
    let needed = format!("helm {range}, as the bundle requires");
    match range.admits(found) {
        true => Finding::pass("helm/version", fact, needed),
        false => Finding::fail(
            "helm/version",
            fact,
            needed,
            "install such a helm, or name one with `targets.helm.helm` in site.yaml",
        ),
    }
}

fn no_helm(error: &HelmError) -> Finding {
    let remedy =
        "install helm 3 or 4 and put it on the PATH, or name it with `targets.helm.helm` in site.yaml";
    Finding::fail("helm/version", chain(error), "helm 3 or 4", remedy)
}

fn unreachable(fact: &str) -> Finding {
    Finding::fail(
        "helm/reachable",
        fact,
        "a cluster that answers, and lets us read releases (Secrets of the namespace)",
        "correct `kubeconfig` and `context` of `targets.helm` in site.yaml, start the cluster, or ask for the rights",
    )
}

/// Whether the release may be changed at all.
fn release(step: &Release, history: &History, target: &HelmTarget, context: &Context<'_>) -> Vec<Finding> {
    let place = format!("release {} in {}", step.release, step.namespace);
    let (name, namespace) = (&step.release, &step.namespace);
    let Some(last) = history.last() else {
        return vec![Finding::pass(
            "helm/release",
            format!("{place} is not there yet"),
            "a release of ours, or none",
        )];
    };
    if last.is_pending() {
        let fact = format!("{place} is {} at revision {}", last.status, last.revision);
        if is_left_by_us(step, context) {
            let fact = format!("{fact}, as a run of ours that was cut off has left it");
            let needed = "a release that nobody is at work on";
            return vec![Finding::warn("helm/pending", fact, needed, "nothing: it is brought back first")];
        }
        let before =
            history.0.iter().rev().find(|revision| !revision.is_pending() && revision.status != "failed");
        let clear = before.map_or(format!("helm uninstall {name} -n {namespace}"), |before| {
            format!("helm rollback {name} {} -n {namespace}", before.revision)
        });
        let remedy = format!(
            "see that nobody is at work on it (`helm history {name} -n {namespace}`); what a killed helm has left is cleared with `{clear}`"
        );
        return vec![Finding::fail("helm/pending", fact, "a release that nobody is at work on", remedy)];
    }
    let fact = format!("{place} is {} at revision {} ({})", last.status, last.revision, last.chart);
    let needed = "a release of ours, or none";
    let ours = history.is_ours() || last.status == "uninstalled";
    let whose = match (ours, target.replace) {
        (true, _) => Finding::pass("helm/release", fact.clone(), needed),
        (false, true) => Finding::warn(
            "helm/release",
            format!("{fact}, and came from no bundle"),
            needed,
            "`targets.helm.replace` allows to take it over; an undo gives it back",
        ),
        (false, false) => Finding::fail(
            "helm/release",
            format!("{fact}, and came from no bundle"),
            needed,
            "find out whose it is; `targets.helm.replace: true` in site.yaml takes it over",
        ),
    };
    let mut findings = vec![whose];
    if last.status == "failed" {
        findings.push(Finding::warn(
            "helm/release",
            format!("{fact}: an undo leads back to what is not well now"),
            "a release that is deployed",
            format!("look at it with `helm history {name} -n {namespace}`"),
        ));
    }
    findings
}

/// Whether a run of this site was cut off while it changed a release.
fn is_left_by_us(step: &Release, context: &Context<'_>) -> bool {
    let Ok(Some(found)) = journal::unfinished(context.site) else { return false };
    let same = |(number, planned): (usize, &Step)| match planned {
        Step::Release(planned) => {
            let place = (&planned.release, &planned.namespace, &planned.kubeconfig);
            place == (&step.release, &step.namespace, &step.kubeconfig) && found.was_begun(number)
        }
        _ => false,
    };
    found.plan.steps.iter().enumerate().any(same)
}

struct Look<'a> {
    chart: &'a ToInstall<'a>,
    target: &'a HelmTarget,
    bundle: &'a VerifiedBundle,
    context: &'a Context<'a>,
    major: u32,
}

impl Look<'_> {
    fn not_rendered(&self, words: String) -> Finding {
        let overlays = charts::overlay_paths(self.chart, self.context.config);
        let files: Vec<String> = overlays.iter().map(|path| path.display().to_string()).collect();
        let remedy = match files.as_slice() {
            [] => format!("give what it wants under `values: {{{}: […]}}` in site.yaml", self.chart.release),
            files => format!("correct {}", files.join(", ")),
        };
        let fact = format!("{}: {words}", self.chart.title());
        Finding::fail("helm/render", fact, "a chart that renders with the values of this site", remedy)
    }

    fn at(&self, rendered: &RenderedChart) -> Vec<Finding> {
        let title = self.chart.title();
        let fact = format!("{title} renders to {} objects", rendered.rendered.objects.len());
        let mut findings =
            vec![Finding::pass("helm/render", fact, "a chart that renders with the values of this site")];
        let resolved =
            references::resolve(&rendered.text, &self.chart.chart.images, self.bundle, self.context);
        match resolved {
            Ok(resolved) => findings.extend(self.images(rendered, &resolved)),
            Err(error) => {
                let fact = format!("{title}: {}", chain(&error));
                findings.push(self.image_finding(fact, "start the registry, or correct `targets.registry`"));
            }
        }
        findings
    }

    fn image_finding(&self, fact: String, remedy: &str) -> Finding {
        Finding::fail("helm/images", fact, "images that the bundle carries or the site has", remedy)
    }

    fn images(&self, rendered: &RenderedChart, resolved: &Resolved) -> Vec<Finding> {
        let title = self.chart.title();
        let mut findings = Vec::new();
        for hit in resolved.certainly_missing() {
            let mut places: Vec<String> = hit.places().iter().map(place_line).collect();
            let more = places.len().saturating_sub(PLACES_SHOWN);
            places.truncate(PLACES_SHOWN);
            let more = if more > 0 { format!(" and {more} more places") } else { String::new() };
            let fact = format!("{title} needs image {}, at {}{more}", hit.image, places.join(", "));
            findings.push(self.image_finding(
                fact,
                "ask the sender for a bundle with it, push it to the site's registry, or correct the values of this site",
            ));
        }
        let doubtful: Vec<String> = resolved
            .missing
            .iter()
            .filter(|hit| !resolved.certainly_missing().any(|other| other.image == hit.image))
            .map(|hit| hit.image.to_string())
            .collect();
        if !doubtful.is_empty() {
            findings.push(Finding::warn(
                "helm/images",
                format!("{title} names what looks like images and is not there: {}", doubtful.join(", ")),
                "images that the bundle carries or the site has",
                "find out whether something on site pulls them",
            ));
        }
        if self.target.images == ImageReferences::Mirror {
            findings.extend(self.without_a_mirror(resolved));
        }
        if findings.iter().all(|finding| finding.verdict != super::Verdict::Fail)
            && self.target.images == ImageReferences::Rewrite
        {
            findings.extend(self.rewritten(rendered, resolved));
        }
        if findings.is_empty() {
            let fact = format!("{title}: all {} images are there", resolved.count);
            findings.push(Finding::pass(
                "helm/images",
                fact,
                "images that the bundle carries or the site has",
            ));
        }
        findings
    }

    /// Mirrors are written for the upstream registries of the bundle's images; the site may have others.
    fn without_a_mirror(&self, resolved: &Resolved) -> Vec<Finding> {
        let components = &self.bundle.inventory().components;
        let mirrored = |host: &str| {
            components.iter().any(|component| match component {
                Component::Image(image) => image.name.host() == host,
                _ => false,
            })
        };
        let lost = resolved.decisions.replaced.keys().filter(|image| !mirrored(image.host()));
        let finding = |image: &Reference| {
            let fact = format!("{}: no mirror leads nodes to image {image}", self.chart.title());
            self.image_finding(fact, "give its name in the site's registry with the values of this site")
        };
        lost.map(finding).collect()
    }

    /// Whether the names can be given.
    fn rewritten(&self, rendered: &RenderedChart, resolved: &Resolved) -> Vec<Finding> {
        let title = self.chart.title();
        let needed = "names of images that can be replaced where they stand";
        let remedy = "use `images: mirror`, or give the names with the values of this site";
        let rewritten = match rewrite::stream("helm's output", &rendered.text, &resolved.decisions) {
            Ok(rewritten) => rewritten,
            Err(error) => {
                return vec![Finding::fail("helm/images", format!("{title}: {error}"), needed, remedy)];
            }
        };
        let hidden = rewritten.hidden.iter().map(|placed| {
            let fact = format!("{title}: the name of the image {placed} is not written there as one");
            Finding::fail("helm/images", fact, needed, remedy)
        });
        let mut findings: Vec<Finding> = hidden.collect();
        // Helm 3 hands no hook to a post-renderer, Helm 4 does.
        if self.major == 3 {
            let hooks: Vec<&Object> =
                rendered.rendered.objects.iter().filter(|object| charts::is_hook(object)).collect();
            let in_a_hook = |placed: &&Placed| hooks.iter().any(|hook| stands_in(placed, hook));
            findings.extend(rewritten.done.iter().filter(in_a_hook).map(|placed| {
                Finding::fail(
                    "helm/images",
                    format!(
                        "{title}: the image {placed} is in a hook, which helm 3 hands to no post-renderer"
                    ),
                    needed,
                    "use helm 4 (`targets.helm.helm` in site.yaml), or `images: mirror`",
                )
            }));
        }
        findings
    }
}

/// Whether a place is in an object.
fn stands_in(placed: &Placed, object: &Object) -> bool {
    let Some(name) = &placed.place.object else { return false };
    let own = match object.namespace() {
        Some(namespace) => format!("{}/{namespace}/{}", object.kind(), object.name()),
        None => format!("{}/{}", object.kind(), object.name()),
    };
    name.as_str() == own
}
