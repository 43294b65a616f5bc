"""What vLLM calls when it starts, by the entry point vllm.general_plugins, in each of its processes.

vLLM logs an error of an import and goes on without the plugin; an error of the call ends it. So nothing is imported up here.
"""

import os

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


VARIABLE = "ROPEWALK_VLLM_PLAN"


def register() -> None:
    """Do nothing, unless the environment variable ROPEWALK_VLLM_PLAN names a plan; then change vLLM to carry it.

    A vLLM that cannot carry it does not start: CannotAttach for a version that is not known.
    """
    place = os.environ.get(VARIABLE)
    if not place:
        return
    import vllm

    check_version(vllm.__version__, place)
    from ropewalk.plugins.vllm.install import install

    install(place)
