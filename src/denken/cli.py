"""The command line: one short function a command, which says what can be given and hands the work on.

Everything heavy is imported by the command that needs it, so that `denken --help` answers at once.
What goes wrong on purpose (`DenkenError`) is one sentence on standard error and exit code 2.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from denken.errors import ConfigError, DenkenError, RequestError, UnknownNameError

if TYPE_CHECKING:
    from rich.table import Table

    from denken.assistant import Assistant
    from denken.chat.message import Message
    from denken.evaluate.examination import Examinee
    from denken.search.library import Library
    from denken.search.tool import Searcher
    from denken.serve.device import Device
    from denken.serve.runs import Runs
    from denken.serve.speaker import Reply, Speaker
    from denken.serve.upstream.pool import Pool
    from denken.types import SamplingParams

    Put = Callable[[Sequence[Message], bool], Reply]

app = typer.Typer(
    help="Train, shrink, run and talk to reasoning models on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Model = Annotated[str, typer.Option("--model", "-m", help="'bundled', or a folder in the Hugging Face layout.")]
Adapter = Annotated[
    str | None, typer.Option(help="An adapter over the model: a folder in PEFT's format, or of a run with lora.")
]
NoThinking = Annotated[bool, typer.Option("--no-thinking", help="Answer at once, without a thought.")]
Temperature = Annotated[
    float | None, typer.Option(help="0 always takes the likeliest token; the model's own if absent.")
]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same answer again.")]
Budget = Annotated[int | None, typer.Option(help="The most tokens of thought; then the answer follows.")]
MaxTokens = Annotated[int | None, typer.Option(help="The most tokens of thought and answer together.")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="Processor threads for the network.")]
OnDevice = Annotated[
    Literal["cpu", "cuda"], typer.Option("--device", help="Where the network computes: the processor, or a GPU.")
]
Head = Annotated[
    Literal["int8", "int4"] | None,
    typer.Option(help="Round the output projection to so many bits: sooner, and near what the model would say."),
]
Rows = Annotated[
    Literal["bf16", "int8"] | None,
    typer.Option(help="Round what is kept of a text while it is written: less memory, and sooner where many are."),
]
Store = Annotated[
    str | None,
    typer.Option(
        help="Keys, ledger and chats: a file, or postgresql://HOST/NAME; DENKEN_STORE or your data folder if absent."
    ),
]
Web = Annotated[
    Literal["ddgs", "searxng", "brave", "tavily", "off"],
    typer.Option(help="Who is asked where Search is on; brave and tavily take BRAVE_API_KEY, TAVILY_API_KEY."),
]
Searxng = Annotated[str | None, typer.Option(help="With --web searxng: its address.")]
Search = Annotated[bool, typer.Option("--search", help="Look things up, on the web and in your library.")]
LIBRARY = "library.db"
DEVICE = "device"
KeyName = Annotated[str, typer.Argument(help="What the key is called.")]

keys_app = typer.Typer(help="Keys for the server: create, list, revoke.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
library_app = typer.Typer(help="Your own documents, for answers to be looked up in.", no_args_is_help=True)
app.add_typer(library_app, name="library")
models_app = typer.Typer(help="The models that are here: list, show, remove.", no_args_is_help=True)
app.add_typer(models_app, name="models")


def main() -> None:
    """Runs the command line; the entry point of `denken` and `python -m denken`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character shows a mark
            stream.reconfigure(errors="replace")
    try:
        app()
    except DenkenError as error:
        complain(str(error))
        sys.exit(2)


@app.command()
def ask(
    question: Annotated[str | None, typer.Argument(help="What to ask; standard input if absent or '-'.")] = None,
    model: Model = "bundled",
    adapter: Adapter = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with thought, answer and costs.")] = False,
    no_thinking: NoThinking = False,
    temperature: Temperature = None,
    seed: Seed = None,
    budget: Budget = None,
    max_tokens: MaxTokens = None,
    threads: Threads = None,
    search: Search = False,
    web: Web = "ddgs",
    searxng: Searxng = None,
    store: Store = None,
) -> None:
    """Ask one question: the thought (dimmed), then the answer, then its sources.

    Where the output goes to a file or another program, it is the answer alone; all else goes to standard error.
    """
    if question in (None, "-"):
        if sys.stdin.isatty():
            raise RequestError('There is no question; give one, as in: denken ask "What is 17 times 23?"')
        question = sys.stdin.buffer.read().decode("utf-8", errors="replace").strip()
    from denken.assistant import load
    from denken.chat.message import Message
    from denken.terminal import gather, write

    searcher = _searcher(web, searxng, store) if search else None
    with load(model, threads=threads, adapter=adapter) as assistant:
        put = _asking(assistant, _sampling(assistant.defaults, temperature, seed, budget, max_tokens), searcher)
        reply = put([Message("user", question or "")], not no_thinking)
        if as_json:
            answer, sources = gather(reply)
            record = {"model": assistant.name, "question": question, **asdict(answer)}
            record |= {"sources": [asdict(source) for source in sources]} if search else {}
            print(json.dumps(record, ensure_ascii=False, indent=2))
            return
        write(reply)
        if reply.finish_reason == "length":
            note("The answer was cut: it reached --max-tokens or the model's context.")


@app.command()
def chat(
    model: Model = "bundled",
    adapter: Adapter = None,
    no_thinking: NoThinking = False,
    temperature: Temperature = None,
    seed: Seed = None,
    budget: Budget = None,
    max_tokens: MaxTokens = None,
    threads: Threads = None,
    device: OnDevice = "cpu",
    search: Search = False,
    web: Web = "ddgs",
    searxng: Searxng = None,
    store: Store = None,
) -> None:
    """Talk in the terminal. /new begins again, /think switches thinking, /quit leaves.

    Ctrl-C stops an answer, Ctrl-D leaves.
    """
    from denken.assistant import load

    searcher = _searcher(web, searxng, store) if search else None
    with load(model, threads=threads, adapter=adapter, device=device) as assistant:
        note(f"{assistant.name} listens. /new begins again, /think switches thinking, /quit or Ctrl-D leaves.")
        put = _asking(assistant, _sampling(assistant.defaults, temperature, seed, budget, max_tokens), searcher)
        _converse(put, thinking=not no_thinking)


@app.command()
def serve(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="As elsewhere; 'bundled' if absent, or none here with --upstream."),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="FOLDER or NAME=FOLDER: an adapter, served beside the model as another; may be repeated."),
    ] = None,
    upstream: Annotated[
        list[str] | None, typer.Option(help="The address of a server whose models to serve; may be repeated.")
    ] = None,
    upstream_model: Annotated[
        list[str] | None, typer.Option(help="A model of theirs; all that they list if absent; may be repeated.")
    ] = None,
    upstream_key_env: Annotated[
        list[str] | None, typer.Option(help="The variable with the key for all of them, or one after the other.")
    ] = None,
    upstream_context: Annotated[
        int | None, typer.Option(min=16, max=10**8, help="Tokens that a model takes where no server says so.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on; 127.0.0.1 if absent.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    for_lan: Annotated[
        bool, typer.Option("--lan", help="Listen on all addresses, with keys, and show a QR code for a phone.")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option(help="Speak TLS with this certificate, a file in PEM with those it rests on.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="The certificate's private key, a file in PEM.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name that this server is called by; may be repeated.")
    ] = None,
    with_keys: Annotated[
        bool | None,
        typer.Option("--keys/--without-keys", help="Whether a key is asked for; if absent, beyond this machine only."),
    ] = None,
    store: Store = None,
    web: Web = "ddgs",
    searxng: Searxng = None,
    usd_per_hour: Annotated[str, typer.Option(help="What this machine costs an hour, for the ledger.")] = "0.04",
    grace: Annotated[
        float, typer.Option(min=0, max=86400, help="Seconds that replies get to finish when the server is told to end.")
    ] = 10.0,
    sharing: Annotated[
        bool, typer.Option("--sharing/--no-sharing", help="Whether conversations may be shared by a link.")
    ] = True,
    runs: Annotated[
        Path | None, typer.Option(help="The folder of training runs that the page shows; 'runs' if there is one.")
    ] = None,
    log: Annotated[
        Literal["json", "text"], typer.Option(help="The form of the line that every request leaves on standard error.")
    ] = "text",
    threads: Threads = None,
    speculation: Annotated[
        bool,
        typer.Option(
            "--speculation/--no-speculation",
            help="Whether several tokens are guessed and checked at a time: the same texts, sooner.",
        ),
    ] = True,
    head: Head = None,
    rows: Rows = None,
    device: OnDevice = "cpu",
) -> None:
    """Serve a page to talk on, and an API as OpenAI's and DeepSeek's: POST /v1/chat/completions."""
    from denken.search.library import Library
    from denken.search.provider import provider
    from denken.search.tool import Searcher
    from denken.serve import lan
    from denken.serve.app import is_loopback
    from denken.serve.chats.chats import Chats
    from denken.serve.keydesk import KeyDesk
    from denken.serve.listen import listen, serve_forever, url
    from denken.serve.money import nano
    from denken.serve.store import beside, open_store
    from denken.serve.tls import certificate as checked

    if for_lan and (host is not None or with_keys is False):
        raise ConfigError("--lan listens on all addresses and asks for a key; leave --host and --without-keys out.")
    shown = checked(certificate, certificate_key)
    here = lan.address() if for_lan else host or "127.0.0.1"
    host = ("::" if ":" in here else "0.0.0.0") if for_lan else here
    keys_on = not is_loopback(host) if with_keys is None else with_keys
    per_hour, shown_runs, asked = nano(usd_per_hour), _runs(runs), provider(web, searxng)
    with closing(listen(host, port)) as listener, open_store(store) as opened:
        searcher = Searcher(asked, Library(beside(store, LIBRARY)))
        there = _upstreams(upstream, upstream_key_env, upstream_model, upstream_context)
        with (
            closing(KeyDesk(opened, keys_on, per_hour)) as desk,
            closing(Chats(opened, searcher, sharing=sharing)) as chats,
            _speakers(model, adapter or (), threads, there, speculation, head, rows, device) as speakers,
        ):
            if for_lan:
                # A certificate is made out to a name, which is then one that the server is called by.
                name = allow_host[0] if allow_host else here
                print(
                    lan.invitation(url(name, listener, shown), lan.phone_key(opened), sys.stdout.isatty()), flush=True
                )
            elif secret := desk.first_key():
                print(f"A key to ask with, shown this once: {secret}", flush=True)
            kept: dict[str, Any] = {"desk": desk, "chats": chats, "runs": shown_runs, "searcher": searcher}
            kept["device"] = _device(speakers[0], model or "bundled", beside(store, DEVICE))
            serve_forever(speakers, listener, host, allow_host or (), **kept, grace=grace, log=log, certificate=shown)


def _runs(folder: Path | None) -> Runs | None:
    """The training to show: that in the folder that was named, or in 'runs' where there is such a folder here."""
    from denken.serve.runs import Runs

    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder of runs; name the one that denken train wrote to.")
    there = folder or Path("runs")
    return Runs(there) if there.is_dir() else None


def _device(speaker: Speaker, model: str, kept: Path) -> Device | None:
    """The model here as browsers may take it along; None where only servers upstream have one, for an adapter over its
    base, and for conversations that are written in another way than DeepSeek's, which is the one that browsers know.
    """
    from denken.assistant import Assistant, find_folder
    from denken.serve.device import Device

    if not isinstance(speaker, Assistant) or speaker.parent is not None:
        return None
    if speaker.format.name != "deepseek" or not speaker.format.opens:
        return None

    def make(folder: Path, out: Path) -> None:
        from denken.export import gguf

        gguf.export(folder, out, kind="q8_0")

    return Device(speaker, speaker.tokenizer, find_folder(model), kept, make)


def _upstreams(
    urls: list[str] | None, key_names: list[str] | None, models: list[str] | None, context: int | None
) -> Pool | None:
    """The servers upstream, asked what they have; None where there are none."""
    if urls:
        from denken.serve.upstream.pool import connect

        return connect(urls, key_names or (), models or (), context)
    if key_names or models or context:
        raise ConfigError("The options --upstream-... say more of --upstream; give its address, too.")
    return None


@contextmanager
def _speakers(
    model: str | None,
    adapters: Sequence[str],
    threads: int | None,
    upstreams: Pool | None,
    speculation: bool = True,
    head: Literal["int8", "int4"] | None = None,
    rows: Literal["bf16", "int8"] | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Iterator[list[Speaker]]:
    """The model here, if it is wanted, its adapters, and then those of the servers upstream."""
    with ExitStack() as held:
        found: list[Speaker] = []
        if model is not None or upstreams is None or adapters:
            from denken.assistant import load, named_adapter

            rounded: dict[str, Any] = {"head": head, "rows": rows}
            base = load(
                model or "bundled", threads=threads, speculation=speculation, device=device, apart=True, **rounded
            )
            found.append(held.enter_context(base))
            for given in adapters:
                name, folder = named_adapter(given)
                found.append(base.adapted(folder, name))
        if upstreams is not None:
            from denken.serve.upstream.speaker import speakers

            found += speakers(held.enter_context(upstreams))
        yield found


@app.command("eval")
def evaluate_model(
    model: Annotated[
        str, typer.Argument(help="A model's name or folder, or the address of a server with OpenAI's API.")
    ],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="TASKS...", help="Names of tasks (see `denken tasks`), or a suite: gym-easy. Behind it, some of it."
        ),
    ],
    problems: Annotated[
        int | None, typer.Option(min=1, help="Problems a task; a suite's own number, else 100, if absent.")
    ] = None,
    adapter: Adapter = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers a problem.")] = 1,
    no_thinking: NoThinking = False,
    temperature: Temperature = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always take the likeliest token.")] = False,
    seed: Seed = None,
    budget: Budget = None,
    max_tokens: MaxTokens = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep report, plot and every answer here; resumes there.")] = None,
    threads: Threads = None,
    device: OnDevice = "cpu",
    head: Head = None,
    rows: Rows = None,
    served_model: Annotated[str | None, typer.Option(help="Which of the server's models, if it has several.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The environment variable with the server's key.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Answers that the server makes at once.")] = 8,
    budgets: Annotated[
        str | None, typer.Option(help="Ask everything again with thoughts of at most so many tokens, as in 64,256.")
    ] = None,
    check_thoughts: Annotated[
        bool, typer.Option("--check-thoughts", help="Also cut and change its thoughts, and reword the questions.")
    ] = False,
    usd_per_core_hour: Annotated[
        float | None, typer.Option(min=0, help="What a core of this machine costs an hour, or a GPU; 0.02 if absent.")
    ] = None,
    usd_in: Annotated[float, typer.Option(min=0, help="The server's price of a million tokens of questions.")] = 0.0,
    usd_out: Annotated[float, typer.Option(min=0, help="The same of answers, thoughts included.")] = 0.0,
) -> None:
    """Measure accuracy on fresh problems, beside the published scores of DeepSeek-R1 and o3-mini."""
    from denken.evaluate import examination, report, suites

    if greedy and temperature:
        raise RequestError("--greedy and --temperature contradict each other; give one of them.")
    if budget is not None and budgets:
        raise RequestError("--budget and --budgets contradict each other; give one of them.")
    limits = _whole_numbers(budgets or "", "--budgets")
    temperature = 0.0 if greedy else temperature
    parts = suites.parts(names, problems)
    _check_writable(json_file, out / "answers.jsonl" if out else None)
    with ExitStack() as held:
        sampling = (temperature, seed, budget, max_tokens)
        if model.startswith(("http://", "https://")):
            if usd_per_core_hour is not None:
                raise ConfigError("--usd-per-core-hour is for models here; a server costs --usd-in and --usd-out.")
            given = {"name": served_model, "key_env": key_env, "concurrency": concurrency}
            prices = {"usd_in": usd_in, "usd_out": usd_out}
            who = _elsewhere(held, model, {**given, **prices}, not no_thinking, out, *sampling)
        elif served_model or key_env or usd_in or usd_out:
            raise ConfigError(
                "--served-model, --key-env, --usd-in and --usd-out say more of a server; give its address as the model."
            )
        else:
            rounded = {"head": head, "rows": rows}
            who = _here(held, model, adapter, threads, rounded, device, usd_per_core_hour, not no_thinking, *sampling)
        examined = examination.examine(
            who,
            parts,
            out or Path(held.enter_context(TemporaryDirectory())),
            samples=samples,
            limits=limits,
            check_thoughts=check_thoughts,
            command=shlex.join(["denken", *sys.argv[1:]]),
            say=note,
        )
    for said in filter(None, map(suites.remade, parts)):
        note(said)
    _print(report.table(examined.results, title=who.name))
    for line in report.summary(examined.results):
        print(line)
    for section in examined.sections:
        _print(section.table())
    if json_file:
        json_file.write_text(examined.to_json(), encoding="utf-8")
    if out:
        examination.write(examined, out, who.name)


def _whole_numbers(text: str, option: str) -> list[int]:
    """Numbers between commas, as an option has them."""
    try:
        return [int(part) for part in text.split(",") if text]
    except ValueError:
        raise RequestError(
            f"{option} is {text!r}; give whole numbers with commas between, such as 64,128,256."
        ) from None


def _weights(model: str, adapter: str | None) -> list[Path]:
    """The folders of a model here, and of an adapter over it."""
    from denken.assistant import base_of, find_adapter, find_folder, is_adapter

    if is_adapter(model):
        return [find_folder(base_of(model)), Path(model).expanduser()]
    return [find_folder(model), *([find_adapter(adapter)] if adapter else [])]


def _here(
    held: ExitStack,
    model: str,
    adapter: str | None,
    threads: int | None,
    rounded: dict[str, Any],
    device: Literal["cpu", "cuda"],
    usd_per_core_hour: float | None,
    thinking: bool,
    *sampling: Any,
) -> Examinee:
    """A model here as it is examined."""
    import torch

    from denken.assistant import load
    from denken.config import CostSection
    from denken.evaluate.cost import Price
    from denken.evaluate.examination import Examinee
    from denken.rollout import Local
    from denken.types import SamplingParams

    weights = _weights(model, adapter)
    assistant = held.enter_context(load(model, threads=threads, adapter=adapter, device=device, **rounded))
    made = datetime.fromtimestamp(assistant.created, UTC)
    params = _sampling(assistant.defaults, *sampling)
    params = params if params.seed is not None else replace(params, seed=0)
    assistant.ask("1 + 1 =", params=SamplingParams(max_tokens=1))  # kernels are compiled before the clock runs
    # A run that trains on keeps its name, but what its older weights answered is not the newer ones'.
    label = f"{assistant.name}, weights of {made:%Y-%m-%d %H:%M:%S} UTC"
    settings = {"label": label, "thinking": thinking, "params": asdict(params)}
    settings |= {name: how for name, how in rounded.items() if how}
    settings |= {"device": device} if device != "cpu" else {}
    each = CostSection().usd_per_core_hour if usd_per_core_hour is None else usd_per_core_hour
    if device != "cpu" and usd_per_core_hour is None:
        note("The cost is a processor core's; say by --usd-per-core-hour what this machine costs an hour.")
    price = Price(usd_per_core_hour=each, cores=torch.get_num_threads() if device == "cpu" else 1)
    answers = Local(assistant.tokenizer, assistant.generate, params, thinking)
    return Examinee(answers, assistant.name, settings, price, weights)


def _elsewhere(
    held: ExitStack, address: str, given: dict[str, Any], thinking: bool, out: Path | None, *sampling: Any
) -> Examinee:
    """A server's model, likewise; without prices nobody knows what it costs."""
    from denken.config import EndpointSection, parse
    from denken.evaluate.cost import Price
    from denken.evaluate.examination import Examinee
    from denken.train.elsewhere import elsewhere
    from denken.types import SamplingParams

    params = _sampling(SamplingParams(), *sampling)
    if params.thinking_budget is not None:
        raise RequestError("--budget is for models here; no server elsewhere can be told it.")
    endpoint = parse(EndpointSection, given, where="The server's options")
    answers = held.enter_context(elsewhere(address, endpoint, params, thinking=thinking, out=out))
    settings = {"label": answers.name, "thinking": thinking, "params": asdict(params)}
    known = endpoint.usd_in or endpoint.usd_out
    price = Price(usd_in=endpoint.usd_in, usd_out=endpoint.usd_out) if known else None
    return Examinee(answers, answers.name, settings, price)


@app.command()
def contamination(
    learnt: Annotated[Path, typer.Argument(help="What was learnt from: a recipe, or a set in JSONL.")],
    names: Annotated[list[str], typer.Argument(metavar="TASKS...", help="What is examined, as for `denken eval`.")],
    problems: Annotated[int | None, typer.Option(min=1, help="Problems a task, as for `denken eval`.")] = None,
    documents: Annotated[int, typer.Option(min=1, help="How many documents are looked at, the first ones.")] = 100_000,
) -> None:
    """Say which questions of an examination stand in training data."""
    from rich.console import Console
    from rich.progress import track

    from denken.evaluate import suites
    from denken.train import contamination as check

    parts, console = suites.parts(names, problems), Console(stderr=True)

    def shown(texts: Iterable[Any], what: str, total: int | None = None) -> Iterable[Any]:
        return track(texts, what, total=total, console=console, transient=True, disable=not console.is_terminal)

    texts = check.learnt(learnt, documents)
    count = sum(part.problems * len(part.named) for part in parts)
    examined = check.Examined(shown(check.questions(parts), "Questions", count))
    found = examined.overlap(shown(texts, "Documents"))
    _print(check.table(found))


@app.command()
def table(
    stages_file: Annotated[Path, typer.Argument(metavar="STAGES", help="A stages.toml: its rows and columns.")],
    runs: Annotated[Path, typer.Option(help="Where the runs that it names lie.")] = Path("runs"),
    out: Annotated[Path | None, typer.Option(help="Where table and answers go; 'table' in --runs if absent.")] = None,
    problems: Annotated[int | None, typer.Option(min=1, help="Problems a cell; the file's own if absent.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Answers a problem; the file's own if absent.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0.6 as R1 is evaluated; the file's own if absent.")] = None,
    threads: Threads = None,
) -> None:
    """Measure every stage of a chain on data sets that it never learnt from; what was interrupted goes on."""
    given = {"problems": problems, "samples": samples, "temperature": temperature}
    changed = {key: value for key, value in given.items() if value is not None}
    _measure_stages(stages_file, runs, out or runs / "table", changed, threads)


@app.command()
def train(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="A recipe.toml, the folder that holds one, or a folder of numbered recipe folders."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="In place of a recipe: a task, such as your own .py or .jsonl file.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="With --task: what to start from.")] = "bundled",
    minutes: Annotated[float, typer.Option(help="With --task: about how long it may take.")] = 10.0,
    lora: Annotated[bool, typer.Option("--lora", help="With --task: train low-rank adapters only.")] = False,
    out: Annotated[Path | None, typer.Option(help="The run's folder; NAME in --runs if absent.")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Where runs lie; 'runs', or 'runs/scale-X' with --scale X, if absent.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Share of the length to train: 0.01 tries a chain in minutes.")] = 1.0,
    plan: Annotated[bool, typer.Option("--plan", help="Only show steps, tokens, hours and money.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on from a checkpoint that is there.")] = False,
) -> None:
    """Train what a recipe describes, or a chain of them in order; what was stopped goes on, what is done is skipped.

    A chain ends with the table of its stages, where a stages.toml lies beside them.

    With --task: make a model better at a task of your own.
    """
    if task is not None:
        if recipe is not None or plan or fresh or scale != 1:
            raise ConfigError("--task chooses its own recipes; give it --model, --minutes, --lora and --out alone.")
        from denken.train import owntask

        done = owntask.train(task, model, minutes=minutes, out=out, runs=runs, lora=8 if lora else None)
        if done is None:
            raise typer.Exit(130)
        print(f"{done / 'model'} is the model: denken ask --model {done / 'model'} ...")
        return
    if recipe is None:
        raise ConfigError("There is nothing to train; give a recipe, or --task with a task of your own.")
    from denken.train import pipeline
    from denken.train import run as train_one

    root = runs or (Path("runs") if scale == 1 else Path("runs") / f"scale-{scale:g}")
    chain = pipeline.stages(recipe, runs=root, scale=scale)
    if out is not None:
        if len(chain) > 1:
            raise ConfigError(f"{recipe} is a chain of {len(chain)} recipes; name their place by --runs, not --out.")
        chain = [replace(chain[0], folder=out)]
    if plan:
        _print(pipeline.plan(chain, scale=scale))
        return
    if len(chain) > 1:
        if fresh and any(pipeline.progress(stage)[0] for stage in chain):
            raise ConfigError(f"{root} already holds runs of this chain; leave --fresh out, or name another --runs.")
        whole = pipeline.train(chain, scale=scale)
    else:
        train_one(chain[0].path, run_dir=chain[0].folder, resume=not fresh, scale=scale)
        whole = pipeline.finished(chain[0])
    if not whole:
        raise typer.Exit(130)
    if len(chain) > 1 and (recipe / pipeline.TABLE).is_file():
        _measure_stages(recipe / pipeline.TABLE, root, root / "table", {}, None, scale=scale)
    trained = chain[-1].folder / "model"
    print(f"{chain[-1].folder} holds the run and, in {trained}, the model: denken ask --model {trained} ...")


@app.command("distil")
def distil_model(
    teacher: Annotated[
        str, typer.Argument(help="A model's name or folder, or the address of a server with OpenAI's API.")
    ],
    task: Annotated[list[str], typer.Option(help="What to teach, as of `denken train --task`; may be repeated.")],
    student: Annotated[str, typer.Option(help="Who learns: a model's name or folder, or 'new' for a small one.")] = (
        "bundled"
    ),
    out: Annotated[Path | None, typer.Option(help="The run's folder; distil-TASK in 'runs' if absent.")] = None,
    problems: Annotated[
        int | None, typer.Option(min=1, help="Questions; 1000, or all of your files, if absent.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=64, help="Answers to each.")] = 1,
    minutes: Annotated[float, typer.Option(help="About how long all of it may take.")] = 10.0,
    budget_usd: Annotated[float | None, typer.Option(help="The most to pay the server; needs the prices.")] = None,
    usd_in: Annotated[float, typer.Option(min=0, help="The server's price of a million tokens of questions.")] = 0.0,
    usd_out: Annotated[float, typer.Option(min=0, help="The same of answers, thoughts included.")] = 0.0,
    lora: Annotated[bool, typer.Option("--lora", help="Train low-rank adapters only.")] = False,
    teacher_model: Annotated[str | None, typer.Option(help="Which of the server's models, if it has several.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The environment variable with the server's key.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Answers that the server makes at once.")] = 8,
    tell: Annotated[
        str | None, typer.Option(help="Said to the server behind every question; the student is not told.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=16, help="The most tokens of an answer, thought included.")
    ] = None,
    no_thinking: Annotated[bool, typer.Option("--no-thinking", help="Learn answers without a thought.")] = False,
    any_language: Annotated[
        bool, typer.Option("--any-language", help="Keep thoughts that are in no language of the question's.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of questions, answers and training.")] = 1,
) -> None:
    """Let a teacher answer, keep what is right, and train a student on it; what was stopped goes on."""
    from denken.config import EndpointSection, parse
    from denken.train import distil

    endpoint = None
    if teacher.startswith(("http://", "https://")):
        given: dict[str, Any] = {
            "name": teacher_model,
            "key_env": key_env,
            "tell": tell or "",
            "concurrency": concurrency,
        }
        given |= {"usd_in": usd_in, "usd_out": usd_out, "usd": budget_usd}
        endpoint = parse(EndpointSection, given, where="The teacher's options")
    elif teacher_model or key_env or tell or budget_usd is not None:
        raise ConfigError("--teacher-model, --key-env, --tell and --budget-usd are for a teacher that is an address.")
    asked = distil.Asked(
        teacher=_place(teacher),
        tasks=tuple(task),
        student=_place(student),
        problems=problems,
        samples=samples,
        minutes=minutes,
        lora=8 if lora else None,
        seed=seed,
        max_tokens=max_tokens,
        thinking=not no_thinking,
        language=0.0 if any_language or no_thinking else distil.LANGUAGE,
    )
    done = distil.distil(asked, endpoint, out=out)
    if done is None:
        raise typer.Exit(130)
    print(f"{done / 'model'} is the student: denken ask --model {done / 'model'} ...")


def _place(name: str) -> str:
    """A model as runs name it; of one that was fetched its folder."""
    if "://" in name or name in ("bundled", "new") or Path(name).expanduser().exists():
        return name
    from denken.assistant import find_folder

    return str(find_folder(name))


@app.command()
def tasks() -> None:
    """List the tasks that a model can be asked and judged on."""
    from denken.tasks import registry

    for name in registry.names():
        print(name)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="What to begin: task.")],
    name: Annotated[str, typer.Argument(help="Its name: letters, digits and _.")],
) -> None:
    """Begin a task of your own: writes NAME.py, with problems and their score, and its test into this folder."""
    if kind != "task":
        raise ConfigError(f"There is no {kind!r} to begin; write: denken new task {name}")
    from denken.tasks.starter import new_task

    task, test = new_task(name, Path())
    print(f"{task} is the task and {test} its test. Next: python {test}, then denken train --task {task}")


@app.command("export")
def export_model(
    model: Annotated[str, typer.Argument(help="'bundled', or a folder in the Hugging Face layout.")],
    out: Annotated[Path, typer.Argument(help="The new folder; for gguf the new file.")],
    form: Annotated[
        Literal["hf", "gguf", "onnx"],
        typer.Option("--format", help="hf for transformers and vLLM, gguf for llama.cpp, onnx for ONNX Runtime."),
    ] = "hf",
    kind: Annotated[
        Literal["f16", "q8_0", "q4_0"] | None, typer.Option("--type", help="Of a gguf's weights; f16 if absent.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Merge this adapter into the model on the way: a folder in PEFT's format.")
    ] = None,
) -> None:
    """Write a model as other programs read it."""
    if adapter is not None:
        from denken.assistant import find_adapter, find_folder
        from denken.export.merge import with_adapter

        with with_adapter(find_folder(model), find_adapter(adapter), out) as whole:
            export_model(str(whole), out, form=form, kind=kind)
        return
    if kind is not None and form != "gguf":
        raise ConfigError(f"--type is for --format gguf; leave it out for {form}.")
    from denken.assistant import find_folder

    folder = find_folder(model)
    if form == "gguf":
        from denken.export import gguf

        done = gguf.export(folder, out, kind=kind or "f16")
    elif form == "onnx":
        from denken.export import onnx

        done = onnx.export(folder, out)
    else:
        from denken.export import hf

        done = hf.export(folder, out)
    files = [done] if done.is_file() else [path for path in done.iterdir() if path.is_file()]
    print(f"{done} is written: {sum(path.stat().st_size for path in files) / 1e6:.1f} MB.")


@app.command("merge")
def merge_models(
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    models: Annotated[list[str], typer.Argument(metavar="MODELS...", help="Models, or folders of adapters.")],
    method: Annotated[
        Literal["linear", "slerp", "task", "ties", "dare"], typer.Option(help="How; see docs/export.md.")
    ] = "linear",
    base: Annotated[
        str | None, typer.Option(help="What they were trained from; for task, ties, dare, adapters.")
    ] = None,
    weight: Annotated[list[float] | None, typer.Option(help="One a model; equal shares if absent.")] = None,
    scale: Annotated[float, typer.Option(help="Of task, ties, dare: how much of the change is applied.")] = 1.0,
    density: Annotated[float, typer.Option(help="Of ties, dare: the share of each change that is kept.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of dare: which share.")] = 0,
) -> None:
    """Make one model of several that grew from one."""
    from denken.assistant import find_folder
    from denken.export.merge import merge

    folders = [
        Path(model) if (Path(model) / "adapter_config.json").is_file() else find_folder(model) for model in models
    ]
    below = None if base is None else find_folder(base)
    done = merge(folders, out, method, base=below, weights=weight, scale=scale, density=density, seed=seed)
    print(f"{done} is the model: denken ask --model {done} ...")


@app.command("quantize")
def quantize_model(
    model: Annotated[str, typer.Argument(help="'bundled', or a folder in the Hugging Face layout.")],
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    kind: Annotated[Literal["int8", "int4"], typer.Option("--type", help="Of the linear layers' weights.")] = "int4",
    group: Annotated[int | None, typer.Option(help="Of int4: columns that share a scale, 32, 64 or 128.")] = None,
    method: Annotated[
        Literal["round", "gptq"], typer.Option(help="gptq makes up for rounding errors; see docs/quantize.md.")
    ] = "gptq",
    calibration: Annotated[
        Path | None, typer.Option(help="Texts for gptq, .jsonl or plain; what the model itself says if absent.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--tasks", help="A task to calibrate and check with; may be repeated.")
    ] = None,
    problems: Annotated[int, typer.Option(min=1, help="Problems a task, before and after.")] = 100,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Whether to measure what was lost.")] = True,
    threads: Threads = None,
) -> None:
    """Make a model smaller, and measure what that cost: size, perplexity, right answers."""
    from denken.assistant import find_folder, load
    from denken.quantize import check as checking
    from denken.quantize import folder as quantizing

    plan = quantizing.Plan(
        quantizing.scheme(8 if kind == "int8" else 4, group),
        method,
        calibration,
        tuple(names) if names else quantizing.TASKS,
        problems,
        check,
    )
    report = quantizing.quantize(find_folder(model), out, plan, lambda folder: load(folder, threads=threads))
    _print(checking.table(report, f"{model} as {kind}"))
    print(f"{out} is the model: denken ask --model {out} ...")


@app.command("draft")
def draft_model(
    model: Annotated[str, typer.Argument(help="'bundled', or a folder in the Hugging Face layout.")],
    names: Annotated[list[str] | None, typer.Option("--task", help="A task that it is asked; may be repeated.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe: all of its tasks are asked, as it has them.")] = None,
    texts: Annotated[
        list[Path] | None, typer.Option(help="What it is going to say, .jsonl or plain, instead; may be repeated.")
    ] = None,
    answers: Annotated[int, typer.Option(min=1, max=10**7, help="How many answers are counted.")] = 20_000,
    out: Annotated[Path | None, typer.Option(help="The table; draft.ngrams in the model's folder if absent.")] = None,
    threads: Threads = None,
) -> None:
    """Count what a model says again and again: its engine guesses that, and answers come sooner."""
    from denken import draft as drafting
    from denken.assistant import find_folder, load
    from denken.engine import ngrams

    plan = drafting.planned(names or (), recipe, texts or (), answers)
    folder = find_folder(model)
    out = out or folder / ngrams.FILE
    with load(folder, threads=threads) as opened:
        table, ids = drafting.draft(opened, plan, out)
    size = out.stat().st_size / 1e6
    print(f"{out}: {len(table.ids_N):,} contexts of {ids:,} ids, {size:.1f} MB; `denken.load` finds it in its folder.")


@app.command("pull")
def pull_model(
    model: Annotated[str, typer.Argument(metavar="hf:ORG/NAME", help="A model at the Hub; @REVISION may follow.")],
) -> None:
    """Fetch a model from the Hugging Face Hub; what was interrupted goes on where it stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from denken.shelf.pull import pull
    from denken.shelf.shelf import Shelf

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        folder = pull(model, Shelf(), progress=progress)
    name = "/".join(folder.parts[-2:])
    print(f"{name} is here, in {folder}: denken ask --model {name} ...")


@keys_app.command("create")
def create_key(
    name: KeyName,
    rpm: Annotated[int | None, typer.Option(min=1, max=10**6, help="Requests in any 60 seconds.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=10**6, help="Replies being made at once.")] = None,
    usd: Annotated[str | None, typer.Option(help="US dollars that it may spend, all in all.")] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option(min=1, max=10**15, help="Tokens of prompts and replies, a day in UTC.")
    ] = None,
    expires: Annotated[int | None, typer.Option(min=1, max=36500, help="Days until it opens nothing any more.")] = None,
    store: Store = None,
) -> None:
    """Make a key and show its secret, once."""
    from denken.serve import keys
    from denken.serve.money import nano
    from denken.serve.store import open_store

    limits = keys.Limits(rpm, concurrency, None if usd is None else nano(usd), tokens_per_day)
    until = None if expires is None else keys.now() + expires * 86_400_000
    with open_store(store) as opened, opened.write() as connection:
        secret = keys.create(connection, name, limits, until)
    print(secret)
    note("Keep it: it is not shown again. Send it as 'Authorization: Bearer ...' or as 'x-api-key: ...'.")


@keys_app.command("list")
def list_keys(store: Store = None) -> None:
    """List all keys that there were, with their limits and what they have spent."""
    from denken.serve import keys
    from denken.serve.store import open_store

    with open_store(store) as opened, opened.read() as connection:
        _print(keys.table(keys.listing(connection)))


@keys_app.command("revoke")
def revoke_key(name: KeyName, store: Store = None) -> None:
    """Let a key open nothing any more, from the next request on."""
    from denken.serve import keys
    from denken.serve.store import open_store

    with open_store(store) as opened, opened.write() as connection:
        keys.revoke(connection, name)
    print(f"The key {name} is revoked.")


@library_app.command("add")
def add_documents(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATHS...", help="Files, and folders with all that is in them.")
    ],
    store: Store = None,
) -> None:
    """Add documents, for everybody who uses this machine's server: text, Markdown, HTML, PDF, DOCX.

    What was added before from the same place is replaced.
    """
    from rich.console import Console
    from rich.progress import track

    from denken.search import collect
    from denken.terminal import printable

    library, console = _library(store), Console(stderr=True)
    added, failed = 0, 0
    files = collect.files(paths)
    for file in track(files, "Reading", console=console, transient=True, disable=not console.is_terminal):
        try:
            collect.add_file(library, file)
            added += 1
        except DenkenError as error:
            failed += 1
            complain(printable(str(error)))
    print(f"{added} of {len(files)} documents were added; the library now has {len(library.documents())}.")
    if failed:
        raise typer.Exit(1)


@library_app.command("list")
def list_documents(store: Store = None) -> None:
    """List everybody's documents, newest first."""
    from rich.markup import escape
    from rich.table import Table

    from denken.terminal import printable

    shown = Table("id", "title", "characters", "passages", "added", "from")
    for document in _library(store).documents():
        added = datetime.fromtimestamp(document.added / 1000, UTC)
        shown.add_row(
            str(document.id),
            escape(printable(document.title)),
            str(document.characters),
            str(document.passages),
            f"{added:%Y-%m-%d}",
            escape(printable(document.source)),
        )
    _print(shown)


@library_app.command("remove")
def remove_documents(
    ids: Annotated[list[int], typer.Argument(metavar="IDS...", help="Of the documents; see `denken library list`.")],
    store: Store = None,
) -> None:
    """Take documents away."""
    library = _library(store)
    missing = [str(id) for id in ids if not library.remove(id)]
    print(f"{len(ids) - len(missing)} of {len(ids)} documents were taken away.")
    if missing:
        raise UnknownNameError(f"There is no document {', '.join(missing)}; see denken library list.")


@library_app.command("search")
def search_documents(
    words: Annotated[str, typer.Argument(help="Any of these words, in any form.")],
    store: Store = None,
) -> None:
    """Show the passages that a model would get."""
    from denken.terminal import printable

    for hit in _library(store).search(words):
        where = f"{hit.title}: {hit.heading}" if hit.heading else hit.title
        note(printable(f"{where} ({hit.source})"))
        print(printable(hit.text) + "\n")


def _library(store: str | None) -> Library:
    from denken.search.library import Library
    from denken.serve.store import beside

    return Library(beside(store, LIBRARY))


@models_app.command("list")
def list_models() -> None:
    """List the models that are here: the one in the box, those that were fetched, those of runs in this folder."""
    from denken.assistant import BUNDLED
    from denken.shelf import shelf

    _print(shelf.table(shelf.listed(shelf.Shelf(), BUNDLED, Path("runs"))))


@models_app.command("show")
def show_model(model: Annotated[str, typer.Argument(help="A model's name or folder, or an adapter's.")]) -> None:
    """Show what there is to know of a model or an adapter, its files checked."""
    from denken.assistant import base_of, find_adapter, find_folder, is_adapter
    from denken.shelf.shelf import adapter_details, details

    if is_adapter(model):
        base = None
        with suppress(UnknownNameError):
            base = base_of(model)
        found = adapter_details(find_adapter(model), base)
    else:
        found = details(model, find_folder(model))
    for what, value in found:
        print(f"{what:<10} {value}")


@models_app.command("remove")
def remove_model(name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="A model that was fetched.")]) -> None:
    """Take a fetched model away."""
    from denken.shelf.shelf import Shelf, shown

    print(f"{name} is gone; {shown(Shelf().remove(name))} were freed.")


@app.command()
def usage(
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days, today included (UTC).")] = 30,
    by: Annotated[Literal["day", "key", "model"], typer.Option(help="What a row is.")] = "day",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    store: Store = None,
) -> None:
    """Show what was asked of the server and what it cost, beside the list prices of o1 and DeepSeek-R1."""
    from denken.serve import usage
    from denken.serve.store import open_store

    with open_store(store) as opened, opened.read() as connection:
        reported = usage.report(connection, days=days, by=by)
    if as_json:
        print(json.dumps(reported, ensure_ascii=False, indent=2))
    else:
        _print(usage.table(reported))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One object instead of text.")] = False,
    threads: Threads = None,
) -> None:
    """Say what this machine computes with, and what would make it faster."""
    from denken import doctor as doctors

    if threads:
        import torch

        torch.set_num_threads(threads)
    report = doctors.examine()
    print(json.dumps(asdict(report)) if as_json else doctors.to_text(report))


@app.command()
def version() -> None:
    """Print the version."""
    import denken

    print(denken.__version__)


def note(text: str) -> None:
    """A line for the person at the terminal, kept out of what is piped on."""
    typer.secho(text, fg=typer.colors.BRIGHT_BLACK, err=True)


def complain(text: str) -> None:
    """One red sentence on standard error."""
    typer.secho(text, fg=typer.colors.RED, err=True)


def _measure_stages(
    path: Path, runs: Path, out: Path, changed: dict[str, Any], threads: int | None, scale: float = 1.0
) -> None:
    from denken.assistant import load
    from denken.evaluate import stages

    chosen = stages.load(path)
    if scale != 1:
        changed = {"problems": max(2, round(chosen.problems * scale)), **changed}
    chosen = chosen.model_copy(update=changed)
    _check_writable(out / "stages.md")
    cells = stages.measure(chosen, runs, out, lambda place: load(place, threads=threads), say=note)
    _print(stages.table(chosen, cells))
    print(f"The table is in {out}, with every answer.")


def _print(table: Table) -> None:
    """A table on standard output; one that goes to a file is not cut to a terminal's width."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _sampling(
    usual: SamplingParams, temperature: float | None, seed: int | None, budget: int | None, max_tokens: int | None
) -> SamplingParams:
    given: dict[str, Any] = {
        "temperature": temperature,
        "seed": seed,
        "thinking_budget": budget,
        "max_tokens": max_tokens,
    }
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


def _check_writable(*files: Path | None) -> None:
    """Before hours of work, not after: ConfigError for a file that cannot be made or added to."""
    for file in filter(None, files):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.open("a").close()
        except OSError as error:
            raise ConfigError(f"{file} cannot be written ({error.strerror}); name another place.") from error


def _searcher(web: str, searxng: str | None, store: str | None) -> Searcher:
    from denken.search.provider import provider
    from denken.search.tool import Searcher

    return Searcher(provider(web, searxng), _library(store))


def _asking(assistant: Assistant, params: SamplingParams, searcher: Searcher | None) -> Put:
    """How questions are put to the model: each with searches of its own, where there is a searcher."""
    from denken.serve.searching import open_reply
    from denken.serve.speaker import Ask

    def put(messages: Sequence[Message], thinking: bool) -> Reply:
        look = None if searcher is None else searcher.look(None, searcher.places(None))
        return open_reply(assistant, Ask(messages, params, thinking), look)

    return put


def _converse(put: Put, *, thinking: bool) -> None:
    from denken.chat.message import Message

    history: list[Message] = []
    for line in _lines():
        match line.strip():
            case "":
                continue
            case "/quit" | "/exit":
                return
            case "/new":
                history = []
                note("A new conversation.")
            case "/think":
                thinking = not thinking
                note(f"Thinking is {'on' if thinking else 'off'}.")
            case command if command.startswith("/"):
                note(f"There is no {command.split()[0]}; /new, /think and /quit are what there is.")
            case question:
                history = _turn(put, [*history, Message("user", question)], thinking=thinking)


def _turn(put: Put, asked: list[Message], *, thinking: bool) -> list[Message]:
    """One question answered; returns the history that the next one follows."""
    from denken.chat.message import Message
    from denken.terminal import write

    try:
        answer = write(put(asked, thinking))
    except KeyboardInterrupt:
        note("Stopped; the question is forgotten.")
        return asked[:-1]
    except DenkenError as error:
        complain(f"{error} (/new begins again.)")
        return asked[:-1]
    return [*asked, Message("assistant", answer)]


def _lines() -> Iterable[str]:
    """What the person types, until the end of the input; Ctrl-C at the prompt only clears the line."""
    with suppress(ImportError):
        import readline  # noqa: F401  (gives input() its history and editing)
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
