"""What vLLM calls when it starts, by the entry point vllm.general_plugins, in each of its processes.

vLLM logs an error of an import and goes on without the plugin; an error of the call ends it. So nothing is imported up here.
"""

import os

VARIABLE = "ROPEWALK_VLLM_PLAN"


def register() -> None:
    """Do nothing, unless the environment variable ROPEWALK_VLLM_PLAN names a plan; then change vLLM to carry it.

    A vLLM that cannot carry it does not start: CannotAttach for a version that is not known.
    """
    place = os.environ.get(VARIABLE)
    if not place:
        return
    import vllm

    from ropewalk.models.vllm_plugin.known import check_version

    check_version(vllm.__version__, place)
    from ropewalk.models.vllm_plugin.install import install

    install(place)
