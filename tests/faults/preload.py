"""What runs and servers import: the fork server does so once, and each process here is its fork.

Imports alone: no model runs and no thread starts in it, so its forks may do both.
"""

import sentence_transformers  # noqa: F401
import transformers.models.auto.modeling_auto
import transformers.models.bert.modeling_bert
import transformers.models.llama.modeling_llama  # noqa: F401

import seamaug.api
import seamaug.cli  # noqa: F401
import tests.models.faulty_server  # noqa: F401
