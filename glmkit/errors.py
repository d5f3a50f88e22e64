"""The exceptions glmkit raises. Each also is the built-in exception a caller would expect.

A message names the offending key, file, argument or layer, says what was expected, and what to do.
"""


class GLMKitError(Exception):
    """Base of every error glmkit raises on purpose; the command line prints it without a traceback."""


class ConfigError(GLMKitError, ValueError):
    """A model configuration, preset name or generation setting that cannot be right."""


class CheckpointError(GLMKitError, ValueError):
    """A checkpoint folder or file that is incomplete, corrupt, or of a kind glmkit does not read."""


class HubError(GLMKitError, OSError):
    """A model that could not be fetched from, or found in the cache of, the Hugging Face Hub."""


class MemoryPlanError(GLMKitError, MemoryError):
    """A model or cache that does not fit the devices; raised before anything is read."""


class MeshError(GLMKitError, ValueError):
    """A device mesh that does not fit the devices or the model's shapes."""


class TokenizerError(GLMKitError, ValueError):
    """A tokenizer file that is unreadable or does not fit the model's vocabulary."""


class TemplateError(GLMKitError, ValueError):
    """A chat template that fails to render, loops, or reaches outside its sandbox."""


class RequestError(GLMKitError, ValueError):
    """Messages, tools or sampling settings of one request that cannot be served as given."""


class DataError(GLMKitError, ValueError):
    """Training data that cannot be learned from as it is."""


class TrainingError(GLMKitError, RuntimeError):
    """A training run that cannot begin, go on, or continue from what was saved."""


class RewardError(GLMKitError, ValueError):
    """A reward that failed, or gave no finite number for each sample; `rollout` is what it was to judge."""

    def __init__(self, message: str, rollout: object = None):
        super().__init__(message)
        self.rollout = rollout
