"""Objectives that predict a code of each masked frame: clusters, and random projections."""

import jax
from flax import nnx

from sersl.config.schema import PretrainConfig
from sersl.core.errors import UserError
from sersl.data.batch import CODES
from sersl.models.layers import Linear
from sersl.models.pretraining_heads import Projection, RegressionHead
from sersl.objectives.code_prediction import (
    code_prediction,
    code_usage,
    cosine_logits,
    random_codes,
    random_projection,
)
from sersl.objectives.mean import Mean
from sersl.parallel.random import run_key
from sersl.pretraining.spectrum_target import num_spectrum_features, spectrum
from sersl.pretraining.terms.term import Term, View


class CodewordHead(nnx.Module):
    """A projection to the width of the codewords, and one learned codeword per code."""

    def __init__(self, num_inputs: int, width: int, num_codes: int, *, key: jax.Array):
        """Makes both; codewords start uniform in [0, 1) as in fairseq."""
        keys = jax.random.split(key)
        self.projection = Projection(num_inputs, width, key=keys[0])
        self.codewords = nnx.Param(
            jax.random.uniform(keys[1], (num_codes, width)), axes=("codes", None)
        )


class Clusters(Term[nnx.List]):
    """HuBERT: predict the clusters of masked frames, in one or several code books."""

    masking = "needed"

    def __init__(self, config: PretrainConfig):
        """Checks the code books."""
        super().__init__(config)
        self.settings = settings = config.objectives.clusters
        if not settings.books or len(set(settings.books)) < len(settings.books):
            raise UserError(
                f"objectives.clusters.books={list(settings.books)} must name one or more code "
                "books, each once: run `sersl cluster` to make one"
            )
        if len(settings.codes) != len(settings.books):
            raise UserError(
                f"objectives.clusters.codes={list(settings.codes)} must give the number of codes "
                f"of each of {list(settings.books)}"
            )
        self.needs = frozenset(CODES + book for book in settings.books)

    def make_heads(self, *, key: jax.Array) -> nnx.List:
        """Makes one head per code book, in their order."""
        make = CodewordHead if self.settings.similarity == "cosine" else RegressionHead
        width = self.config.encoder.width
        keys = jax.random.split(key, len(self.settings.books))
        return nnx.List(
            [
                make(width, self.settings.width, codes, key=k)
                for codes, k in zip(self.settings.codes, keys, strict=True)
            ]
        )

    def loss(self, heads: nnx.List, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Predicts the codes of masked frames, see `code_prediction`."""
        logits, codes = {}, {}
        for book, head in zip(self.settings.books, heads, strict=True):
            codes[book] = view.batch[CODES + book]
            if self.settings.similarity == "linear":
                logits[book] = head(view.last)
                continue
            logits[book] = cosine_logits(
                head.projection(view.last),
                head.codewords[...],
                temperature=self.settings.temperature,
            )
        return code_prediction(logits, codes, weights=view.weights, name="clusters")


class BestRq(Term[Linear]):
    """BEST-RQ: predict the nearest random codeword to a random projection of masked frames."""

    masking = "needed"

    def __init__(self, config: PretrainConfig):
        """Stores the settings."""
        super().__init__(config)
        self.settings = config.objectives.best_rq

    def make_heads(self, *, key: jax.Array) -> Linear:
        """Makes one linear map to the logits of all code books."""
        num_logits = self.settings.books * self.settings.codes
        return Linear(self.config.encoder.width, num_logits, axes=("embed", "codes"), key=key)

    def loss(self, heads: Linear, view: View) -> tuple[jax.Array, dict[str, Mean]]:
        """Predicts random codes of the spectrum at masked frames, see `code_prediction`.

        The metric best_rq_perplexity is the number of codes in use.
        """
        settings = self.settings
        # A function of the seed: never trained or saved, and the same after every restart.
        projections, codewords = random_projection(
            num_spectrum_features(self.config),
            num_books=settings.books,
            num_codes=settings.codes,
            width=settings.width,
            key=run_key(self.config.train.seed, "best_rq"),
        )
        codes = random_codes(spectrum(view, self.config), projections, codewords, valid=view.valid)
        scores = heads(view.last).reshape(*codes.shape, settings.codes)
        books = {str(number): number for number in range(settings.books)}
        loss, metrics = code_prediction(
            {book: scores[:, :, number] for book, number in books.items()},
            {book: codes[..., number] for book, number in books.items()},
            weights=view.weights,
            name="best_rq",
        )
        usage = code_usage(codes, num_codes=settings.codes)
        return loss, metrics | {"best_rq_perplexity": usage}
