"""Tables keep their rows apart, whatever quotes mean in them; what cannot be told is refused."""

import csv
import io
import json
import time

import numpy as np
import pytest

from audioldm2_jax.data.ingest.tables import read_table
from audioldm2_jax.errors import InputError


def read(text, name="t.csv", **settings):
    data = text if isinstance(text, bytes) else text.encode()
    return read_table(data, name, **settings)


def captions(text, name="t.csv"):
    return {row["file"]: row["caption"] for row in read(text, name)}


HEAD = {".csv": "file,caption\n", ".tsv": "file\tcaption\n"}

# Quotes mean nothing: name of the case -> captions of a.mp3, b.mp3 ... as they stand in the file.
PLAIN = {
    "opened and never closed": ["Hello", '"He said', "rain", "wind", "a dog", "a cat"],
    "opened and closed in another row": ["Hello", '"He said', "rain", 'went away"', "a", "b"],
    "twice": ['"One', 'two"', "three", '"four', "five", 'six"'],
    "closed only": ["Hello", 'he said"', "rain", "wind"],
    "around one word": ['"Hello" he said', "rain", '"Rain" "wind"', "x"],
    "within": ['a 7" record', "rain", 'say "aah" now', 'a 12"'],
    "a quote alone": ['"', "rain", "wind", '"', "x"],
    "two quotes": ['""', "rain", '"" x', "wind"],
    "whole values among others": ['"Hello there."', "rain", '"unclosed', "wind"],
    "apostrophes": ["it's", "'quoted'", "rock 'n' roll", "’"],
    "backslash": ['\\"Hello', "rain", '\\"', "wind"],
    "everything": ['"a', 'b"', '"c"', 'd "e" f', '"', '""g""'],
}


@pytest.mark.parametrize("case", PLAIN)
def test_quotes_that_mean_nothing(case):
    texts = PLAIN[case]
    body = "".join(f"{'abcdef'[i]}.mp3\t{text}\n" for i, text in enumerate(texts))
    rows = captions(HEAD[".tsv"] + body, "t.tsv")
    assert list(rows.values()) == texts
    assert list(rows) == [f"{x}.mp3" for x in "abcdef"[: len(texts)]]


@pytest.mark.parametrize("case", PLAIN)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_unpaired_quotes_in_csv(case, delimiter):
    """Every clip keeps a text of its own; a value that is CSV's alone loses its quotes."""
    texts = PLAIN[case]
    lines = [f"{'abcdef'[i]}.mp3{delimiter}{text}\n" for i, text in enumerate(texts)]
    try:
        rows = captions(f"file{delimiter}caption\n" + "".join(lines))
    except InputError as error:
        assert "line" in str(error)
        return
    assert list(rows) == [f"{x}.mp3" for x in "abcdef"[: len(texts)]]
    for text, value in zip(texts, rows.values()):
        assert value in (text, text[1:-1].replace('""', '"'), text.replace('"', "")), case


def test_common_voice():
    """Its columns, with sentences that open, close and hold quotes; no clip gets another's text."""
    names = "client_id path sentence up_votes down_votes age gender accents".split()
    sentences = ['"Who is there?', "No one.", '"Quoted."', 'She said "no".', 'The end"', '"', "’"]
    lines = [
        "\t".join(["ab12", f"cv_{i}.mp3", s, "2", "0", "", "", ""]) for i, s in enumerate(sentences)
    ]
    rows = read("\t".join(names) + "\n" + "\n".join(lines) + "\n", "validated.tsv")
    assert [row["sentence"] for row in rows] == sentences
    assert [row["path"] for row in rows] == [f"cv_{i}.mp3" for i in range(len(sentences))]


TEXTS = [
    "plain",
    "with, a comma",
    'with "quotes"',
    '"all quoted"',
    "two\nlines",
    "two\nlines, and a comma",
    "a; b | c\td",
    'say ""twice""',
    "it's",
    " spaces ",
    "",
    'three\n"quoted, lines"\nend',
    "b.wav",
    "ünï ☃",
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_csv_writers_write_is_read_back(delimiter, quoting, end):
    """Python's csv module is the oracle, over many draws of texts."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        table = [["file", "caption", "n"]]
        for i in range(rng.integers(1, 7)):
            table.append([f"{i}.wav", TEXTS[rng.integers(len(TEXTS))], str(i)])
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(table)
        name = "t.tsv" if delimiter == "\t" else "t.csv"
        try:
            rows = read(text.getvalue(), name)
        except InputError as error:
            assert "it cannot be told" in str(error)
            continue
        got = [[row["file"], row["caption"], row["n"]] for row in rows]
        table = [[cell.strip() for cell in row] for row in table]
        got = [[cell.strip() for cell in row] for row in got]
        if any('"' in c and "\n" not in c for _, c, _ in table) and delimiter in "\t|":
            # Quotes may stand as they are where the file does not tell a writer's from a reader's.
            assert [row[0] for row in got] == [row[0] for row in table[1:]]
        else:
            assert got == table[1:], text.getvalue()


def test_other_forms():
    long = "x" * 300000
    for text, expected in (
        ("file,caption\r\na.wav,one\r\nb.wav,two\r\n", {"a.wav": "one", "b.wav": "two"}),
        ("file,caption\ra.wav,one\rb.wav,two\r", {"a.wav": "one", "b.wav": "two"}),
        ("\ufefffile,caption\na.wav,one", {"a.wav": "one"}),
        ("file,caption,,\na.wav,one,,\n", {"a.wav": "one"}),
        ("file,caption\na.wav,one,,\n", {"a.wav": "one"}),
        ("file,caption\na.wav\n\n\nb.wav,two\n", {"a.wav": "", "b.wav": "two"}),
        ("file, caption\na.wav, one\n", {"a.wav": " one"}),
        ('file, caption\na.wav, "one, two"\n', {"a.wav": "one, two"}),
        ('"file","caption"\n"a.wav","one ""two"""\n', {"a.wav": 'one "two"'}),
        ("file;caption\na.wav;one, two\n", {"a.wav": "one, two"}),
        ('file|caption\na.wav|say "one\n', {"a.wav": 'say "one'}),
        ('file,caption\na.wav,"say \\"one\\", two"\n', {"a.wav": 'say "one", two'}),
        (f'file,caption\na.wav,"{long}"\n', {"a.wav": long}),
        ("# my clips, 2026\n\nfile,caption\na.wav,one\n", {"a.wav": "one"}),
        (",file,caption\n0,a.wav,one\n", {"a.wav": "one"}),
        ("file,caption\na.wav,one\u2028two\x85\x0bthree\n", {"a.wav": "one\u2028two\x85\x0bthree"}),
    ):
        assert dict(captions(text).items()) == expected, text[:60]
    assert read("file,caption\n") == [] and read("") == [] and read("\n \n") == []


def test_values_over_several_lines():
    """Captions with line breaks and commas, as MusicCaps has them."""
    for body in (
        "one\ntwo",
        "one,\ntwo",
        "one\ntwo, three",
        "A dog, barks\nb, rain",
        '""Hi"", she said,\nthen\n\nleft',
    ):
        text = f'file,caption\na.wav,"{body}"\nb.wav,plain\nc.wav,"x, y"\n'
        rows = captions(text)
        assert rows == {"a.wav": body.replace('""', '"'), "b.wav": "plain", "c.wav": "x, y"}


def test_what_cannot_be_told_is_refused():
    for text, message in (
        ('file,caption\na.wav,"one, two\nb.wav,x\n', "line 2 opens a quote"),
        ('file,caption\na.wav,"x, y"\nb.wav,"un, closed\nc.wav,z\n', "line 3 opens a quote"),
        ('id,caption\nxa,"one\nxb,two"\nxc,three\n', "line 2 opens a quote"),
        ("file,caption,caption\na.wav,x,y\n", "two columns are named 'caption'"),
        ("file,caption\na.wav,x,y\n", "line 2 has 3 values for 2 columns"),
        ("file,caption\na.wav,x\0y\n", "line 2 holds a NUL"),
        (b"file,caption\na.wav,caf\xe9\n", "line 2 is not UTF-8"),
        ("file,caption\na.wav,x\n".encode("utf-16"), "it is UTF-16"),
        ("file,caption\na.wav,x\n".encode("utf-16-le"), "NUL"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read(text)
        assert "\n" not in str(caught.value)


def test_json_that_is_no_table():
    deep = "[" * 100000
    for text, name, message in (
        (deep, "t.json", "no JSON"),
        ('{"data": ' * 5000, "t.json", "no JSON"),
        ("1" * 10000, "t.json", "no JSON"),
        ("3", "t.json", "a list of objects"),
        ('["a"]', "t.json", "entry 1 is no object"),
        (deep, "t.jsonl", "line 1"),
        ('{"a": 1}\n[2]', "t.jsonl", "entry 2"),
    ):
        with pytest.raises(InputError, match=message):
            read(text, name)
    line = json.dumps({"file": "a", "caption": "x\u2028y"}, ensure_ascii=False)
    assert read(line + "\n", "t.jsonl")[0]["caption"] == "x\u2028y"


@pytest.mark.parametrize("rows_above", ["", 'b.wav,"x, y"\n', 'b.wav,"x\ny"\n'])
def test_too_many_values_are_called_so(rows_above):
    line = 2 + rows_above.count("\n")
    with pytest.raises(InputError, match=f"line {line} has 3 values for 2 columns"):
        read(f'file,caption\n{rows_above}a.wav,foo, bar\nc.wav,"p, q"\n')


def test_blanks_after_a_closing_quote():
    text = 'file,caption\na.wav,"x, ""y"" , z" \nb.wav, "c\nd"\t\n"c.wav" ,e\n'
    assert captions(text) == {"a.wav": 'x, "y" , z', "b.wav": "c\nd", "c.wav": "e"}


@pytest.mark.parametrize("delimiter", [",", "\t", "|"])
def test_a_header_written_as_a_comment(delimiter):
    body = f"a.wav{delimiter}dog\n"
    head = f"file{delimiter}caption\n"
    for text in (f"# {head}{body}", head + body, f"# one{delimiter}two\n{head}{body}"):
        assert captions(text) == {"a.wav": "dog"}


def test_wide_tables_take_linear_time_and_memory():
    start = time.process_time()
    assert len(read("file,caption\na.wav,x" + "," * 400000 + "\n")) == 1
    with pytest.raises(InputError, match="at most 1000"):
        read(",".join(f"c{i}" for i in range(100000)) + "\na\n")
    assert time.process_time() - start < 3
    first, *others = read(",".join(f"c{i}" for i in range(1000)) + "\n" + "a\n" * 2000)
    assert len(first) == 1000 and all(row == {"c0": "a"} for row in others)


@pytest.mark.parametrize("line", [True, False])
def test_json_names_that_stand_twice(line):
    if line:
        text, name = '{"file": "a"}\n{"file": "a", "caption": "x", "caption": "y"}', "t.jsonl"
        match = "line 2.*'caption' stands there twice"
    else:
        text, name = '{"a.wav": {"caption": "x"}, "a.wav": {"caption": "y"}}', "t.json"
        match = "'a.wav' stands there twice"
    with pytest.raises(InputError, match=match):
        read(text, name)
