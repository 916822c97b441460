#!/usr/bin/env python3
"""The Chinese pages follow the English ones: scripts/check-translations.py [PAGE...]

Every docs/zh-CN/NAME.md has, in the same order, what docs/NAME.md has: headings of the same levels (where the page has
anchors of its own, <a id="...">, each English anchor is among them); code blocks, byte for byte; tables with as many
rows and columns, and the same options, commands and paths (what is in backquotes) in the first column; the same links,
which lead to the Chinese page where there is one. The pages of PAGES must be there. With arguments (docs/zh-CN/reel.md,
or reel) only these are looked at. Ends with 1 and a line for each fault.
"""
import os, re, sys
from collections import Counter
from pathlib import Path

os.chdir(Path(__file__).resolve().parent.parent)
PAGES = ("deployment", "operations", "reel", "http", "behind-a-proxy")
FOLDER = "docs/zh-CN/"
faults = []


class Page:
    """The parts of a page, each with the number of its line."""

    def __init__(self, path):
        self.path, self.headings, self.blocks, self.tables, self.links = path, [], [], [], []
        self.anchors, self.own_anchors = set(), set()
        lines = Path(path).read_text().splitlines()
        at, table = 0, None
        while at < len(lines):
            line, begin = lines[at], at
            fence = re.match(r" *(```+|~~~+)", line)
            if fence:
                at += 1
                while at < len(lines) and lines[at].strip() != fence[1]:
                    at += 1
                self.blocks.append((begin + 1, "\n".join(lines[begin:at + 1])))
                at += 1
            elif line.startswith("    ") and line.strip() and (not at or not lines[at - 1].strip()):
                while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                    at += 1
                self.blocks.append((begin + 1, "\n".join(lines[begin:at]).rstrip("\n")))
            else:
                table = self.row(line, at + 1, table)
                self.text(line, at + 1)
                at += 1
                continue
            table = None

    def row(self, line, number, table):
        """Takes a line of a table; the table that is open after it, or None."""
        if not line.startswith("|"):
            return None
        if table is None:
            table = []
            self.tables.append((number, table))
        table.append((number, re.split(r"(?<!\\)\|", line.strip())[1:-1]))
        return table

    def text(self, line, number):
        heading = re.match(r"(#{1,6}) +(.*?) *#*$", line)
        if heading:
            slug = re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-")
            same = sum(slug == other for _, _, other in self.headings)
            self.headings.append((number, len(heading[1]), slug))
            self.anchors.add(slug + (f"-{same}" if same else ""))
        self.own_anchors.update(re.findall(r'<a id="([^"]+)">', line))
        self.anchors |= self.own_anchors
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            self.links.append((number, target))


def at(page, number, text):
    faults.append(f"{page.path}:{number}: {text}")


def count(page, what, ours, theirs):
    if len(ours) != len(theirs):
        at(page, 1, f"{len(ours)} {what}, the English page has {len(theirs)}")


def target_of(page, target):
    """The file that a link leads to, and the anchor in it."""
    file, _, anchor = target.partition("#")
    return os.path.normpath(os.path.join(os.path.dirname(page.path), file)) if file else page.path, anchor


def english_of(path):
    return "docs/" + path[len(FOLDER):] if path.startswith(FOLDER) else path.replace("README.zh-CN.md", "README.md")


def check_headings(page, english):
    count(page, "headings", page.headings, english.headings)
    for (number, level, _), (line, expected, slug) in zip(page.headings, english.headings):
        if level != expected:
            at(page, number, f"a heading of level {level}, in line {line} of the English page it is {expected}")
            break  # what follows is shifted
        if page.own_anchors and level > 1 and slug not in page.anchors:
            at(page, number, f'the anchor of the English heading is missing: <a id="{slug}"></a>')


def check_blocks(page, english):
    count(page, "code blocks", page.blocks, english.blocks)
    for (number, block), (line, expected) in zip(page.blocks, english.blocks):
        if block != expected:
            at(page, number, f"the code block differs from that in line {line} of the English page")
            if len(page.blocks) != len(english.blocks):
                break


def check_tables(page, english):
    count(page, "tables", page.tables, english.tables)
    for (number, table), (line, expected) in zip(page.tables, english.tables):
        if len(table) != len(expected):
            at(page, number, f"a table of {len(table)} lines, in line {line} of the English page {len(expected)}")
            continue
        for (number, cells), (line, expected_cells) in zip(table, expected):
            if len(cells) != len(expected_cells):
                at(page, number, f"{len(cells)} columns, in line {line} of the English page {len(expected_cells)}")
            elif cells:
                ours, theirs = (re.findall(r"`+([^`]+)`+", row[0]) for row in (cells, expected_cells))
                if ours != theirs:
                    at(page, number, f"the first column names {ours}, in line {line} of the English page {theirs}")


def check_links(page, english):
    ours, theirs = Counter(), Counter()
    for number, target in page.links:
        if "://" in target or target.startswith("mailto:"):
            ours[target] += 1
            continue
        path, anchor = target_of(page, target)
        if path == english.path:
            continue  # the page in English
        ours[english_of(path)] += 1
        name = path[len("docs/"):-len(".md")]
        if path == f"docs/{name}.md" and (name in PAGES or Path(f"{FOLDER}{name}.md").exists()):
            at(page, number, f"the link to {target} leads to the English page")
        if anchor and path.endswith(".md") and Path(path).exists() and anchor not in Page(path).anchors:
            at(page, number, f"the link to {target}: there is no such anchor")
    for _, target in english.links:
        theirs[target if "://" in target or target.startswith("mailto:") else target_of(english, target)[0]] += 1
    for target in sorted((ours - theirs) + (theirs - ours)):
        at(page, 1, f"{ours[target]} links to {target}, the English page has {theirs[target]}")


def check(name):
    path, original = f"{FOLDER}{name}.md", f"docs/{name}.md"
    for wanted in (path, original):
        if not Path(wanted).exists():
            faults.append(f"{wanted}: there is no such page")
            return
    page, english = Page(path), Page(original)
    for part in (check_headings, check_blocks, check_tables, check_links):
        part(page, english)


names = [Path(argument).stem for argument in sys.argv[1:]]
for name in names or sorted({*PAGES, *(path.stem for path in Path(FOLDER).glob("*.md"))}):
    check(name)
print("\n".join(faults), end="\n" if faults else "")
sys.exit(bool(faults))
