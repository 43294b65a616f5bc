"""What a command line or a reader knows beside the config, kept in Keys.model under names that no config can hold."""

ASKED = "ropewalk.asked_window"  # --max-model-len, --context-length: tokens
OLD_FLAG = "ropewalk.rope_scaling_flag"  # --rope-scaling was given
ENVIRONMENT = "ropewalk.environment"  # names that are set in front of the command
NULL_THETA = "ropewalk.null_theta"  # rope_theta is written as null
OUTSIDE = "ropewalk.outside"  # keys above text_config, where nobody looks: (what to say, the Keys that are read instead)
THETA_BESIDE = "ropewalk.theta_beside"  # an override of rope_theta alone: the Keys without it
LOST_SHARE = "ropewalk.lost_share"  # partial_rotary_factor of the dict that an override replaced
NO_FACTOR = "ropewalk.no_factor"  # of a GGUF: a scaling type without a factor
REACHED = "ropewalk.reached"  # tokens that the model was trained or stretched to, where the text now claims more
BASE = "ropewalk.base"  # the base was raised by hand: a stretch of unknown reach
PARAMS = "ropewalk.params"  # of a folder whose params.json vLLM prefers: the Keys in it
SERVER = "ropewalk.server"  # llama-server, which caps a slot
