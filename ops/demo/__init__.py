"""A small real campaign: tiles of an elevation model become slope and hillshade products.

`terrain.py` is the job's program. It imports nothing of this project, since it also runs in a container image that
has only numpy, matplotlib and Pillow; `datasets.json` recognises its products.
"""
