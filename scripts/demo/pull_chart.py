#!/usr/bin/env python3
"""Downloads a chart from a Helm repository as helm would: by its index.yaml, with the digest checked.

usage: pull_chart.py REPOSITORY-URL NAME-VERSION.tgz OUT
"""

import hashlib
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url):
    with OPENER.open(url) as answer:
        return answer.read()


def main(repository, name, out):
    repository = repository.rstrip("/") + "/"
    index = get(repository + "index.yaml").decode()
    # The standard library reads no YAML. A URL and a digest are single words, quoted or not.
    urls = [url for url in re.findall(r"""[^\s"'\[\],]+\.tgz""", index) if url.endswith("/" + name) or url == name]
    if not urls:
        sys.exit(f"{repository}index.yaml does not list {name}")
    chart = get(urllib.parse.urljoin(repository, urls[0]))
    digest = hashlib.sha256(chart).hexdigest()
    if digest not in index:
        sys.exit(f"{urls[0]} has digest {digest}, which index.yaml does not state")
    Path(out).write_bytes(chart)
    print(f"chart    sha256:{digest} {len(chart)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
