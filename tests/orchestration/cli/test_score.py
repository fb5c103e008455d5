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
    parts = {"model": "m", "model_version": "3"}
    found = NsfwScores(scores, "m", "nsfw", "f", 3, parts)
    table = scores_table(Catalogue(images, rejects, 4, 3), found)
    assert table.to_csv(index=False).splitlines() == [
        "uri,image_id,score,frame,seconds,reason,detail,"
        "width,height,read_width,read_height,model,model_version",
        "/b.gif,b,0.9,7,1.4,,,20,30,20,30,m,3",
        f"/c.gif,c,0.5,0,,,{NOTE},500,256,500,256,m,3",
        "/a.png,a,0.2,,,,,4000,3000,341,256,m,3",
        "/d.txt,,,,,not an image,It is text.,,,,,m,3",
    ]
