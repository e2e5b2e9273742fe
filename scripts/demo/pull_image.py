#!/usr/bin/env python3
"""Pulls an image over the OCI distribution API, checks every digest, unpacks it and runs its program.

usage: pull_image.py URL REPOSITORY:TAG DIR [DIGEST]

URL is the registry's root, such as http://127.0.0.1:5000/. With DIGEST, the manifest must have it.
Needs no container runtime: the program is started straight from the unpacked layers in DIR.
"""

import gzip
import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MANIFESTS = ", ".join([
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
])
# The registry is the machine next door: no proxy of the environment is asked.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url, expected=None):
    """The body, whose digest is the expected one or else the one that the registry states."""
    with OPENER.open(urllib.request.Request(url, headers={"Accept": MANIFESTS})) as answer:
        body = answer.read()
        stated = answer.headers["Docker-Content-Digest"]
    found = "sha256:" + hashlib.sha256(body).hexdigest()
    for what in (expected, stated):
        if what is not None and what != found:
            sys.exit(f"{url} has digest {found}, expected {what}")
    return body, found


def get_manifest(base, tag, expected):
    body, digest = get(f"{base}/manifests/{tag}", expected)
    manifest = json.loads(body)
    for child in manifest.get("manifests", []):
        if child["platform"]["architecture"] == ARCHITECTURES.get(platform.machine(), platform.machine()):
            return get_manifest(base, child["digest"], child["digest"])
    print(f"manifest {digest}")
    return manifest


def get_blob(base, descriptor):
    body, digest = get(f"{base}/blobs/{descriptor['digest']}", descriptor["digest"])
    if len(body) != descriptor["size"]:
        sys.exit(f"blob {digest} has {len(body)} bytes, expected {descriptor['size']}")
    print(f"blob     {digest} {len(body)} bytes")
    return body


def unpack(layer, into):
    data = gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(into, **safe)


def main(url, name, into, expected=None):
    repository, tag = name.rsplit(":", 1)
    base = f"{url.rstrip('/')}/v2/{repository}"
    into = Path(into).resolve()
    into.mkdir(parents=True, exist_ok=True)
    manifest = get_manifest(base, tag, expected)
    config = json.loads(get_blob(base, manifest["config"]))
    for layer in manifest["layers"]:
        unpack(get_blob(base, layer), into)
    program, *arguments = config["config"]["Entrypoint"]
    command = [str(into / program.lstrip("/")), *arguments]
    print(f"running  {' '.join(command)}", flush=True)
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
