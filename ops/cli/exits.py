"""Exit codes of `jobstream`: stable, for scripts.

`submit --wait` ends with the job's own exit status where it has one, which may be any of these numbers.
"""

#: Done.
OK = 0
#: The job failed or was revoked, a request was refused, something doesn't run, differs or doesn't hold.
FAILED = 1
#: The command line, a file or a setting is wrong.
USAGE = 2
#: Not within the time: the request is in Kafka, and will be taken when the agents get to it.
TIMEOUT = 3
#: There is no such job, queue, worker or file.
NOT_FOUND = 4
#: Kafka or Elasticsearch can't be reached, or a server doesn't start.
UNREACHABLE = 5
#: Ended by Ctrl-C.
INTERRUPTED = 130
