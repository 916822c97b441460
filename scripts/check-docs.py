#!/usr/bin/env python3
"""What the pages name is there: scripts/check-docs.py

Every link of a page to a file of the repository, and every path in backquotes, leads somewhere (`common/base/log.c`, a
folder, a pattern with *; in docs/architecture.md and CONTRIBUTING.md also a bare file name like `log.h`).
docs/architecture.md shows the floors that scripts/check-floors.py checks. README.md and README.zh-CN.md have the same
headings, commands and links (those of docs/zh-CN count as those of docs). Ends with 1 and a line for each fault.
"""
import os, re, subprocess, sys
from pathlib import Path

os.chdir(Path(__file__).resolve().parent.parent)
tracked = set(subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], text=True).splitlines())
folders = {str(parent) for path in tracked for parent in Path(path).parents} - {"."}
tops = {path.split("/")[0] for path in tracked if "/" in path}
names = {path.rsplit("/", 1)[-1] for path in tracked}
STRICT = ("docs/architecture.md", "CONTRIBUTING.md")
faults = []


def there(path):
    path = path.rstrip("/")
    if "*" in path:
        return any(Path(entry).match(path) for entry in tracked)
    return path in tracked or path in folders


def check(page):
    text = Path(page).read_text()
    for number, line in enumerate(text.splitlines(), 1):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", line):
            if "://" not in target and not target.startswith("mailto:"):
                if not there(os.path.normpath(os.path.join(os.path.dirname(page), target))):
                    faults.append(f"{page}:{number}: the link to {target} leads nowhere")
        for quoted in re.findall(r"`([^`]+)`", line):
            if re.search(r"[A-Z]{3,}|[<>{}$]|\.\.\.", quoted) and not quoted.endswith(".md"):
                continue  # a pattern such as conf/NAME.conf
            for word in quoted.split():
                word = word.rstrip(",.;:")
                if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", word):
                    first = word.split("/")[0]
                    if "/" in word and first in tops:
                        if not there(word) and not there(os.path.normpath(os.path.join(os.path.dirname(page), word))):
                            faults.append(f"{page}:{number}: there is no {word}")
                    elif page in STRICT and re.fullmatch(r"[\w-]+\.(c|h|py|sh)", word) and word not in names:
                        faults.append(f"{page}:{number}: there is no file {word}")


def shape(page):
    """What must be the same in every language."""
    text = Path(page).read_text()
    commands = re.findall(r"^    (?! )(.*?)\s*(?:#.*)?$", text, re.M)
    links = re.findall(r"\]\(([^)]+)\)", text)
    return [line.count("#") for line in re.findall(r"^#+ ", text, re.M)], commands, \
        sorted(link.replace("docs/zh-CN/", "docs/") for link in links if not link.startswith("README"))


for page in sorted(path for path in tracked if path.endswith(".md") and Path(path).exists()):
    check(page)
picture = subprocess.check_output(["scripts/check-floors.py", "--picture"], text=True).rstrip("\n")
if picture not in Path("docs/architecture.md").read_text():
    faults.append("docs/architecture.md does not show the floors as scripts/check-floors.py --picture prints them")
for what, english, chinese in zip(("headings", "commands", "links"), shape("README.md"), shape("README.zh-CN.md")):
    if english != chinese:
        differ = [f"{a!r} / {b!r}" for a, b in zip(english, chinese) if a != b] or [f"{len(english)} / {len(chinese)}"]
        faults.append(f"README.md and README.zh-CN.md have different {what}: {differ[0]}")
print("\n".join(faults), end="\n" if faults else "")
sys.exit(bool(faults))
