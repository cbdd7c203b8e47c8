"""Writes a table of text vectors for the embedded corpus, for `fusion.views=text=FILE`.

    python docs/examples/sentences.py --data_dir data --output sentences.parquet
    python docs/examples/sentences.py --data_dir data --output states.parquet --states \
        --word_errors 0.2 --missing 0.1

With real text, put the vectors of any text model, or of a recogniser's transcripts, in its place.
"""

import argparse

import pyarrow as pa
import pyarrow.parquet as pq

from sersl.corpora.index import load_index
from sersl.corpora.synthetic.sentences import recognized, sentence, word_vectors


def main() -> None:
    """Reads ids and categories, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="of sersl prepare --corpus synthetic")
    parser.add_argument("--output", required=True, help="a file .parquet")
    parser.add_argument("--states", action="store_true", help="a vector per word, not their mean")
    parser.add_argument("--word_errors", type=float, default=0.0, help="share of wrong words")
    parser.add_argument("--missing", type=float, default=0.0, help="share of rows without text")
    arguments = parser.parse_args()
    index = load_index(arguments.data_dir, "synthetic")
    ids, rows = [], []
    left_out = 0.0
    for utterance_id, category in zip(
        index.column("utterance_id"), index.column("category"), strict=True
    ):
        words = sentence(utterance_id, category)
        words = recognized(words, utterance_id, error_rate=arguments.word_errors)
        vectors = word_vectors(words)
        left_out += arguments.missing
        if left_out >= 1:  # such as every tenth utterance
            left_out, vectors = left_out - 1, vectors[:0]
        elif not arguments.states and len(vectors):
            vectors = vectors.mean(0, keepdims=True)
        ids.append(str(utterance_id))
        rows.append(vectors.tolist())
    kind = pa.list_(pa.list_(pa.float32()))
    table = pa.table({"utterance_id": ids, "vectors": pa.array(rows, kind)})
    pq.write_table(table, arguments.output)
    print(f"{len(ids)} utterances, {sum(map(bool, rows))} with text: {arguments.output}")


if __name__ == "__main__":
    main()
