import numpy as np
import pandas as pd

from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.rejects import Reason, Reject, rejects_table
from assets.values import NsfwScores
from orchestration.cli.score import scores_table

NOTE = "Only the first 3 of 9 frames could be read."


def test_the_table_names_frames_and_what_could_not_be_read():
    images = pd.DataFrame({"uri": ["/a.png", "/b.gif", "/c.gif"], "image_id": list("abc")})
    images = images.assign(width=[4000, 20, 500], height=[3000, 30, 256])
    rejects = rejects_table([Reject("/d.txt", Reason.NOT_AN_IMAGE, "It is text.")])
    scores = pd.DataFrame({"image_id": list("abc"), "score": [0.2, 0.9, 0.5]}).assign(
        frame=pd.array([None, 7, 0], "Int64"),
        seconds=[np.nan, 1.4, np.nan],
        note=pd.array([None, None, NOTE], "string"),
    )
    value = NsfwScores(scores, "m", "nsfw", "f", 3)
    table = scores_table(Catalogue(images, rejects, 4, 3), value, 0.5)
    assert table.to_csv(index=False).splitlines() == [
        "uri,image_id,score,flagged,frame,seconds,reason,detail,"
        "width,height,read_width,read_height",
        "/b.gif,b,0.9,True,7,1.4,,,20,30,20,30",
        f"/c.gif,c,0.5,True,0,,,{NOTE},500,256,500,256",
        "/a.png,a,0.2,False,,,,,4000,3000,341,256",
        "/d.txt,,,,,,not an image,It is text.,,,,",
    ]


def test_scores_are_compared_as_they_are_written_and_as_evaluate_compares_them():
    images = pd.DataFrame(
        {"uri": ["/a.png", "/b.png"], "image_id": list("ab"), "width": 300, "height": 256}
    )
    # 0.7 in float32 is less than 0.7.
    scores = pd.DataFrame({"image_id": list("ab"), "score": np.array([0.75, 0.7], np.float32)})
    scores = scores.assign(frame=pd.array([None] * 2, "Int64"), seconds=np.nan, note=None)
    catalogue = Catalogue(images, rejects_table([]), 2, 2)
    table = scores_table(catalogue, NsfwScores(scores, "m", "nsfw", "f", 2), 0.7)
    assert table.flagged.tolist() == [True, False]
    assert table.flagged.tolist() == (table.score >= 0.7).tolist()
    assert table.dtypes.astype(str).tolist() == [
        *("string", "string", "float64", "boolean", "Int64", "float64", "string", "string"),
        *("Int64",) * 4,
    ]
