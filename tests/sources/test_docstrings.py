import ast

import pytest

from pipeline.corpus.sources.docstrings import (
    DocumentedObject,
    document_module,
    summary_of,
)
from pipeline.corpus.sources.signatures import parameters_of, signature_of

MODULE = '''
"""Shapes.

More about shapes.
"""
import os
try:
    from fast import area
except ImportError:
    def area(shape, *, scale: float = 1.0) -> float:
        """Area of a shape. Scaled."""

class Square(Shape, metaclass=Meta):
    """A square.   \t

        Indented more.
    End.
    """
    def __init__(self, side: "int | None" = None):
        """Make one."""
    def undocumented(self): pass
    @property
    def side(self):
        """Its side."""
    @side.setter
    def side(self, value):
        """Set it."""
    @staticmethod
    def unit(a, b):
        """The unit square."""
    @classmethod
    async def load(cls, path, /, *args, mode="r", **options):
        """Load one."""
    def _hidden(self):
        """Hidden."""

class Empty:
    pass

def plain(): return 1
'''


def function(code: str) -> ast.FunctionDef:
    node = ast.parse(code).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def test_page_lists_what_is_documented_in_order():
    page = document_module(MODULE, "shapes")
    assert page is not None
    assert page.text == (
        "shapes\n\n"
        "Shapes.\n\nMore about shapes.\n\n"
        "def area(shape, *, scale: float=1.0) -> float\n    Area of a shape. Scaled.\n\n"
        "class Square(Shape)\n    A square.\n\n        Indented more.\n    End.\n\n"
        "    def __init__(self, side: int | None=None)\n        Make one.\n\n"
        "    property side\n        Its side.\n\n"
        "    def unit(a, b)\n        The unit square.\n\n"
        "    async def load(cls, path, /, *args, mode='r', **options)\n        Load one.\n"
    )


def test_objects_have_clean_parameters_and_summaries():
    page = document_module(MODULE, "shapes")
    assert page is not None
    found = [(o.qualified_name, o.kind, o.parameters, o.summary) for o in page.objects]
    assert found == [
        ("shapes", "module", (), "Shapes."),
        ("shapes.area", "function", ("shape", "scale"), "Area of a shape."),
        ("shapes.Square", "class", (), "A square."),
        ("shapes.Square.unit", "method", ("a", "b"), "The unit square."),
        ("shapes.Square.load", "method", ("path", "args", "mode", "options"), "Load one."),
    ]


def test_signature_of_every_object_is_a_line_of_the_page():
    page = document_module(MODULE, "shapes")
    assert page is not None
    lines = [line.strip() for line in page.text.split("\n")]
    assert all(item.signature in lines for item in page.objects)


def test_module_without_documentation_has_no_page():
    assert document_module("x = 1\ndef f(): pass\n", "empty") is None


@pytest.mark.parametrize("code", ["def (", "x = '\0'", "(" * 5000])
def test_broken_source_raises_what_the_reader_counts(code):
    with pytest.raises((SyntaxError, ValueError, RecursionError, MemoryError)):
        document_module(code, "broken")


def test_first_definition_of_a_name_wins_and_overloads_are_skipped():
    code = (
        'if x:\n    def f(a):\n        "One."\nelse:\n    def f(b):\n        "Two."\n'
        '@overload\ndef g(a): "Typed."\ndef g(a, b):\n    "Real."\n'
    )
    page = document_module(code, "m")
    assert page is not None
    assert [(o.name, o.docstring) for o in page.objects] == [("f", "One."), ("g", "Real.")]


@pytest.mark.parametrize(
    ("code", "signature"),
    [
        ("def f(a, b: 'list[int]' = 3) -> 'None': ...", "def f(a, b: list[int]=3) -> None"),
        ("def f(a: Annotated[int, Doc('long text')]): ...", "def f(a: int)"),
        ("def f(a: typing.Annotated[int, 5] = 1): ...", "def f(a: int=1)"),
        (f"def f(a={'x' * 99!r}): ...", "def f(a=...)"),
        (f"def f(a: Literal[{'x' * 99!r}]): ...", "def f(a)"),
        ("def f(*, a, b=1): ...", "def f(*, a, b=1)"),
    ],
)
def test_signatures_are_short_and_readable(code, signature):
    assert signature_of(function(code)) == signature


def test_parameters_drop_the_bound_one_only():
    node = function("def f(self, a, /, b, *rest, c, **more): ...")
    assert parameters_of(node, bound=True) == ("a", "b", "rest", "c", "more")
    assert parameters_of(node, bound=False)[0] == "self"
    assert parameters_of(function("def f(*args): ..."), bound=True) == ("args",)


@pytest.mark.parametrize(
    ("docstring", "summary"),
    [
        ("One line", "One line"),
        ("Do a thing,\nthen stop. And more.\n\nRest.", "Do a thing, then stop."),
        ("Use e.g. This or that. Then go.", "Use e.g. This or that."),
        ("Version 1.2 is out. Get it.", "Version 1.2 is out."),
        ("====\nTitle\n====\n\nText.", "Title"),
        ("relu(input, inplace=False) -> Tensor\n\nApply it. See more.", "Apply it."),
        ("f(x)", "f(x)"),
        ("* item\n" * 100, "* item"),
        ("-----", ""),
    ],
)
def test_summary_is_the_first_sentence(docstring, summary):
    assert summary_of(docstring) == summary


def test_documented_object_is_a_plain_value():
    item = DocumentedObject("m.f", "function", "f", "def f()", (), "F.", "F.")
    assert item == DocumentedObject("m.f", "function", "f", "def f()", (), "F.", "F.")
