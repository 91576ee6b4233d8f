"""What the search index holds: documents made from facts, index templates, the reading of bulk answers.

Pure: the same facts give the same documents, in any order and however often (design §10). May import `pipeline`'s
messages and statuses and small libraries; talking to Elasticsearch is `agents.sink`'s.
"""
