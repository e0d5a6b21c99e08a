"""What cleaning needs, loaded on import: once, by the server that workers are forked from.

A worker that loads it by itself takes a second, and every pool has new ones.
"""

from pipeline.corpus import cleaning, reading
from pipeline.corpus.kernels.compiled import load_numba
from pipeline.corpus.kernels.english import exceptions

WORK = (reading.read_part, cleaning.clean_part)
load_numba()
exceptions()
