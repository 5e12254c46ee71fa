# SPDX-License-Identifier: MIT
"""Small faults put into C sources, one at a time: operators, constants, conditions, statements left out.

By tokens, not by a syntax tree: what does not compile is no mutant, and neither is what compiles to the same code.
"""

import re

TOKEN = re.compile(
    r"(?P<skip>/\*.*?\*/|//[^\n]*|\s+)"
    r"|(?P<line>(?<![^\n])[ \t]*\#(?:[^\n\\]|\\.|\\\n)*)"
    r"|(?P<text>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<operator>->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]])",
    re.DOTALL,
)
#: What stands in for an operator: the bound moved, the meaning turned round.
OTHERS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
    "+": ("-",),
    "-": ("+",),
    "*": ("/",),
    "/": ("*",),
    "%": ("/",),
    "&": ("|",),
    "|": ("&",),
    "^": ("|",),
    "<<": (">>",),
    ">>": ("<<",),
    "++": ("--",),
    "--": ("++",),
    "+=": ("-=", "="),
    "-=": ("+=", "="),
    "*=": ("/=", "="),
    "/=": ("*=", "="),
    "|=": ("&=", "="),
    "&=": ("|=", "="),
    "^=": ("|=", "="),
    "~": ("",),
    "!": ("",),
}
#: Operators that are other things where no operand stands before them.
BINARY = {"+", "-", "*", "&"}
#: Words before which a statement begins that cannot be left out, or that are none.
KEPT = {"case", "default", "else", "typedef", "struct", "enum", "union", "static", "const", "extern", "do"}
KEYWORDS = {"return", "case", "sizeof", "else"}


def tokens(source):
    """(kind, text, position) of what is neither space, comment nor a line for the preprocessor."""
    found, at = [], 0
    while at < len(source):
        match = TOKEN.match(source, at)
        if match is None:
            raise ValueError(f"no token of C: {source[at : at + 20]!r}")
        if match.lastgroup not in ("skip", "line"):
            found.append((match.lastgroup, match[0], at))
        at = match.end()
    return found


def closing(found, opening):
    """Index of the token that closes the parenthesis or brace at an index."""
    depth = 0
    for index in range(opening, len(found)):
        if found[index][1] in ("(", "{", "["):
            depth += 1
        elif found[index][1] in (")", "}", "]"):
            depth -= 1
            if depth == 0:
                return index
    raise ValueError("a parenthesis that is not closed")


def conditions(found):
    """(begin, end) in indexes of the conditions of if, while and for, with the values to put for each."""
    for index, (_, text, _) in enumerate(found[:-1]):
        if text in ("if", "while") and found[index + 1][1] == "(":
            yield index + 2, closing(found, index + 1), ("1", "0") if text == "if" else ("0",)
        elif text == "for" and found[index + 1][1] == "(":
            ends = []
            depth = 0
            for inner in range(index + 2, closing(found, index + 1)):
                depth += {"(": 1, ")": -1}.get(found[inner][1], 0)
                if found[inner][1] == ";" and depth == 0:
                    ends.append(inner)
            if ends[1] > ends[0] + 1:
                yield ends[0] + 1, ends[1], ("0",)


def statements(found):
    """(begin, end) in indexes of statements that can be left out, their semicolon not included."""
    for index in range(1, len(found)):
        if found[index - 1][1] not in (";", "{", "}", ":") or found[index][1] in KEPT:
            continue
        kind, text, _ = found[index]
        if kind != "name" and text not in ("*", "(", "++", "--"):
            continue
        end, depth = index, 0
        while end < len(found) and not (found[end][1] == ";" and depth == 0):
            depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(found[end][1], 0)
            if depth < 0 or found[end][1] == "{":
                break
            end += 1
        if end < len(found) and found[end][1] == ";" and is_statement(found[index:end]):
            yield index, end


def is_statement(words):
    """Whether tokens are an assignment, a call or a jump, and no declaration."""
    if words[0][1] in ("break", "continue"):
        return True
    if words[0][1] in ("if", "for", "while", "switch", "return", "goto"):
        return False
    if len(words) > 1 and words[0][0] == "name" and (words[1][0] == "name" or words[1][1] == "*"):
        return False
    texts = {text for _, text, _ in words}
    return bool(texts & {"=", "+=", "-=", "|=", "&=", "^=", "*=", "/=", "++", "--"}) or words[-1][1] == ")"


def numbers(text):
    """What stands in for a number: one more and one less; of fractions, twice as much."""
    match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)", text)
    if match is None:
        return [f"(2 * {text} + 1)"]
    value = int(match[1], 0)
    return [f"{near}{match[2]}" for near in (value + 1, value - 1) if near >= 0]


def replacements(found):
    """(begin, end, text) in positions of the source, of every mutant."""
    for index, (kind, text, at) in enumerate(found):
        before = found[index - 1] if index else ("", "", 0)
        follows = before[0] in ("name", "number") or before[1] in (")", "]")
        if kind == "operator" and text in OTHERS:
            if text in BINARY and (not follows or before[1] in KEYWORDS):
                continue
            for other in OTHERS[text]:
                yield at, at + len(text), other
        elif kind == "number":
            is_length = before[1] == "[" and [token[1] for token in found[index + 1 : index + 4]] == [
                "]",
                "=",
                "{",
            ]
            if not is_length:
                for other in numbers(text):
                    yield at, at + len(text), other
    for begin, end, values in conditions(found):
        last = found[end - 1]
        for value in values:
            yield found[begin][2], last[2] + len(last[1]), value
    for begin, end in statements(found):
        yield found[begin][2], found[end][2], ""


def mutants(source):
    """Every mutant of a source: (line, what changes, mutated source), in the order of the source."""
    lines = source.splitlines()
    asserted = [
        (match.start(), match.end()) for match in re.finditer(r"_Static_assert\(.*?\);", source, re.DOTALL)
    ]
    for begin, end, text in sorted(replacements(tokens(source))):
        if any(first <= begin < last for first, last in asserted):
            continue  # makes no code
        line = source.count("\n", 0, begin) + 1
        column = begin - (source.rfind("\n", 0, begin) + 1)
        old = " ".join(source[begin:end].split())
        what = f"{lines[line - 1].strip()} [{column}] {old} -> {text or 'nothing'}"
        yield line, what, source[:begin] + text + source[end:]
