"""Models of other servers, served as if they were here: of vLLM, SGLang, llama.cpp, Ollama, DeepSeek, OpenAI, denken.

    server.py    one server: what it is, which models it has, whether it answers
    pool.py      all of them: watched, and chosen from
    asking.py    what is asked, as the body that each kind of server understands
    reading.py   what comes back: bytes to events to deltas, within limits
    thought.py   which of it is thought, whether the server says so or not
    stop.py      stop strings, where a server would find them in the thought, too
    tally.py     what it cost, counted by the server or estimated
    refusal.py   errors of theirs as errors of ours
    speaker.py   a model of theirs as a `Speaker`

Nothing is kept between two requests but what a server said of itself: every reply has a connection of its own, so no
reply's bytes can be read as another's.
"""
