"""VGGSound's table, which has no header, beside files named by video and start."""

from audioldm2_jax.corpora import archives


def test_table_and_audio(manual, built):
    table = '---g-f_I2yQ,1,people marching,test\n--0PQM4-hqg,30,"waterfall, burbling",train\n'
    archives.write(
        manual,
        {
            "vggsound.csv": (table + "--56QUhyDQM,185,playing tennis,train\n").encode(),
            "audio/---g-f_I2yQ_000001.wav": archives.sound(1),
            "audio/--0PQM4-hqg_000030.flac": archives.sound(2, kind="FLAC"),
        },
    )
    corpus = built("data/vggsound")
    assert corpus.splits["test"]["---g-f_I2yQ_000001"]["labels"] == ["people marching"]
    assert corpus.splits["train"]["--0PQM4-hqg_000030"]["labels"] == ["waterfall, burbling"]
    assert corpus.skipped == {"--56QUhyDQM_000185": "missing"}
