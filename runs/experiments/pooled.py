"""One comparison over several run folders of one checkpoint: long readings that were made in pieces, or by a choice.

Folders of `eval` and `choose` are taken; a document that two of them have read counts once. Their code may differ, which
run.json says and this prints: it is for readings too long to be made again, not for a difference that a version could make.

Run: python runs/experiments/pooled.py dynamic-yarn near-linear 8192,16384,24576,32768 FOLDER...
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

from ropewalk.measure.records import Readings, Record, Records
from ropewalk.measure.tables import BITS, compare_sums, sums_by_position

SAME = ("checkpoint", "tokenizer_hash", "dtype")  # in run.json


def read(folders: list[Path], methods: tuple[str, str]) -> list[Record]:
    """The documents that both methods have read, each from the first folder that has it under both."""
    facts = [json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in folders]
    for name in SAME:
        if len(found := {fact[name] for fact in facts}) > 1:
            sys.exit(f"{name} differs: {', '.join(map(str, sorted(found)))}.")
    kept: dict[str, list[Record]] = {}
    for place in (place for folder in folders for place in (folder / "records", folder / "choosing") if place.exists()):
        by_document: dict[str, list[Record]] = {}
        for record in Records(place):
            if record.key.method in methods and "document_hash" in record.facts:
                by_document.setdefault(record.facts["document_hash"], []).append(record)
        for document, records in by_document.items():
            if {record.key.method for record in records} == set(methods):
                kept.setdefault(document, records)
    print("code:", ", ".join(sorted({fact["versions"]["code"] for fact in facts})))
    return [record for records in kept.values() for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base")
    parser.add_argument("other")
    parser.add_argument("edges")
    parser.add_argument("folders", nargs="+", type=Path)
    args = parser.parse_args()
    records = read(args.folders, (args.base, args.other))
    print("documents:", ", ".join(sorted({record.facts["document"] for record in records})))
    edges = [int(edge) for edge in args.edges.split(",")]
    readings = Readings(records)
    print(f"| {args.other}, less than {args.base} | bits | 95 % | by document |\n|---|---|---|---|")
    for span in dict.fromkeys([*itertools.pairwise(edges), (edges[0], edges[-1])]):
        base, other = (sums_by_position(readings, span)[method][0] for method in (args.base, args.other))
        found = compare_sums(base, other, same_tokens=True)
        if found is None:
            continue
        value, low, high = (x * BITS for x in (found.difference.value, found.difference.low, found.difference.high))
        each = " ".join(f"{x:+.3f}" for x in sorted((base.sums - other.sums) / base.counts * BITS))
        print(f"| {span[0]:,}-{span[1]:,} | {value:+.3f} | {low:+.3f} to {high:+.3f} | {each} |")


if __name__ == "__main__":
    main()
