#!/usr/bin/env python3
"""Packs one static program as a container image FROM scratch, without Docker.

usage: make_image.py PROGRAM OUT.tar NAME:TAG

The image is an OCI layout in a tar (`oci-archive:OUT.tar:NAME:TAG`) with one gzip layer that holds
/PROGRAM. The same program gives the same bytes. Prints the digest of the image's manifest.
"""

import gzip
import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
OCI = "application/vnd.oci.image"


def tar_of(files):
    """A tar of {name: (mode, bytes)} that does not depend on who makes it, or when."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (mode, data) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def to_json(value):
    return json.dumps(value, separators=(",", ":")).encode()


class Layout:
    """Blobs by digest."""

    def __init__(self):
        self.files = {}

    def add(self, kind, data):
        self.files[f"blobs/sha256/{sha256(data)}"] = (0o644, data)
        return {"mediaType": f"{OCI}.{kind}", "digest": f"sha256:{sha256(data)}", "size": len(data)}


def main(program, out, name):
    program = Path(program)
    layer = tar_of({program.name: (0o755, program.read_bytes())})
    layout = Layout()
    layer_descriptor = layout.add("layer.v1.tar+gzip", gzip.compress(layer, mtime=0))
    config_descriptor = layout.add("config.v1+json", to_json({
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}"]},
        "history": [{"created_by": f"COPY {program.name} /"}],
    }))
    manifest_descriptor = layout.add("manifest.v1+json", to_json({
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": config_descriptor,
        "layers": [layer_descriptor],
    }))
    named = {**manifest_descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [named]}
    Path(out).write_bytes(tar_of({
        "oci-layout": (0o644, to_json({"imageLayoutVersion": "1.0.0"})),
        "index.json": (0o644, to_json(index)),
        **layout.files,
    }))
    print(manifest_descriptor["digest"])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
