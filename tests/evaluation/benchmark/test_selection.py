"""Lists of our own: exact counts, by name alone, nested, and the same from metadata."""

import numpy as np
import pytest

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.benchmark.references import wav_name
from audioldm2_jax.evaluation.benchmark.selection import prompt_of, published_list, select
from audioldm2_jax.evaluation.benchmark.table_files import load_table
from audioldm2_jax.evaluation.tables import Corpus


def choose(items, corpus, **options):
    return select(items, corpus, name=lambda x: x[0], labels=lambda x: (x[1],), **options)


def clips(count, classes):
    return [(f"clip{i}.wav", f"class {i % classes}") for i in range(count)]


def test_random_draws_by_name_alone():
    """Of clips in another order, of more clips, and of a longer list the same are drawn."""
    corpus, items = Corpus("x", "test", selection="random", count=40), clips(200, 7)
    chosen = choose(items, corpus)
    assert len({*chosen}) == 40 and chosen == choose(items[::-1], corpus)
    assert chosen[:10] == choose(items, corpus, limit=10)
    fewer = choose([item for item in items if item != chosen[5]], corpus)
    assert len({*chosen} - {*fewer}) == 1
    assert {*chosen} != {*choose(items, corpus, seed=1)}
    # By hash: no stretch of the list is preferred. 5 of 40 below position 25, within 5 deviations.
    positions = np.array([items.index(item) for item in chosen])
    assert abs((positions < 100).mean() - 0.5) < 5 * 0.5 / np.sqrt(40)


def test_stratified_has_the_count_of_each_class():
    corpus = Corpus("x", "test", selection="stratified", count=8)
    chosen = choose(clips(300, 10), corpus)
    assert np.unique([label for _, label in chosen], return_counts=True)[1].tolist() == [8] * 10
    few = choose(clips(30, 10), corpus)
    assert len(few) == 30, "all of a class that has fewer"


def metadata(corpus, rows):
    header = {
        "esc50": "filename,fold,target,category,esc10,src_file,take",
        "urbansound8k": "slice_file_name,fsID,start,end,salience,fold,classID,class",
    }[corpus]
    return "\n".join([header, *rows]).encode()


def test_esc50s_list_is_a_fold_of_400():
    corpus = load_table("study_table1").rows[0].corpus
    rows = [
        f"{fold}-{i}-A-{i % 50}.wav,{fold},{i % 50},class_{i % 50},False,{i},A"
        for fold in range(1, 6)
        for i in range(400)
    ]
    names = published_list(metadata("esc50", rows), corpus)
    assert len({*names}) == 400 and all(name.startswith("5-") for name in names)
    targets = [int(name.split("-")[-1].removesuffix(".wav")) for name in names]
    assert np.bincount(targets).tolist() == [8] * 50
    assert names[:20] == published_list(metadata("esc50", rows[::-1]), corpus, limit=20)


def test_urbansound8ks_list_has_870_of_all_folds():
    corpus = next(r.corpus for r in load_table("study_table2").rows if r.name.startswith("us8k"))
    rows = [f"{i}-{i % 10}-0-0.wav,{i},0,4,1,{1 + i % 10},{i % 10},dog_bark" for i in range(8732)]
    names = published_list(metadata("urbansound8k", rows), corpus)
    assert len({*names}) == 870
    # The same that a row draws from the corpus' clips, whose ids are these names.
    assert names == [item[0] for item in choose([(r.split(",")[0], "dog") for r in rows], corpus)]


def test_other_metadata_is_refused():
    with pytest.raises(InputError, match="esc50 and urbansound8k only"):
        published_list(b"", Corpus("audioset", "eval"))
    with pytest.raises(InputError, match="no column"):
        published_list(b"a,b\n1,2\n", Corpus("esc50", "fold5"))


def test_prompts_and_names():
    labels = ("dog bark", "rain")
    assert prompt_of("{labels}", labels=labels) == "dog bark, rain"
    assert prompt_of("the sound of {labels}", labels=labels[:1]) == "the sound of dog bark"
    assert prompt_of("{caption}", caption=" a dog ") == "a dog"
    assert prompt_of("{labels}") == "" == prompt_of("{transcript}")
    for wrong in ("{label}", "{0}", "{", "{caption.x}"):
        with pytest.raises(InputError, match="prompt"):
            Corpus("x", "test", wrong)
    assert [wav_name(n) for n in ("a.flac", "s/b.wav", "yid_3.5", "c")] == [
        *("a.wav", "s-b.wav", "yid_3.5.wav", "c.wav")
    ]
