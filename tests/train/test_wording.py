"""Questions as people send them: the problem stays, and so does what is learnt of its answer."""

from itertools import islice
from random import Random

import pytest

from denken.evaluate.rewording import REWORDINGS
from denken.tasks import get
from denken.tokenizer import Tokenizer
from denken.train.data import Drawer, documents, mixture_of
from denken.train.wording import reworded


@pytest.mark.parametrize("name", ["chain_sum", "number_sorting", "acre", "spell_backward"])
def test_a_question_stays_whole_and_has_something_around_it(name: str) -> None:
    prompt = get(name).problem(7).prompt.strip()
    drawn = {reworded(prompt, Random(seed)) for seed in range(300)}
    assert len(drawn) > 100
    assert all(prompt in each and prompt != each for each in drawn)
    # The examination rewords too, in other ways: what it finds has not been learnt by heart.
    assert not drawn & {way(prompt) for way in REWORDINGS.values()}


def test_only_data_sets_are_reworded_and_only_their_questions(tokenizer: Tokenizer) -> None:
    sources = [{"task": "chain_sum"}, {"task": "plain:sums"}, {"task": "search_qa"}]
    plain, varied = (
        [Drawer(mixture_of({"sources": sources, "reworded": share}), seed=3).conversation(i) for i in range(60)]
        for share in (0.0, 1.0)
    )
    for before, after in zip(plain, varied, strict=True):
        assert after.messages[1] == before.messages[1]
        assert (after.messages[0] != before.messages[0]) == (before.source == "chain_sum")
    assert len(list(islice(documents({"sources": sources, "reworded": 0.5}, tokenizer, seed=3, start=0), 5))) == 5
