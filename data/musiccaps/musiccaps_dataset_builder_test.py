"""MusicCaps' table beside audio; captions hold quotes, commas and newlines."""

from audioldm2_jax.corpora import archives

HEADER = "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,"
HEADER += "is_balanced_subset,is_audioset_eval\n"


def test_table_and_audio(manual, built):
    rows = '-0Gj8-vB1q4,30,40,"/m/0140xf,/m/02cjck","[\'low quality\', ""it\'s sad""]",'
    rows += '"The ""low"" song,\nslow.",4,False,True\n'
    rows += "-0SdAVK79lg,30,40,/m/0155w,['guitar song'],A guitar.,0,True,False\n"
    rows += "gone4567890,0,10,/m/0155w,not a list,Gone.,0,False,False\n"
    archives.write(
        manual,
        {
            "musiccaps-public.csv": (HEADER + rows).encode(),
            "wav/-0Gj8-vB1q4.wav": archives.sound(1, rate=48000, channels=2),
            "wav/-0SdAVK79lg_30_40.wav": archives.sound(2),
        },
    )
    corpus = built("data/musiccaps")
    clip = corpus.splits["eval"]["-0Gj8-vB1q4_30"]
    assert clip["captions"] == ['The "low" song,\nslow.']
    assert clip["labels"] == ["low quality", "it's sad"]
    assert list(corpus.splits["train"]) == ["-0SdAVK79lg_30"]
    assert corpus.skipped == {"gone4567890_0": "missing"}
