"""How does it learn? `run` trains what a recipe describes, whatever its kind; the modules beside this are the kinds.

Nothing heavy is imported until something runs.
"""

from __future__ import annotations

from pathlib import Path


def run(recipe_path: str | Path, *, run_dir: str | Path | None = None, resume: bool = True, scale: float = 1.0) -> Path:
    """Train what a recipe describes and return the run's folder, `runs/NAME` where none is given.

    [rl] learns from rewards; [sample] first makes a set of its own and then learns from it; [data] alone reads texts.
    A run that stopped, in whatever part, goes on where it was; one that is asked to stop returns early
    (`denken.train.pipeline.finished` tells). scale: see `denken.config.Recipe.scaled`.
    """
    from denken.config import Recipe

    path = Path(recipe_path)
    recipe = Recipe.load(path).scaled(scale)
    folder = Path(run_dir) if run_dir is not None else Path("runs") / recipe.name
    if recipe.rl is not None:
        from denken.train import grpo

        return grpo.train(path, run_dir=folder, resume=resume, scale=scale)
    from denken.train import pretrain
    from denken.train.parallel import once

    if recipe.sample is not None:
        from denken.train.sample import make_set

        if not once(lambda: make_set(recipe, path.parent, folder, fill=scale != 1)):
            return folder
    elif recipe.data.save_documents:
        from denken.train.sample import save_documents

        once(lambda: save_documents(recipe, path.parent, folder))
    return pretrain.train(path, run_dir=folder, resume=resume, scale=scale)
