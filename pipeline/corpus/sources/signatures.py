"""Signatures as a reader wants them: one line, short defaults, plain annotations.

Written from the syntax tree by hand: several times faster than `ast.unparse`, and the same text on
every version of Python.
"""

import ast
from collections.abc import Iterator

MAX_DEFAULT_CHARS = 40  # guess: a longer default value is shown as `...`
MAX_ANNOTATION_CHARS = 80  # guess: a longer annotation is left out
Function = ast.FunctionDef | ast.AsyncFunctionDef


def signature_of(function: Function) -> str:
    """`def name(arguments) -> annotation` on one line, without decorators and colon."""
    prefix = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    result = _annotation(function.returns)
    arrow = f" -> {result}" if result else ""
    return f"{prefix} {function.name}({', '.join(_arguments(function.args))}){arrow}"


def parameters_of(function: Function, *, bound: bool) -> tuple[str, ...]:
    """Parameter names in order, stars dropped; `bound` drops the first positional one."""
    spec = function.args
    positional = [argument.arg for argument in (*spec.posonlyargs, *spec.args)]
    names = positional[1:] if bound else positional
    names += [spec.vararg.arg] if spec.vararg else []
    names += [argument.arg for argument in spec.kwonlyargs]
    names += [spec.kwarg.arg] if spec.kwarg else []
    return tuple(names)


def class_signature(node: ast.ClassDef) -> str:
    """`class Name(Base, ...)`; keywords and long bases are left out."""
    bases = [base for base in map(_expression, node.bases) if len(base) <= MAX_ANNOTATION_CHARS]
    return f"class {node.name}({', '.join(bases)})" if bases else f"class {node.name}"


def _arguments(spec: ast.arguments) -> Iterator[str]:
    """`name: annotation=default` for each parameter, with `/` and `*` where they belong."""
    positional = [*spec.posonlyargs, *spec.args]
    first_default = len(positional) - len(spec.defaults)
    for i, argument in enumerate(positional):
        yield _argument(argument, spec.defaults[i - first_default] if i >= first_default else None)
        if i + 1 == len(spec.posonlyargs):
            yield "/"
    if spec.vararg:
        yield "*" + _argument(spec.vararg, None)
    elif spec.kwonlyargs:
        yield "*"
    for argument, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        yield _argument(argument, default)
    if spec.kwarg:
        yield "**" + _argument(spec.kwarg, None)


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    annotation = _annotation(argument.annotation)
    text = f"{argument.arg}: {annotation}" if annotation else argument.arg
    if default is None:
        return text
    value = _expression(default)
    return f"{text}={value if len(value) <= MAX_DEFAULT_CHARS else '...'}"


def _annotation(node: ast.expr | None) -> str:
    """Without quotes and without the metadata of `Annotated[T, ...]`; "" when absent or long."""
    if node is None:
        return ""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        if _expression(node.value).split(".")[-1] == "Annotated" and node.slice.elts:
            return _annotation(node.slice.elts[0])
    quoted = isinstance(node, ast.Constant) and isinstance(node.value, str)
    text = " ".join(node.value.split()) if quoted else _expression(node)  # type: ignore[attr-defined]
    return text if len(text) <= MAX_ANNOTATION_CHARS else ""


def _expression(node: ast.expr) -> str:
    """The source of an expression; names and constants without the cost of `ast.unparse`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | None):
        return repr(node.value)
    if isinstance(node, ast.Attribute):
        return f"{_expression(node.value)}.{node.attr}"
    return ast.unparse(node)
