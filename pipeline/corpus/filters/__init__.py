"""All filters: extending is one new file and one member of this union."""

from typing import Annotated

from pydantic import Field

from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.filters.repetition import RepetitionFilter

AnyFilter = Annotated[LengthFilter | AlphabetFilter | RepetitionFilter, Field(discriminator="kind")]
