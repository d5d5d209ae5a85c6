#!/usr/bin/env python3
"""Counts the code lines of src by module, and the lines of its functions.

    scripts/code_lines.py            the tables of docs/develop/sizes.md
    scripts/code_lines.py DIRECTORY  the tables of another tree (a directory with main.rs or lib.rs)
    scripts/code_lines.py --check    fails if a function or the p90 is longer than allowed

A code line contains something other than white space and comments. Tests are not counted: items after
`#[cfg(test)]`, and the files of modules declared after it (tests.rs, and files that only tests use).
The lines of a function are those from `fn` to its closing brace.
"""

import re
import statistics
import sys
from pathlib import Path

LONGEST = 60
P90 = 20
# A function with one of these is not a table. A table is a list of entries.
CONTROL = re.compile(r"\b(?:if|match|for|while|loop)\b|\?[;.,)\s]")

TOKEN = re.compile(
    r"""
      (?P<line>//[^\n]*)
    | (?P<block>/\*)
    | (?P<raw>\b(?:b|c)?r(?P<hashes>\#*)"(?:.|\n)*?"(?P=hashes))
    | (?P<string>\b[bc]?"(?:[^"\\]|\\.|\\\n)*"|"(?:[^"\\]|\\.|\\\n)*")
    | (?P<char>b?'(?:[^'\\\n]|\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F_]+\}|.))')
    """,
    re.VERBOSE,
)
TEST = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]")
ATTRIBUTE = re.compile(r"\s*#\[")
ITEM = re.compile(r"\s*(?:pub(?:\([^)]*\))?\s+)?(?:async\s+|const\s+|unsafe\s+|extern\s+)*"
                  r"(?:fn|mod|impl|struct|enum|trait|use|static|type|macro_rules|const)\b")
MODULE = re.compile(r"\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;")
FUNCTION = re.compile(r"\bfn\s+(\$?\w+)")
OPEN, CLOSE = "([{", ")]}"


def blank(text):
    """Replaces everything except line ends by spaces."""
    return re.sub(r"[^\n]", " ", text)


def end_of_block_comment(text, start):
    depth, at = 0, start
    for found in re.finditer(r"/\*|\*/", text[start:]):
        depth += 1 if found.group() == "/*" else -1
        at = start + found.end()
        if depth == 0:
            break
    return at


def without_comments(text):
    """Returns the text without comments, and the same with the contents of strings masked as `s`."""
    code, masked, at = [], [], 0
    while found := TOKEN.search(text, at):
        plain = text[at:found.start()]
        code.append(plain)
        masked.append(plain)
        end = found.end()
        if found["block"]:
            end = end_of_block_comment(text, found.start())
        piece = text[found.start():end]
        if found["line"] or found["block"]:
            code.append(blank(piece))
            masked.append(blank(piece))
        else:
            code.append(piece)
            masked.append(re.sub(r"[^\n]", "s", piece))
        at = end
    return "".join(code) + text[at:], "".join(masked) + text[at:]


def matching(masked, at):
    """Returns the position after the bracket that closes the one at `at`."""
    depth = 0
    for index in range(at, len(masked)):
        if masked[index] in OPEN:
            depth += 1
        elif masked[index] in CLOSE:
            depth -= 1
            if depth == 0:
                return index + 1
    return len(masked)


def end_of_item(masked, at):
    """Returns the end of the item, field, arm or statement at `at`, and skips its attributes."""
    while ATTRIBUTE.match(masked, at):
        at = matching(masked, masked.index("[", at))
    ends = ";" if ITEM.match(masked, at) else ",;"
    while at < len(masked):
        character = masked[at]
        if character in ends:
            return at + 1
        if character in OPEN:
            at = matching(masked, at)
            if character == "{":
                return at
        elif character in CLOSE:
            return at
        else:
            at += 1
    return at


def without_tests(code, masked):
    """Removes what follows `#[cfg(test)]` from both, and returns the names of the modules declared there."""
    modules = []
    while found := TEST.search(masked):
        end = end_of_item(masked, found.end())
        item = masked[found.end():end]
        declared = MODULE.search(item)
        if declared and ";" in item and "{" not in item:
            modules.append(declared.group(1))
        code = code[:found.start()] + blank(code[found.start():end]) + code[end:]
        masked = masked[:found.start()] + blank(masked[found.start():end]) + masked[end:]
    return code, masked, modules


def lines(code):
    return sum(1 for line in code.split("\n") if line.strip())


def functions(path, code, masked):
    """Yields lines and name of each function that has a body, and whether it is a table."""
    for found in FUNCTION.finditer(masked):
        at = found.end()
        while at < len(masked) and masked[at] not in ";{}":
            at = matching(masked, at) if masked[at] in "([" else at + 1
        if at < len(masked) and masked[at] == "{":
            end = matching(masked, at)
            start = masked.rfind("\n", 0, found.start()) + 1
            is_table = not CONTROL.search(masked, at, end)
            yield lines(code[start:end]), f"{path}: {found.group(1)}", is_table


def module_files(path, name):
    """Returns the file of a module that `path` declares, and the directory of its submodules."""
    home = path.parent if path.name in ("mod.rs", "lib.rs", "main.rs") else path.with_suffix("")
    return [home / f"{name}.rs", home / name]


def count(root):
    texts, left_out = {}, set()
    for path in sorted(root.rglob("*.rs")):
        code, masked = without_comments(path.read_text(encoding="utf-8"))
        code, masked, modules = without_tests(code, masked)
        if re.search(r"#!\[cfg\(test\)\]", masked):
            left_out.add(path)
        for name in modules:
            left_out.update(module_files(path, name))
        texts[path] = (code, masked)
    rooms, sizes = {}, []
    for path, (code, masked) in texts.items():
        if path in left_out or left_out.intersection(path.parents):
            continue
        relative = path.relative_to(root)
        room = relative.parts[0].removesuffix(".rs")
        files, code_lines = rooms.get(room, (0, 0))
        rooms[room] = (files + 1, code_lines + lines(code))
        sizes.extend(functions(relative, code, masked))
    return rooms, sizes


def main():
    arguments = sys.argv[1:]
    check = "--check" in arguments
    named = [argument for argument in arguments if argument != "--check"]
    root = Path(named[0]) if named else Path(__file__).resolve().parent.parent / "src"
    rooms, sizes = count(root)
    long = sorted((size for size in sizes if size[0] > LONGEST), reverse=True)
    only = [size for size, _, _ in sizes]
    p90 = statistics.quantiles(only, n=10)[-1]
    if check:
        faults = [f"{name}: {size} lines" for size, name, is_table in long if not is_table]
        if p90 > P90:
            faults.append(f"one function in ten has more than {P90} lines: {p90:.0f}")
        sys.exit("\n".join(faults) or 0)
    print("| module | files | code lines |\n|---|---:|---:|")
    for room, (files, code_lines) in sorted(rooms.items(), key=lambda item: -item[1][1]):
        print(f"| {room} | {files} | {code_lines:,} |")
    files, code_lines = map(sum, zip(*rooms.values()))
    print(f"| **all** | {files} | **{code_lines:,}** |\n")
    print(f"{len(only):,} functions: median {statistics.median(only):.0f} lines, "
          f"p90 {p90:.0f}, longest {max(only)}; longer than {LONGEST}:\n")
    for size, name, is_table in long:
        print(f"- `{name}`: {size}{' (table)' if is_table else ''}")


if __name__ == "__main__":
    main()
