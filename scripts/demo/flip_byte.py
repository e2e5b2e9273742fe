#!/usr/bin/env python3
"""Changes one byte in the middle of one entry of a tar file, in place: a bad disc, or a bad person.

usage: flip_byte.py FILE.tar ENTRY

ENTRY is the start of the entry's name; the first that fits and is not empty is taken.
"""

import sys
import tarfile


def main(path, prefix):
    with tarfile.open(path, "r:") as tar:
        entry = next((e for e in tar if e.name.startswith(prefix) and e.size > 0), None)
    if entry is None:
        sys.exit(f"{path} has no entry {prefix}")
    offset = entry.offset_data + entry.size // 2
    with open(path, "r+b") as file:
        file.seek(offset)
        old = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([old ^ 1]))
    print(f"{entry.name}: byte {entry.size // 2} of {entry.size} was {old:#04x}, is {old ^ 1:#04x}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
