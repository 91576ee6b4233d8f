"""From a decoded submission to the jobs that it asks for: pure, the same result for the same record (spec §1).

`request` checks a submission, `creators` says what makes jobs of a job type, `loader` finds their functions,
`registered` is what a registered job type makes, `jobs` fans out to the inbox message, `rejection` names what can't be
accepted; `limits`, `disk` and `numbers` are rules of one noun each. A creator is an operator's own code and the one
thing here that may do I/O.
May import: `pipeline`, the standard library, orjson and pydantic.
"""
