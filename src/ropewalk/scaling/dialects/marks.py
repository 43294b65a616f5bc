"""What a command line or a reader knows beside the config, kept in Keys.model under names that no config can hold."""

ASKED = "ropewalk.asked_window"  # --max-model-len, --context-length: tokens
OLD_FLAG = "ropewalk.rope_scaling_flag"  # --rope-scaling was given
ENVIRONMENT = "ropewalk.environment"  # names that are set in front of the command
NULL_THETA = "ropewalk.null_theta"  # rope_theta is written as null
