"""Docstrings that a module attaches by calls to functions written in C.

    add_docstr(torch.add, "add(input, other) -> Tensor ...".format(**common_args))     torch
    add_newdoc('numpy._core', 'flatiter', ('base', "..."))                             numpy

Strings are put together by reading the syntax tree; nothing is executed.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ATTACHING = frozenset({"add_docstr", "_add_docstr", "add_docstr_all", "add_newdoc"})
NUMPY_CORE = re.compile(r"numpy\._core(\.\w+)*$")  # where numpy's C functions live, seen as `numpy`
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_SIGNATURE_LINE = re.compile(r"\w+\(.*\)( ?-> ?.+)?$")


@dataclass(frozen=True)
class Attached:
    """One attached docstring; `function` is its signature as a definition, where it has one."""

    qualified_name: str
    docstring: str
    function: ast.FunctionDef | None
    is_method: bool


def attached_docstrings(tree: ast.Module, module: str) -> Iterator[Attached]:
    """What the module's top-level calls attach, in order; strings not known statically are not."""
    known: dict[str, dict[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) and node.value is not None:
            value = node.value
            name = _target(node)
            if isinstance(value, ast.Call) and _called(value) in ATTACHING:
                for qualified, text in _documented(value, name, module, known):
                    yield _attached(qualified, text)
            elif name and (table := _table(value, known)) is not None:
                known[name] = table


def _documented(
    call: ast.Call, name: str, module: str, known: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) pairs of one attaching call."""
    arguments = call.args
    if _called(call) == "add_newdoc" and len(arguments) >= 3:
        place, target = _string(arguments[0], known), _string(arguments[1], known)
        if place and target:
            owner = f"{NUMPY_CORE.sub('numpy', place)}.{target}"
            yield from _newdoc(owner, arguments[2], known)
    elif _called(call) == "add_docstr_all" and len(arguments) == 2:
        method, text = _string(arguments[0], known), _string(arguments[1], known)
        if method and text:
            yield f"torch.Tensor.{method}", text
    elif len(arguments) == 2:
        text = _string(arguments[1], known)
        dotted = f"{module}.{name}" if name else ast.unparse(arguments[0])
        if text and re.fullmatch(r"[A-Za-z][\w.]*", dotted):
            yield dotted, text


def _newdoc(
    owner: str, node: ast.expr, known: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """The third argument of add_newdoc: a docstring, (member, docstring) or a list of those."""
    if isinstance(node, ast.List):
        for element in node.elts:
            yield from _newdoc(owner, element, known)
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
        member, text = (_string(element, known) for element in node.elts)
        if member and text:
            yield f"{owner}.{member}", text
    elif text := _string(node, known):
        yield owner, text


def _attached(qualified: str, text: str) -> Attached:
    """Split a leading `name(arguments) -> result` off the docstring."""
    name = qualified.rpartition(".")[2]
    is_method = qualified.startswith("torch.Tensor.")
    docstring = inspect.cleandoc(text.replace("# noqa: B950", ""))
    first, _, rest = docstring.partition("\n")
    if _SIGNATURE_LINE.match(first.strip()) and rest.strip():
        try:
            definition = ast.parse(f"def {first.strip()}: ...").body[0]
        except SyntaxError:  # `max(dim=None, keepdim=False) -> Tensor or (Tensor, Tensor)`
            definition = None
        if isinstance(definition, ast.FunctionDef) and definition.name == name:
            return Attached(qualified, rest.strip("\n"), definition, is_method)
    return Attached(qualified, docstring, None, is_method)


def _string(node: ast.expr, known: Mapping[str, Mapping[str, str]]) -> str | None:
    """A constant string, a sum of strings or `string.format(**table)`; else None."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _string(node.left, known), _string(node.right, known)
        return left + right if left is not None and right is not None else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        template = _string(node.func.value, known)
        if node.func.attr == "format" and template is not None and not node.args:
            return _filled(template, node.keywords, known)
    return None


def _filled(
    template: str, keywords: list[ast.keyword], known: Mapping[str, Mapping[str, str]]
) -> str:
    """`template.format(**a, **b)`; a line whose placeholder is unknown is left out."""
    values: dict[str, str] = {}
    for keyword in keywords:
        if keyword.arg is None and isinstance(keyword.value, ast.Name):
            values.update(known.get(keyword.value.id, {}))
    lines = []
    for line in template.replace("{{", "\0").replace("}}", "\1").split("\n"):
        if all(name in values for name in _PLACEHOLDER.findall(line)):
            lines.append(_PLACEHOLDER.sub(lambda match: values[match[1]], line))
    return "\n".join(lines).replace("\0", "{").replace("\1", "}")


def _table(node: ast.expr, known: Mapping[str, Mapping[str, str]]) -> dict[str, str] | None:
    """`parse_kwargs("...")`, `merge_dicts(...)`, `{...}` or the name of such a table."""
    if isinstance(node, ast.Name):
        return dict(known[node.id]) if node.id in known else None
    if isinstance(node, ast.Dict):
        pairs = [
            (_string(key, known) if key else None, _string(value, known))
            for key, value in zip(node.keys, node.values, strict=True)
        ]
        return {key: value for key, value in pairs if key and value is not None}
    if isinstance(node, ast.Call) and _called(node) == "merge_dicts":
        merged: dict[str, str] = {}
        for argument in node.args:
            merged.update(_table(argument, known) or {})
        return merged
    if isinstance(node, ast.Call) and _called(node) == "parse_kwargs" and len(node.args) == 1:
        # As torch._torch_docs.parse_kwargs: one entry per line indented by exactly four spaces.
        entries = re.split(r"\n\s{4}(?!\s)", _string(node.args[0], known) or "")
        stripped = [entry.strip() for entry in entries]
        return {entry.split(" ")[0]: entry for entry in stripped if entry}
    return None


def _target(node: ast.Assign | ast.AnnAssign | ast.Expr) -> str:
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
