"""Personal data gives way to placeholders, whole, counted, and to nothing else."""

import time

import pytest
from pydantic import ValidationError

from pipeline.corpus.document import TextBatch
from pipeline.corpus.rewrites.numbers import is_card, is_cn_id
from pipeline.corpus.rewrites.personal_data import KINDS, PLACEHOLDERS, PersonalData
from tests.corpus.conftest import CHINESE, made_up

GITHUB = "ghp_" + "a1B2" * 9
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "MIIEpAIBAAKCAQEA\n" * 20
    + "-----END RSA PRIVATE KEY-----"
)


def cleaned(*texts: str, **settings: object) -> list[str]:
    return PersonalData(**settings).apply(TextBatch.of(texts)).batch.texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+1 (415) 555-2671.", "<PHONE_NUMBER>."),
        ("call 415-555-2671 now", "call <PHONE_NUMBER> now"),
        ("(415) 555-2671", "<PHONE_NUMBER>"),
        ("+442079460958,", "<PHONE_NUMBER>,"),
        ("+44 (0)20 7946 0958", "<PHONE_NUMBER>"),
        ("+33 1 42 68 53 00", "<PHONE_NUMBER>"),
        ("+49 1512 3456789", "<PHONE_NUMBER>"),
        ("手机：13812345678。", "手机：<PHONE_NUMBER>。"),
        ("+86 138 1234 5678", "<PHONE_NUMBER>"),
        ("电话010-65529988", "电话<PHONE_NUMBER>"),
        ("Tel.: 020 7946 0958", "Tel.: <PHONE_NUMBER>"),
        ("03-3581-4321, 0912 345 678", "<PHONE_NUMBER>, <PHONE_NUMBER>"),
        ("+298 21 12 34, Tel: +6837012", "<PHONE_NUMBER>, Tel: <PHONE_NUMBER>"),
        ("011-123-4567, 0267-12-3456, 01 42 68 53 00 ou", "<PHONE_NUMBER>, <PHONE_NUMBER>, "
         "<PHONE_NUMBER> ou"),
        ("电话：（010）6552－9988。", "电话：<PHONE_NUMBER>。"),
        ("中（010）65529988中", "中<PHONE_NUMBER>中"),
        ("+33\u00a01\u00a042\u00a068\u00a053\u00a000", "<PHONE_NUMBER>"),
        ("call 415\u2011555\u20112671 x", "call <PHONE_NUMBER> x"),
        ('{"phone_number": "4155552671"}', '{"phone_number": "<PHONE_NUMBER>"}'),
        ("415-555-2671x12", "<PHONE_NUMBER>x12"),
        ("(415) - 555-2671, tel:+14155552671", "(415) - 555-2671, tel:<PHONE_NUMBER>"),
        (f"https://x.org/?k=config.{GITHUB}", "https://x.org/?k=config.<API_KEY>"),
        ("id 11010519491231002X.", "id <CN_ID_NUMBER>."),
        ("身份证11010519491231002x号", "身份证<CN_ID_NUMBER>号"),
        ("SSN 123-45-6789", "SSN <US_SSN>"),
        ("SSN: 123456789", "SSN: <US_SSN>"),
        ("4111 1111 1111 1111", "<CREDIT_CARD>"),
        ("card 378282246310005", "card <CREDIT_CARD>"),
        ("5555-5555-5555-4444", "<CREDIT_CARD>"),
        (f"token={GITHUB}", "token=<API_KEY>"),
        ("AKIAIOSFODNN7EXAMPLE", "<API_KEY>"),
        ("bot123456789:AAE" + "x1_Y" * 8, "bot123456789:AAE" + "x1_Y" * 8),
        ("bot 123456789:AAE" + "x1_Y" * 8, "bot <API_KEY>"),
        ("Phone\t4155552671, **Fax:** 415 555 2671",
         "Phone\t<PHONE_NUMBER>, **Fax:** <PHONE_NUMBER>"),
        ("030/12345, (030) 1234567, 02-123-4567", "<PHONE_NUMBER>, <PHONE_NUMBER>, <PHONE_NUMBER>"),
        ("SSN is 123 45 6789", "SSN is <US_SSN>"),
        ("号码是4155552671，电话号码是 65529988", "号码是4155552671，电话号码是 <PHONE_NUMBER>"),
        ("hooks.slack.com/services/T0000AAAA/B0000AAAA/" + "x" * 24,
         "hooks.slack.com/services/<API_KEY>"),
        ("AccountKey=" + "ab1+" * 21 + "cd==;", "AccountKey=<API_KEY>;"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
         "aws_secret_access_key = <API_KEY>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
         "<API_KEY>"),
        ("sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "<API_KEY>"),
        ("AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "<API_KEY>"),
        ("xoxb-" + "17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy", "<API_KEY>"),
        (f"a\n{PEM}\nb", "a\n<PRIVATE_KEY>\nb"),
        (PEM.replace("\n", "\\n"), "<PRIVATE_KEY>"),
        ("a.b@c.org and 8.8.8.8", "email@example.com and 22.214.171.124"),
    ],
)  # fmt: skip
def test_personal_data_gives_way_to_its_placeholder(text, expected):
    assert cleaned(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20 14:30:05, 20261120, 1700000000, 1700000000000",
        "3.14159265358979323846 and 0.4111111111111111",
        "ISBN 978-3-16-148410-0, 0-306-40615-2, 9783161484100",
        "10.0.0.1, 127.0.0.1, 192.168.1.1, 172.16.0.9",
        "version 1.2.3, section 4.5.6.7.8 of RFC 2616, 300.1.2.3".replace("4.5.6.7.8", "4.5.6"),
        "550e8400-e29b-41d4-a716-446655440000",
        "d41d8cd98f00b204e9800998ecf8427e",
        "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000",
        "4111 1111 1111 1112, 1234567890123456, 0000000000000000",
        "110105194912310021, 110105199902300022",
        "01 02 03 04 05 06, +1 2345, 1 + 23456789",
        "<Buffer 04 03 02 01 08 07 06>, <a0 8b 01 00 00 00 50 32>, 03-10-2022, 02.07.2022",
        "total 17179869184 bytes, 15032385536 free, 0.1234567, 1.23456789e10, 1996-2022",
        "+3.14159265358979, x+12345678901",
        "+1 111 111 1111, 911-555-1234",
        "sk-learn, sk-image, ghp_short, AKIA, eyJ, python-something-longer-than-this",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "192.168.0.1:8080 and 2001:db8::1",
        "me@localhost, @decorator, a@b, user@ example.com",
        *CHINESE,
    ],
)
def test_harmless_numbers_and_names_stay(text):
    assert cleaned(text) == [text]


def test_counts_are_per_document_and_in_total():
    batch = TextBatch.of(["a@b.com c@d.com", "none", f"{GITHUB} 8.8.8.8 a@b.com"])
    done = PersonalData().apply(batch)
    assert done.counts == {"api_keys": 1, "emails": 3, "ips": 1}
    assert done.measures["emails"].tolist() == [2, 0, 1]
    assert done.measures["phones"].tolist() == [0, 0, 0]
    assert set(done.measures) == set(KINDS)


def test_text_without_personal_data_is_the_same_batch():
    batch = TextBatch.of([made_up(1), *CHINESE, ""])
    assert PersonalData().apply(batch).batch is batch


def test_replacing_again_changes_nothing():
    texts = [
        f"a@b.com 1.2.3.4 8.8.8.8 {GITHUB} 415-555-2671 +44 20 7946 0958 {PEM}",
        "11010519491231002X 123-45-6789 4111111111111111",
    ]
    once = cleaned(*texts)
    assert cleaned(*once) == once


def test_documents_do_not_see_each_other():
    halves = ["call 415-555-", "2671 and 1.2.", "3.4 or 41111111", "11111111", "a@", "b.com", "x"]
    assert cleaned(*halves) == halves
    key = ["12345678", ":AAE" + "x1_Y" * 8, "-----BEGIN PRI", "VATE KEY-----\nMIIEpAIBAAKCAQEA"]
    assert cleaned(*key, "aws_secret_access_key=", "a1B2" * 10)[:4] == key
    assert cleaned("9", "13812345678", "9") == ["9", "<PHONE_NUMBER>", "9"]
    assert cleaned("z", "11010519491231002X", "z") == ["z", "<CN_ID_NUMBER>", "z"]


def test_slices_and_empty_batches_are_replaced_alike():
    batch = TextBatch.of(["8.8.8.8", "a@b.com", "", "c@d.com"])
    assert PersonalData().apply(batch.slice(1, 2)).batch.texts == ["email@example.com", ""]
    assert len(PersonalData().apply(TextBatch.of([])).batch) == 0
    whole = PersonalData().apply(batch).batch
    assert whole.doc_ids == batch.doc_ids
    assert whole.table.schema == batch.table.schema


def test_placeholders_and_kinds_can_be_chosen():
    text = "a@b.com 8.8.8.8 10.0.0.1 123-45-6789"
    assert cleaned(text, addresses="placeholders") == [
        "<EMAIL_ADDRESS> <IP_ADDRESS> 10.0.0.1 <US_SSN>"
    ]
    assert cleaned(text, replace=("us_ssns",)) == ["a@b.com 8.8.8.8 10.0.0.1 <US_SSN>"]
    everywhere = cleaned(text, replace=("ips",), public_ips_only=False)
    assert everywhere == ["a@b.com 22.214.171.124 126.96.36.199 123-45-6789"]
    with pytest.raises(ValidationError):
        PersonalData(replace=())


def test_stand_ins_take_turns_anew_in_each_document():
    three = "a@b.com c@d.org e@f.net"
    expected = "email@example.com firstname.lastname@example.org email@example.com"
    assert cleaned(three, three) == [expected, expected]


def test_graver_kinds_win_over_phone_numbers():
    assert cleaned("4111 1111 1111 1111") == ["<CREDIT_CARD>"]
    assert cleaned("Tel. 4111111111111111") == ["Tel. <CREDIT_CARD>"]


def test_cut_off_private_key_goes_as_far_as_it_reaches():
    text = PEM[:200] + "\n\nNormal text goes on here."
    assert cleaned(text) == ["<PRIVATE_KEY>\n\nNormal text goes on here."]


def test_check_digits_decide():
    assert is_card("4111111111111111") and not is_card("4111111111111112")
    assert is_cn_id("11010519491231002X") and not is_cn_id("110105194912310021")
    assert not is_cn_id("11010519490231002X")
    assert not is_cn_id("99010519491231002X")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "a!" * 500_000,
        "a." * 500_000,
        "a@" * 100_000,
        "a@b." * 100_000,
        "a@b-" * 100_000,
        "a!" * 200_000 + "@" + "b-" * 200_000,
        "1.1.1.1." * 50_000,
        "1" * 1_000_000,
        "1 " * 500_000,
        "415-555-" * 60_000,
        "+1" * 200_000,
        "(0" * 200_000,
        "tel " * 100_000 + "1234567",
        "eyJ" * 200_000,
        "eyJa." * 100_000,
        "sk-" * 200_000,
        "-----BEGIN PRIVATE KEY-----\n" * 20_000,
        "-----BEGIN PRIVATE KEY-----" + "A" * 1_000_000,
        "-----BEGIN PRIVATE KEY-----" + "\\n" * 500_000,
        "AccountKey=" * 50_000,
    ],
    ids=lambda text: f"{text[:12]!r}x{len(text)}".replace("\n", ""),
)
def test_hostile_text_takes_linear_time(text):
    cleaned("warm up a@b.com 8.8.8.8 415-555-2671 " + GITHUB)
    start = time.process_time()
    cleaned(text)
    # A quadratic rule needs minutes for these; one core of a busy machine less than a second.
    assert time.process_time() - start < 5


def test_every_kind_has_a_placeholder():
    assert set(PLACEHOLDERS) == set(KINDS)
