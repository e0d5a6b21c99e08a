"""URL filters know a domain under all its spellings, and nothing that only looks like it."""

import pytest
from pydantic import ValidationError

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Step
from pipeline.corpus.filters.judging import judge_all
from pipeline.corpus.filters.url import UrlFilter, split_url
from pipeline.store.errors import DataError
from pipeline.store.fingerprint import canonical_json, digest


def listed(tmp_path, name="list.txt", *entries: str) -> str:
    path = tmp_path / name
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return str(path)


def reasons(step: UrlFilter, *urls: str | None) -> list[str]:
    batch = TextBatch.of(["text"] * len(urls), metadata=[{"url": u} if u else {} for u in urls])
    columns = {f"url.{name}": values for name, values in step.measure(batch).items()}
    return judge_all([step], columns, [None] * len(urls)).reasons


@pytest.mark.parametrize(
    "url",
    [
        "http://bad.example/",
        "https://www.bad.example/page?q=1#x",
        "HTTPS://A.B.BAD.EXAMPLE:8443/x",
        "bad.example",
        "//bad.example/x",
        "bad.example./x",
        "http://user:pass@bad.example/",
        "http://good.example@bad.example/",
        "http:\\\\bad.example\\x",
        "http:/bad.example/x",
        "http://bad%2Eexample/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/a",
        "https://BÜCHER.example:443",
        "http://bad。example/",
        "ftp://hosts.example/",
        "https://sub.adblock.example/",
        "https://x.star.example/",
    ],
)
def test_listed_domain_is_known_under_every_spelling(tmp_path, url):
    step = UrlFilter(
        domains=listed(
            tmp_path, "d.txt", "# comment", "Bad.Example", "bücher.example", "", "! adblock",
            "0.0.0.0 hosts.example # inline", "||adblock.example^", "*.star.example",
        )
    )  # fmt: skip
    assert reasons(step, url) == ["url.domain"]


@pytest.mark.parametrize("entry", ["bad.example/ads", "https://bad.example/a?b", "1.2.3.4 a.b/c"])
def test_an_address_in_a_list_of_domains_blocks_no_domain_but_stops(tmp_path, entry):
    with pytest.raises(ValidationError, match=r"d\.txt: .* is an address with a path; name the"):
        UrlFilter(domains=listed(tmp_path, "d.txt", "worse.example", entry))


@pytest.mark.parametrize(
    "entry", ["||bad.example/ads^", "||bad.example^$third-party", "bad.example##.banner", "/ads/*"]
)
def test_a_rule_for_parts_of_pages_blocks_no_domain(tmp_path, entry):
    step = UrlFilter(domains=listed(tmp_path, "d.txt", "worse.example", entry))
    assert reasons(step, "https://bad.example/") == [""]


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "http://notbad.example/",
        "http://bad.example.org/",
        "http://good.example/bad.example",
        "http://good.example/?u=http://bad.example",
        "http://[::1]:80/",
        "http://[bad",
        "http://" + "a" * 100_000,
        "not an address at all",
    ],
)
def test_other_addresses_stay(tmp_path, url):
    step = UrlFilter(domains=listed(tmp_path, "d.txt", "bad.example"))
    assert reasons(step, url) == [""]


def test_whole_addresses_match_without_scheme_port_slash_and_fragment(tmp_path):
    step = UrlFilter(urls=listed(tmp_path, "u.txt", "http://Ex.example:80/A/b/#top"))
    assert reasons(
        step, "https://ex.example/A/b", "https://ex.example/a/b", "https://ex.example:8080/A/b"
    ) == ["url.url", "", ""]


def test_words_are_whole_and_subwords_are_not(tmp_path):
    words = listed(tmp_path, "w.txt", "casino", "free spins")
    subwords = listed(tmp_path, "s.txt", "porn")
    step = UrlFilter(words=words, subwords=subwords)
    assert reasons(
        step,
        "http://a.example/Casino-games",
        "http://casinos.example/",
        "http://a.example/get-FREE_spins/now",
        "http://a.example/%63asino",
        "http://a.example/freeporno",
        "http://a.example/p-o-r-n",
        "http://a.example/spins/free",
    ) == ["url.word", "", "url.word", "url.word", "url.subword", "url.subword", ""]


def test_soft_words_need_company(tmp_path):
    step = UrlFilter(soft_words=listed(tmp_path, "w.txt", "bet", "slots", "poker"))
    assert reasons(
        step, "http://a.example/bet", "http://a.example/bet/bet", "http://bet.example/poker"
    ) == ["", "", "url.soft_words"]
    stricter = step.model_copy(update={"max_soft_words": 0})
    assert reasons(stricter, "http://a.example/bet") == ["url.soft_words"]


def test_documents_without_an_address_may_be_dropped():
    assert reasons(UrlFilter(require_url=True), None, "http://a.example") == ["url.no_url", ""]


def test_ports_and_user_names_are_split_off():
    assert split_url("http://u:p@Ex.example:8080/a?b") == ("ex.example", "/a?b")
    assert split_url("ex.example?x") == ("ex.example", "?x")
    assert split_url("") == ("", "")


def test_identity_is_the_content_of_a_list_and_not_its_path(tmp_path):
    one = UrlFilter(domains=listed(tmp_path, "one.txt", "bad.example"))
    two = UrlFilter(domains=listed(tmp_path, "two.txt", "bad.example"))
    other = UrlFilter(domains=listed(tmp_path, "three.txt", "worse.example"))
    assert digest(one) == digest(two) != digest(other)
    assert str(tmp_path).encode() not in canonical_json(one)
    assert one == two


def test_a_dumped_step_is_read_again_and_notices_a_changed_list(tmp_path):
    path = listed(tmp_path, "d.txt", "bad.example")
    step = UrlFilter(domains=path)
    again = UrlFilter.model_validate(step.model_dump(mode="json"))
    assert again == step and reasons(again, "http://bad.example") == ["url.domain"]
    listed(tmp_path, "d.txt", "worse.example")
    with pytest.raises(ValidationError, match="other content"):
        UrlFilter.model_validate(step.model_dump(mode="json"))


def test_a_list_that_changed_meanwhile_is_an_error(tmp_path):
    step = UrlFilter(urls=listed(tmp_path, "d.txt", "meanwhile.example"))
    listed(tmp_path, "d.txt", "other.example")
    with pytest.raises(DataError, match="changed while it was in use"):
        reasons(step, "http://meanwhile.example")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"# nothing\n\n", "holds no entry"), (b"ok\n\xff\n", "line 2")],
)
def test_unusable_lists_are_wrong_settings(tmp_path, content, message):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValidationError, match=message):
        UrlFilter(domains=str(path))


def test_a_filter_that_blocks_nothing_is_a_wrong_setting():
    with pytest.raises(ValidationError, match="blocks nothing"):
        UrlFilter()


def test_the_filter_is_a_step_bound_to_languages(tmp_path):
    step = UrlFilter(domains=listed(tmp_path, "d.txt", "bad.example"), languages=("en",))
    assert isinstance(step, Step) and step.applies_to("en") and not step.applies_to("zh")
