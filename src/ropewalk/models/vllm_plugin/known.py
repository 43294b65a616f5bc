"""The versions of vLLM whose private parts were read, and on which tests/engines/test_vllm_plugin.py passed."""

from ropewalk.errors import CannotAttach

KNOWN = ("0.32.0",)


def check_version(version: str, place: str) -> None:
    """Raise CannotAttach for any version that is not in KNOWN; what follows a + says how it was built, and is not looked at.

    Refusing beats going on without the plugin: the server would answer, fluently, long prompts with the unstretched model.
    """
    if version.partition("+")[0] not in KNOWN:
        raise CannotAttach(
            f"ROPEWALK_VLLM_PLAN={place} asks for a scale per request, of vLLM {version}; known is {', '.join(KNOWN)}.\n"
            "  It changes private parts of vLLM, which move between versions. Going on without it, every request would be\n"
            "  answered by the unstretched model, so vLLM does not start instead.\n"
            f"  Install vllm=={KNOWN[-1]}, or unset the variable and serve a static plan: ropewalk export MODEL --for vllm."
        )
