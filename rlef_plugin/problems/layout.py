"""How a store lies on disk; the reader and the writer share this and nothing else.

    manifest.json          format, versions, counts, source, account of the build, sizes and sha256s; written last
    index.arrow            id, split, place and fingerprint of every problem: all that is read on opening
    problems.arrow         descriptions, tests, limits; an Arrow stream of uncompressed batches of about 8 MB
    solutions.arrow        Python programs; opened by `solutions` only, so training never touches it
    prompts/<split>.jsonl  what the host reads: {"prompt": id, "label": id, "datasource": split}

A place is the byte at which a batch of problems starts, the same of its solutions, and the row in both. Streams and
not Arrow's file format with its footer, since a stream that was cut at a batch's end can be continued.

A change of anything here is a new VERSION; there is no migration, a store is built again from its source.
"""

import pyarrow as pa

FORMAT = "rlef-problem-store"
VERSION = 2
MANIFEST, INDEX, PROBLEMS, SOLUTIONS = "manifest.json", "index.arrow", "problems.arrow", "solutions.arrow"
REBUILD = "build it again with `rlef data build`"

_TEXTS = pa.list_(pa.large_string())
PLAIN_COLUMNS = {
    "id": pa.string(),
    "description": pa.large_string(),
    "time_limit_s": pa.float64(),
    "memory_limit_mb": pa.int64(),
    "input_file": pa.string(),
    "output_file": pa.string(),
    "split": pa.string(),
    "name": pa.large_string(),
    "source": pa.large_string(),
    "difficulty": pa.large_string(),
    "checker": pa.large_string(),
}
TEST_COLUMNS = {f"{kind}_{end}s": _TEXTS for kind in ("public", "private") for end in ("input", "output")}
JSON_COLUMNS = {"metadata": pa.large_string()}  # null where there is none
PROBLEM_SCHEMA = pa.schema(PLAIN_COLUMNS | JSON_COLUMNS | TEST_COLUMNS)
SOLUTION_SCHEMA = pa.schema({"code": _TEXTS, "correct": pa.list_(pa.bool_()), "verdict": pa.list_(pa.string())})
INDEX_SCHEMA = pa.schema(
    {"id": pa.string(), "split": pa.string(), "fingerprint": pa.string()}
    | {"problems_at": pa.int64(), "solutions_at": pa.int64(), "row": pa.int32()}
)
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
