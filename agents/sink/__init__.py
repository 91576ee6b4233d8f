"""The sink: facts from jobs.events and tasks.events into Elasticsearch (design §10).

Lives here: the Faust app (`app`), its batches (`batcher`), the writer that doesn't give up (`writer`), further names
of indices (`aliases`), the index templates' installation (`installer`), and `main`. What is written is decided in
`pipeline.index`.
"""
