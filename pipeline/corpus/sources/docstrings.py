"""From a module's source to its documentation: one page of text and a record per object.

    source -> ast -> Page(text, objects)      never imported, never executed

The page reads like a stub file: `class` and `def` lines with signatures, docstrings indented below.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from pipeline.corpus.sources.attached import attached_docstrings
from pipeline.corpus.sources.signatures import (
    Function,
    class_signature,
    parameters_of,
    signature_of,
)

OBJECT_SCHEMA = pa.schema(
    [
        pa.field("qualified_name", pa.string(), nullable=False),  # torch.nn.functional.relu
        pa.field("doc_id", pa.string(), nullable=False),  # torch/torch.nn.functional
        pa.field("kind", pa.string(), nullable=False),  # module, class, function, method
        pa.field("name", pa.string(), nullable=False),
        pa.field("signature", pa.string(), nullable=False),  # the line of the page, not indented
        pa.field("parameters", pa.list_(pa.string()), nullable=False),  # no self, cls, stars
        pa.field("docstring", pa.string(), nullable=False),
        pa.field("summary", pa.string(), nullable=False),
    ]
)
MAX_SUMMARY_CHARS = 300  # guess: a longer first sentence is a list or a table
MAX_SUMMARY_LINES = 60
INDENT = "    "
_RULE = re.compile(r"\s*([=~*#^_-])\1{2,}\s*")
_SIGNATURE = re.compile(r"[\w.]+\([^()]*(\([^()]*\)[^()]*)*\)( ?-> ?.+)?$")
# A mark, then a space and a capital; not after "e.g.", "i.e.", "vs.", "etc.".
_SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!\bvs)(?<!etc)[.!?](?=\s+[A-Z`\"'(*])")
Kind = Literal["module", "class", "function", "method"]


@dataclass(frozen=True)
class DocumentedObject:
    """One documented object; the fields are the columns of OBJECT_SCHEMA but `doc_id`."""

    qualified_name: str
    kind: Kind
    name: str
    signature: str
    parameters: tuple[str, ...]
    docstring: str
    summary: str


@dataclass(frozen=True)
class Page:
    """The documentation of one module."""

    text: str
    objects: tuple[DocumentedObject, ...]


def document_module(source: str, module: str) -> Page | None:
    """The page of a module, or None when nothing in it has a docstring.

    Raises SyntaxError, ValueError (NUL bytes), RecursionError or MemoryError as `ast.parse` does.
    """
    tree = ast.parse(source)
    blocks: list[str] = []
    objects: list[DocumentedObject] = []
    docstring = _docstring(tree)
    if docstring:
        blocks.append(docstring)
        objects.append(_object(module, "module", module, module, (), docstring))
    _document_body(tree.body, module, depth=0, blocks=blocks, objects=objects)
    _document_attached(tree, module, blocks=blocks, objects=objects)
    if not blocks:
        return None
    return Page("\n\n".join([module, *blocks]) + "\n", tuple(objects))


def summary_of(docstring: str) -> str:
    """The first sentence, on one line; a title's underline or a leading signature is not one."""
    head = docstring.split("\n", MAX_SUMMARY_LINES)[:MAX_SUMMARY_LINES]
    plain = "\n".join(line for line in head if not _RULE.fullmatch(line))
    paragraphs = [part for part in re.split(r"\n\s*\n", plain.strip()) if part.strip()]
    if len(paragraphs) > 1 and _SIGNATURE.match(" ".join(paragraphs[0].split())):
        paragraphs = paragraphs[1:]
    if not paragraphs:
        return ""
    line = " ".join(paragraphs[0].split())
    end = _SENTENCE_END.search(line)
    summary = line[: end.end()] if end else line
    if len(summary) <= MAX_SUMMARY_CHARS:
        return summary
    return paragraphs[0].strip().split("\n", 1)[0].strip()  # a list or a table: its first line


def _document_body(
    body: Sequence[ast.stmt], prefix: str, *, depth: int, blocks: list[str],
    objects: list[DocumentedObject], in_class: bool = False,
) -> None:  # fmt: skip
    """Append the blocks and objects of the definitions in a module's or a class's body."""
    seen: set[str] = set()
    for node in _definitions(body):
        if node.name in seen or not _is_public(node.name) or _is_auxiliary(node):
            continue
        qualified = f"{prefix}.{node.name}"
        docstring = _docstring(node)
        if isinstance(node, ast.ClassDef):
            seen.add(node.name)
            _document_class(node, qualified, docstring, depth=depth, blocks=blocks, objects=objects)
        elif docstring:
            seen.add(node.name)
            is_property = "property" in _decorators(node)
            signature = f"property {node.name}" if is_property else signature_of(node)
            blocks.append(_block(signature, docstring, depth))
            if not is_property and not _is_dunder(node.name):
                bound = in_class and "staticmethod" not in _decorators(node)
                kind: Kind = "method" if in_class else "function"
                parameters = parameters_of(node, bound=bound)
                objects.append(
                    _object(qualified, kind, node.name, signature, parameters, docstring)
                )


def _document_class(
    node: ast.ClassDef, qualified: str, docstring: str, *, depth: int, blocks: list[str],
    objects: list[DocumentedObject],
) -> None:  # fmt: skip
    """A class appears when it or something in it is documented."""
    signature = class_signature(node)
    inner: list[str] = []
    inner_objects: list[DocumentedObject] = []
    _document_body(
        node.body, qualified, depth=depth + 1, blocks=inner, objects=inner_objects, in_class=True
    )
    if docstring or inner:
        blocks.append(_block(signature, docstring, depth))
    if docstring:
        objects.append(_object(qualified, "class", node.name, signature, (), docstring))
    blocks += inner
    objects += inner_objects


def _document_attached(
    tree: ast.Module, module: str, *, blocks: list[str], objects: list[DocumentedObject]
) -> None:
    """Functions written in C; without a known signature they appear by name, and are no objects."""
    seen: set[str] = set()
    for item in attached_docstrings(tree, module):
        docstring = _cleaned(item.docstring)
        if not docstring or item.qualified_name in seen:
            continue
        seen.add(item.qualified_name)
        if item.function is None:
            blocks.append(_block(item.qualified_name, docstring, 0))
            continue
        signature = signature_of(item.function)
        blocks.append(_block(signature, docstring, 0))
        kind: Kind = "method" if item.is_method else "function"
        parameters = parameters_of(item.function, bound=False)
        name = item.function.name
        objects.append(_object(item.qualified_name, kind, name, signature, parameters, docstring))


def _object(
    qualified: str,
    kind: Kind,
    name: str,
    signature: str,
    parameters: tuple[str, ...],
    docstring: str,
) -> DocumentedObject:
    return DocumentedObject(
        qualified, kind, name, signature, parameters, docstring, summary_of(docstring)
    )


def _block(signature: str, docstring: str, depth: int) -> str:
    """The signature at `depth` and the docstring one deeper; blank lines stay empty."""
    if not docstring:
        return INDENT * depth + signature
    margin = INDENT * (depth + 1)
    lines = [margin + line if line else "" for line in docstring.split("\n")]
    return INDENT * depth + signature + "\n" + "\n".join(lines)


def _docstring(node: ast.Module | ast.ClassDef | Function) -> str:
    """The cleaned docstring, "" when absent."""
    raw = ast.get_docstring(node, clean=False)
    return _cleaned(raw) if raw else ""


def _cleaned(raw: str) -> str:
    """Dedented; trailing spaces, form feeds and NUL are gone."""
    text = inspect.cleandoc(raw).replace("\x0c", "").replace("\x00", "")
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def _definitions(body: Sequence[ast.stmt]) -> Iterator[ast.ClassDef | Function]:
    """Definitions in order, also those under `if`, `try` and `with`."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If):
            yield from _definitions([*node.body, *node.orelse])
        elif isinstance(node, ast.With):
            yield from _definitions(node.body)
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _definitions([*node.body, *handlers, *node.orelse, *node.finalbody])


def _decorators(node: ast.ClassDef | Function) -> set[str]:
    """Last component of each decorator's name: `functools.cached_property` -> cached_property."""
    names = set()
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(target, ast.Attribute):
            names.add(target.attr)
        elif isinstance(target, ast.Name):
            names.add(target.id)
    if names & {"cached_property", "abstractproperty", "lazy_property", "hybrid_property"}:
        names.add("property")
    return names


def _is_auxiliary(node: ast.ClassDef | Function) -> bool:
    """Overloads and property setters repeat another definition of the same name."""
    return bool(_decorators(node) & {"overload", "setter", "deleter"})


def _is_public(name: str) -> bool:
    return not name.startswith("_") or _is_dunder(name)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
