from pipeline.corpus.sources.docstrings import document_module

TORCH = '''
common = merge_dicts(parse_kwargs("""
    input (Tensor): the input.
    out (Tensor, optional): the output
        tensor.
"""), {"note": "Careful."})

add_docstr(torch.add, """
add(input, other, *, alpha=1) -> Tensor

Adds {{other}} to input.
""" + r"""
Args:
    {input}
    {unknown}

Keyword args:
    {out}

{note}
""".format(**common))

add_docstr_all("item", """
item() -> number

Returns the value.
""")

fft = _add_docstr(_fft.fft_fft, """
fft(input, n=None) -> Tensor

Transforms.
""")

add_docstr(torch.max, """
max(input, dim?) -> Tensor

Largest.
""")
add_docstr(torch.dynamic, "one" + name())
'''
NUMPY = """
add_newdoc('numpy._core', 'flatiter', "A flat iterator.")
add_newdoc('numpy._core', 'flatiter', ('base', "The array."))
add_newdoc('numpy._core.umath', 'add', [('reduce', "Sum."), ('at', "In place.")])
"""


def test_torch_docstrings_become_functions_with_their_signatures():
    page = document_module(TORCH, "torch.docs")
    assert page is not None
    found = [(o.qualified_name, o.kind, o.signature, o.parameters, o.summary) for o in page.objects]
    assert found == [
        (
            "torch.add",
            "function",
            "def add(input, other, *, alpha=1) -> Tensor",
            ("input", "other", "alpha"),
            "Adds {{other}} to input.",
        ),
        ("torch.Tensor.item", "method", "def item() -> number", (), "Returns the value."),
        (
            "torch.docs.fft",
            "function",
            "def fft(input, n=None) -> Tensor",
            ("input", "n"),
            "Transforms.",
        ),
    ]


def test_templates_are_filled_and_unknown_lines_left_out():
    page = document_module(TORCH, "torch.docs")
    assert page is not None
    docstring = page.objects[0].docstring
    assert docstring == (
        "Adds {{other}} to input.\n\nArgs:\n    input (Tensor): the input.\n\n"
        "Keyword args:\n    out (Tensor, optional): the output\n        tensor.\n\nCareful."
    )


def test_docstring_without_a_readable_signature_appears_by_name():
    page = document_module(TORCH, "torch.docs")
    assert page is not None
    assert "torch.max\n    max(input, dim?) -> Tensor\n\n    Largest." in page.text
    assert "dynamic" not in page.text


def test_numpy_docstrings_go_by_their_public_names():
    page = document_module(NUMPY, "numpy._core._add_newdocs")
    assert page is not None
    assert page.objects == ()
    assert page.text == (
        "numpy._core._add_newdocs\n\n"
        "numpy.flatiter\n    A flat iterator.\n\n"
        "numpy.flatiter.base\n    The array.\n\n"
        "numpy.add.reduce\n    Sum.\n\n"
        "numpy.add.at\n    In place.\n"
    )
