"""A small real campaign: tiles of an elevation model become slope and hillshade products.

`terrain.py` is the job's program. It imports nothing of this project, since it also runs in a container image that
has only numpy, matplotlib and Pillow; `datasets.json` recognises its products. Around it: what is submitted and what
must become of it (`submissions`), the installation that runs it (`stage`), the container image (`image`), the run from
the first submission to the last fact (`campaign`), the verdict (`outcome`) and what is printed (`report`).
May import everything; nothing imports it.
"""
