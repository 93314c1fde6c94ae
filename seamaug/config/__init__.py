"""Every knob of seamaug, typed and validated, from YAML and flags.

Each class is one section of the YAML file and says what its settings do; a key that no class
names is refused with the nearest known one.
"""

from seamaug.config.base import Section
from seamaug.config.diagnose import DiagnoseConfig
from seamaug.config.flow import GenerateConfig, KeepConfig, SeedsConfig, SelectConfig
from seamaug.config.load import Config, load_config, load_section
from seamaug.config.models import (
    EmbedderConfig,
    GeneratorConfig,
    LanguageModelConfig,
    ModelConfig,
    PolicyConfig,
    RewardConfig,
)
from seamaug.config.retrieve import RetrieveConfig
from seamaug.config.scale import RayConfig, RayStageConfig
from seamaug.config.score import (
    AdversarialConfig,
    ContrastConfig,
    LLMHackConfig,
    OnPolicyConfig,
    ScoreConfig,
)
from seamaug.config.strength import EnsembleConfig, StrengthConfig, TreatmentConfig
from seamaug.config.train import ContrastiveConfig, LoraConfig, MetaConfig, StartConfig, TrainConfig
from seamaug.config.verify import DuplicatesConfig, VerifyConfig, WorseConfig

__all__ = [
    "AdversarialConfig",
    "Config",
    "ContrastConfig",
    "ContrastiveConfig",
    "DiagnoseConfig",
    "DuplicatesConfig",
    "EmbedderConfig",
    "EnsembleConfig",
    "GenerateConfig",
    "GeneratorConfig",
    "KeepConfig",
    "LLMHackConfig",
    "LanguageModelConfig",
    "LoraConfig",
    "MetaConfig",
    "ModelConfig",
    "OnPolicyConfig",
    "PolicyConfig",
    "RayConfig",
    "RayStageConfig",
    "RetrieveConfig",
    "RewardConfig",
    "ScoreConfig",
    "Section",
    "SeedsConfig",
    "SelectConfig",
    "StartConfig",
    "StrengthConfig",
    "TrainConfig",
    "TreatmentConfig",
    "VerifyConfig",
    "WorseConfig",
    "load_config",
    "load_section",
]
