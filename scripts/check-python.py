#!/usr/bin/env python3
"""What Python files of the house have and nothing uses: scripts/check-python.py

Lists every import whose name neither its file uses nor another one imports from there, and every function, class or
constant at the top of a file that nothing names: neither its own file, nor an import or attribute of another one, nor,
where it is a fixture of pytest, a parameter; and every name that a file imports from another file of the house, which
does not have it. Ends with 1 where there is one. It reads the files and runs none of them.
"""
import ast, re, subprocess, sys
from collections import Counter
from pathlib import Path

# What pytest finds by its name.
CALLED = re.compile(r"test|Test|pytest")


def is_python(path):
    if path.endswith(".py"):
        return True
    with open(path, "rb") as file:
        return re.match(rb"#!.*python", file.readline()) is not None


def names_in(tree):
    """How often a name is used in a file or a part of it: also as a parameter or a word of a string, but not by an import."""
    used = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            used[node.id] += 1
        elif isinstance(node, ast.arg):
            used[node.arg] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.update(re.findall(r"\w+", node.value))
    return used


def taken_by(tree):
    """Names of other files that a file takes: by imports (module.name too) and as attributes; and its parameters, which
    may be fixtures."""
    taken, parameters = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            taken.update(alias.name for alias in node.names)
            taken.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            taken.add(node.attr)
        elif isinstance(node, ast.arg):
            parameters.add(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # usefixtures(...), getfixturevalue(...)
            parameters.add(node.value)
    return taken, parameters


def imports_of(tree):
    """Names that imports bind, each with its line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") != "__future__":
            for alias in node.names:
                yield (alias.asname or alias.name).split(".")[0], node.lineno


def tops_of(tree):
    """What is defined at the top of a file: name, line, uses inside of its own definition, whether it is a fixture. A
    table of numbers (A, B = 1, 2) is there as a whole."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            marks = " ".join(ast.dump(mark) for mark in node.decorator_list)
            if "autouse" not in marks:
                yield node.name, node.lineno, names_in(node)[node.name], "fixture" in marks
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.lineno, 0, False


def missing_in(tree, bound):
    """Names that a file takes from another one of the house and that are not there. BOUND: by the file's name, what each has."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module in bound:
            for alias in node.names:
                if alias.name not in bound[node.module] | {"*"}:
                    yield f"{node.module}.{alias.name}", node.lineno
        elif isinstance(node, ast.Import):
            modules.update((alias.asname or alias.name, alias.name) for alias in node.names if alias.name in bound)
    rebound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    rebound |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in set(modules) - rebound:
            module = modules[node.value.id]
            if node.attr not in bound[module] and not node.attr.startswith("__"):
                yield f"{module}.{node.attr}", node.lineno


def bound_by(trees):
    """What the files of each name have: those of one name in several folders together."""
    bound = {}
    for path, tree in trees.items():
        own = bound.setdefault(Path(path).stem, set())
        own.update(name for name, _ in imports_of(tree))
        own.update(node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)))
        own.update(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return bound


def main():
    files = [path for path in subprocess.check_output(["git", "ls-files"], text=True).split("\n") if Path(path).is_file()]
    trees = {path: ast.parse(Path(path).read_text(), path) for path in filter(is_python, files)}
    taken, parameters, bad = set(), set(), []
    for tree in trees.values():
        names, fixtures = taken_by(tree)
        taken |= names
        parameters |= fixtures
    bound = bound_by(trees)
    for path, tree in trees.items():
        bad += [f"{path}:{line}: there is no {name}" for name, line in missing_in(tree, bound)]
        if path.endswith("__init__.py"):
            continue  # its names are for others
        own = names_in(tree)
        for name, line in imports_of(tree):
            if not own[name] and f"{Path(path).stem}.{name}" not in taken:
                bad.append(f"{path}:{line}: {name} is imported and not used")
        for name, line, inside, fixture in tops_of(tree):
            if not (CALLED.match(name) or own[name] > inside or name in taken or fixture and name in parameters):
                bad.append(f"{path}:{line}: nothing uses {name}")
    print("\n".join(bad), end="\n" if bad else "")
    return bool(bad)


sys.exit(main())
