import numpy as np
import pytest

from pipeline.evals.baselines_overlap import grams_in_training, overlap_shares


def shares(held_out, training):
    return overlap_shares(held_out, np.packbits(grams_in_training(held_out, training)))


def words(start, stop):
    return " ".join(f"w{i}" for i in range(start, stop))


def test_a_copy_overlaps_wholly_and_new_text_not_at_all():
    held_out = [words(0, 40), words(100, 140)]
    assert shares(held_out, [words(0, 60)]).tolist() == [1.0, 0.0]


def test_half_a_copy_overlaps_in_part():
    # 40 words have 28 13-grams; the first 20 words hold 8 of them.
    assert shares([words(0, 40)], [words(0, 20)]) == pytest.approx([8 / 28])


def test_overlap_is_found_wherever_it_lies():
    training = [words(500, 560), words(300, 330) + " " + words(0, 20), words(20, 40)]
    assert shares([words(0, 40)], training) == pytest.approx([16 / 28])


def test_a_document_without_a_13gram_is_clean():
    assert shares([words(0, 12), ""], [words(0, 60)]).tolist() == [0.0, 0.0]


def test_ngrams_do_not_reach_across_training_documents():
    assert shares([words(0, 13)], [words(0, 7), words(7, 13)]).tolist() == [0.0]
