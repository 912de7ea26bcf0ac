"""AudioCaps' tables beside a tar with PANNs' names and a folder with others."""

from audioldm2_jax.corpora import archives

HEADER = "audiocap_id,youtube_id,start_time,caption\n"


def test_tables_and_audio(manual, built):
    train = (
        '1,aaaaaaaaaaa,30,"A dog barks, then ""howls"""\n2,-bbbbbbbbbb,0,Rain\n3,ccccccccccc,5,x\n'
    )
    val = "".join(f"{10 + i},ddddddddddd,30,caption {i}\n" for i in range(5))
    archives.write(
        manual,
        {
            "dataset/train.csv": (HEADER + train).encode(),
            "dataset/val.csv": (HEADER + val).encode(),
            "more/ddddddddddd_30.flac": archives.sound(3, kind="FLAC"),
        },
    )
    archives.write_tar(
        manual / "dataset.tar",
        {
            "data/dataset/audioset/zip_audios/Yaaaaaaaaaaa.wav": archives.sound(1, rate=32000),
            "data/dataset/audioset/zip_audios/Y-bbbbbbbbbb.wav": archives.sound(2),
        },
    )
    corpus = built("data/audiocaps")
    assert corpus.skipped == {"ccccccccccc_5": "missing", "test.csv": "metadata not there"}
    train = corpus.splits["train"]
    assert train["aaaaaaaaaaa_30"]["captions"] == ['A dog barks, then "howls"']
    assert train["aaaaaaaaaaa_30"]["audio"] == archives.sound(1, rate=32000)
    assert train["-bbbbbbbbbb_0"]["captions"] == ["Rain"]
    (clip,) = corpus.splits["validation"].values()
    assert clip["captions"] == [f"caption {i}" for i in range(5)]
    assert corpus.statistics["captions"] == 7
