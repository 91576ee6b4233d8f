"""What attempts print, in chunks: `chunker` cuts bytes into chunks within bounds, `reading` puts them together again.

Pure: bytes and times come in, chunks and bytes go out. May import: the standard library and `pipeline.messages`.
"""
