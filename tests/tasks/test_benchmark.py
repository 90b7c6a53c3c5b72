"""Published benchmarks from their own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from denken.errors import ConfigError
from denken.tasks import get
from denken.tasks.benchmark import question

FILES = Path(__file__).parents[2].parent / "shared" / "data" / "benchmarks"

FORMATS = [
    ({"problem": "What is $x$?", "answer": "\\frac{1}{2}"}, "math", "\\boxed{0.5}", "2"),
    ({"question": "How many?", "answer": "6+66 = <<6+66=72>>72\n#### 1,072"}, "numeric", "1072", "72"),
    ({"Body": "Two hats.", "Question": "How many?", "Answer": 145.0}, "numeric", "145", "14"),
    ({"input": "How many ?", "target": 43.5}, "numeric", "43.50", "43"),
    ({"question": "Which?", "options": ["A)5", "B)6"], "correct": "B"}, "choice", "(B)", "A"),
    ({"question": "Which?", "choices": ["five", "six"], "answer": 1}, "choice", "B) six", "B or A"),
    ({"nums": [44, 19, 35], "target": 98}, "expression", "44 + 19 + 35", "98"),
    ({"question": "Who?", "answer": "The Titan IIIE"}, "words", "titan iiie.", "a rocket"),
]


@pytest.mark.parametrize(("record", "check", "right", "wrong"), FORMATS)
def test_a_record_of_a_known_format_is_a_question(tmp_path: Path, record, check, right, wrong) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text(json.dumps(record) + "\n")
    task = get(str(path))
    assert task.check == check
    problem = task.problem(900_000_000)
    assert task.score(problem, right).reward == 1.0
    assert task.score(problem, wrong).reward == 0.0
    assert task.score(problem, problem.prompt).reward == 0.0
    assert task.score(problem, "").reward == 0.0


def test_choices_are_listed_once_with_their_letters() -> None:
    asked, answer, _ = question({"question": "Which?", "options": ["A)5", "B) 6", "seven"], "correct": "C"})
    assert asked.splitlines()[1:4] == ["A) 5", "B) 6", "C) seven"]
    assert answer == "C"


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"question": 3, "answer": "x"},
        {"question": "Which?", "options": ["A)5"], "correct": "A"},
        {"question": "Which?", "options": ["A)5", "B)6"], "correct": "Z"},
        {"question": "Which?", "choices": ["5", "6"], "answer": 2},
        {"question": "Which?", "choices": ["5", "6"], "answer": True},
        {"input": "x", "target": "5"},
        {"nums": [1, "2"], "target": 3},
        {"nums": [], "target": 3},
    ],
)
def test_what_is_no_question_of_theirs_is_not_taken_for_one(record) -> None:
    assert question(record) is None


def test_a_list_of_records_is_a_file_too_and_errors_say_where(tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps([{"question": "Who?", "answer": "Ada"}, {"question": "Who?"}]))
    with pytest.raises(ConfigError, match="question 2: this is no question of the kind"):
        get(str(path))
    path.write_text('{"question": "Who?"}')
    with pytest.raises(ConfigError, match="no list of questions"):
        get(str(path))
    path.write_text("[")
    with pytest.raises(ConfigError, match="not JSON"):
        get(str(path))


@pytest.mark.skipif(not FILES.is_dir(), reason="the benchmarks are not here")
def test_the_published_files_are_read_as_they_are() -> None:
    read = {}
    for path in sorted(FILES.iterdir()):
        if path.name == "countdown_tinyzero_prompt.json":  # an example of a prompt, no benchmark
            continue
        task = get(str(path))
        read[path.stem] = (len(task), task.check)
        for seed in range(3):
            problem = task.problem(seed)
            if task.check != "expression":
                assert task.score(problem, problem.answer).reward == 1.0
    assert read["aime24"] == (30, "math")
    assert read["gsm8k_train"] == (7473, "numeric")
    assert read["mmlu_dev_val"] == (1816, "choice")
    assert read["svamp"] == (1000, "numeric")
    assert read["musique_dev_qa"][1] == "words"
