"""Folds that papers report scores on, as data: corpus -> test speakers of each fold."""

# EmoBox (Ma et al., Interspeech 2024, arXiv:2406.07162), data/ravdess/fold_{1..6}: four actors
# per fold, no speaker in two of them.
EMOBOX_TEST_SPEAKERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ravdess": (
        ("01", "11", "20", "21"),
        ("04", "10", "12", "14"),
        ("08", "09", "19", "23"),
        ("03", "05", "07", "24"),
        ("02", "15", "16", "18"),
        ("06", "13", "17", "22"),
    ),
}
