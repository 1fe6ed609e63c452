"""``gameday faults``: what can be broken, and how hard."""

import argparse

from harness import catalog as catalogs
from harness import schema
from harness.catalog import Catalog


def main(args: argparse.Namespace) -> int:
    """List all, or describe one."""
    catalog = Catalog()
    if args.name:
        print("\n".join(describe(catalog, args.name)))
        return 0
    width = max(map(len, catalog.faults.names()), default=0)
    for name in catalog.faults.names():
        print(f"{name:{width}}  {catalogs.story(catalog.fault(name)).splitlines()[0]}")
    return 0


def describe(catalog: Catalog, name: str) -> list[str]:
    """One fault's page of the catalogue, in Markdown."""
    cls = catalog.fault(name)
    fits = [f"`{s}`" for s in catalog.stacks.names() if catalog.fits(name, s)]
    need = catalogs.capability(cls).__name__
    out = [f"## {name}", "", catalogs.story(cls), ""]
    out += [f"Needs `{need}`; fits {', '.join(fits) or 'no stack yet'}.", ""]
    out += ["| severity | parameters |", "|---|---|"]
    for number, params in enumerate(cls.severities, 1):
        words = ", ".join(f"`{key}: {value}`" for key, value in params.items())
        out.append(f"| {number} | {words} |")
    out += ["", "| defence | protects | why |", "|---|---|---|"]
    out += [f"| `{d.name}` | {d.protects} | {d.why} |" for d in cls.defences]
    if rows := schema.rows(cls):
        out += ["", "| parameter | default | meaning |", "|---|---|---|"]
        out += [f"| `{key}` | `{default}` | {doc} |" for key, default, doc in rows]
    return [*out, ""]
