"""All cleaning steps, and how a list of them is written down.

    steps:
      - {kind: length, min_words: 20}                            a step by itself
      - {kind: rules, preset: fineweb}                           the steps of a published recipe
      - {kind: rules, routes: {en: fineweb, zh: fineweb2-zh}}    each language by its own recipe

`expanded` turns rules into plain steps bound to languages; those are what a cleaned part is
identified by. Extending is one new file and one member of `AnyPlainStep`.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.base import Step
from pipeline.corpus.filters.c4 import C4Filter
from pipeline.corpus.filters.classifier import ClassifierFilter
from pipeline.corpus.filters.fineweb import FineWebFilter
from pipeline.corpus.filters.gopher_quality import GopherQualityFilter
from pipeline.corpus.filters.gopher_repetition import GopherRepetitionFilter
from pipeline.corpus.filters.han import HanFilter
from pipeline.corpus.filters.language import LanguageFilter
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.filters.repetition import RepetitionFilter
from pipeline.corpus.filters.url import UrlFilter
from pipeline.corpus.filters.word_list import HarmfulWords
from pipeline.corpus.languages.codes import checked_code
from pipeline.corpus.presets import PRESETS
from pipeline.corpus.rewrites.c4_lines import C4LinesRewrite
from pipeline.corpus.rewrites.harmful_lines import HarmfulLines
from pipeline.corpus.rewrites.personal_data import PersonalData

AnyPlainStep = Annotated[
    LengthFilter
    | AlphabetFilter
    | RepetitionFilter
    | LanguageFilter
    | GopherRepetitionFilter
    | GopherQualityFilter
    | C4LinesRewrite
    | C4Filter
    | FineWebFilter
    | HanFilter
    | UrlFilter
    | HarmfulWords
    | HarmfulLines
    | ClassifierFilter
    | PersonalData,
    Field(discriminator="kind"),
]


class Rules(Step):
    """Each document is judged by the rules of its language."""

    kind: Literal["rules"] = "rules"
    preset: str | None = Field(
        "generic",
        title="Preset",
        description="Recipe for every language without a route; null lets those pass unjudged.",
    )
    routes: dict[str, str] = Field(
        {}, title="Routes", description="Language code -> preset, such as zh: fineweb2-zh."
    )

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, name: str | None) -> str | None:
        return name if name is None else _known(name)

    @field_validator("routes")
    @classmethod
    def _known_routes(cls, routes: dict[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for language, name in sorted(routes.items()):
            code = checked_code(language)
            if code in found:
                raise ValueError(
                    f"{language!r} is the language {code!r}, which has a route already"
                )
            found[code] = _known(name)
        return dict(sorted(found.items()))

    @model_validator(mode="after")
    def _is_unbound(self) -> "Rules":
        if self.is_routed:
            raise ValueError("rules choose by language themselves; use routes, not languages")
        return self

    def members(self) -> list[Step]:
        """The plain steps, each bound to the languages it is for."""
        found: list[Step] = []
        languages_of: dict[str, list[str]] = {}
        for language, name in self.routes.items():
            languages_of.setdefault(name, []).append(language)
        for name, languages in sorted(languages_of.items()):
            bound = {"languages": tuple(languages)}
            found += [member.model_copy(update=bound) for member in PRESETS[name]]
        if self.preset is not None:
            others = {"except_languages": tuple(self.routes)}
            found += [member.model_copy(update=others) for member in PRESETS[self.preset]]
        return found


def _known(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"no preset is named {name!r}; there are {', '.join(sorted(PRESETS))}")
    return name


AnyStep = Annotated[AnyPlainStep | Rules, Field(discriminator="kind")]


def expanded(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Plain steps only, in order."""
    return tuple(
        member
        for step in steps
        for member in (step.members() if isinstance(step, Rules) else [step])
    )
